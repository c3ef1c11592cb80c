"""The one sampling engine: many prompts, several samples each, a temperature a row, one forward pass a token for all of them.

Rows that have the same prompt and have written the same tokens so far have the same next logits, so the pass is over these *nodes* of a
tree, not over rows: edits of good sequences mostly copy, and of a refinement's tokens only a third to a half need computing. A prompt is
prefilled once and its keys and values are shared by its nodes; a node's own lie in a slot of a preallocated buffer, copied where rows part.

Random draws are keyed by row and position (`draws`), so batch size and shards change nothing beyond rounding. Log-probabilities are the
policy's own: temperature 1, full vocabulary, whatever the temperature or mask that chose the token (the authors' release ranks by the
tempered, truncated distribution). How a model is run is in `passes`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from llome.codec import SequenceCodec
from llome.draws import uniforms
from llome.errors import PolicyError
from llome.policy.limits import make_mask
from llome.policy.memory import fitting_tokens
from llome.policy.passes import Passes, check_model, passes_of
from llome.policy.tree import TreeCache


@dataclass(frozen=True)
class Samples:
    """Completions of P prompts, n each."""

    sequences: np.ndarray
    """(P, n, L) int16, -1 after an end; rows of -1 where the completion could not be parsed."""
    parsed: np.ndarray
    """(P, n) bool, well-formed, of a right length and in range."""
    logp_sum: np.ndarray
    """(P, n) float64, log-probability of the completion with its end token (nats), temperature 1."""
    num_tokens: np.ndarray
    """(P, n) int64, tokens of the completion with its end token."""
    tokens: np.ndarray
    """(P, n, T) int64 token ids, the end token included, padding after it."""

    @property
    def logp_mean(self) -> np.ndarray:
        """(P, n) float64, mean log-probability a token (nats)."""
        return self.logp_sum / self.num_tokens


class Sampler:
    """A policy ready to sample: holds the model, the codec and, if asked for, the grammar."""

    def __init__(
        self,
        model: Any,
        codec: SequenceCodec,
        *,
        grammar: bool = False,
        max_batch_tokens: int | None = None,
        device: str | torch.device = "cpu",
    ) -> None:
        """Move the model to `device` and put it in eval mode.

        Args:
            model: a causal language model of transformers.
            codec: of its tokenizer and the problem.
            grammar: allow only tokens that keep the completion well-formed, of a right length, in range and within the problem's limits
                on edits.
            max_batch_tokens: tokens of prompts and completions that are held at once; bounds the memory, changes no result beyond
                rounding. None: a number for the kind of device, fewer where the free memory is too small for it.
            device: where to run.

        Raises:
            PolicyError: a model that has no passes, or a tokenizer that the grammar or the limits do not fit.
        """
        check_model(model)
        self.model = model.to(device).eval()
        self.codec = codec
        self.device = torch.device(device)
        self.wide = torch.float32 if self.device.type == "mps" else torch.float64  # of sums and draws
        self.vocabulary_size = int(model.get_output_embeddings().weight.shape[0])
        self.grammar = make_mask(codec, self.vocabulary_size, device=device) if grammar else None
        self.max_tokens = _longest_completion(codec)
        if max_batch_tokens is None:
            max_batch_tokens, note = fitting_tokens(self.model, row_tokens(codec), self.device)
            if note is not None:
                print(note, file=sys.stderr)
        self.rows_per_batch = max(1, max_batch_tokens // row_tokens(codec))

    def sample(self, prompts: np.ndarray, temperatures: np.ndarray, keys: np.ndarray) -> Samples:
        """Sample n completions of each prompt; arguments as those of a group of `sample_groups`."""
        return self.sample_groups([(prompts, temperatures, keys)])[0]

    def sample_groups(
        self,
        groups: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray]],
        *,
        progress: Callable[[int], object] | None = None,
    ) -> list[Samples]:
        """Sample completions of several groups of prompts, which differ in the number of samples a prompt.

        Args:
            groups: of each group the prompts, (P, L) integer sequences to edit; their temperatures, (P,), 0 decodes greedily; and
                the keys of the draws, (P, n) uint64 from `draws.row_keys`.
            progress: called with the number of rows finished, after each batch.

        Returns:
            Samples of shape (P, n) for each group.
        """
        shapes = [keys.shape for _, _, keys in groups]
        prompts, prompt = np.unique(np.concatenate([group[0] for group in groups]), axis=0, return_inverse=True)
        repeats = np.repeat([n for _, n in shapes], [count for count, _ in shapes])
        prompt = np.repeat(prompt.reshape(-1), repeats)  # of each row
        temperatures = np.repeat(np.concatenate([group[1] for group in groups]), repeats)
        keys = np.concatenate([group[2].reshape(-1) for group in groups])
        batches = -(-len(keys) // self.rows_per_batch)
        parts: list[np.ndarray] = np.array_split(np.argsort(prompt, kind="stable"), batches) if batches else []
        tokens = np.full((len(keys), self.max_tokens), self.codec.pad_id, dtype=np.int64)
        logps = np.zeros((len(keys), 2))

        passes = passes_of(self.model, row_tokens(self.codec))
        while parts:
            rows = parts.pop(0)
            held, of_row = _most_first(prompt[rows])
            try:
                with torch.inference_mode():
                    decoding = _Decoding(self, passes, prompts[held], of_row, temperatures[rows], keys[rows])
                    tokens[rows], logps[rows] = decoding.run()
            except (RuntimeError, MemoryError) as err:
                _check_memory(err, len(rows), self.device)
                parts[:0] = np.array_split(rows, 2)
                continue
            if progress is not None:
                progress(len(rows))
        ends = np.cumsum([count * n for count, n in shapes])[:-1]
        return [
            self._read(ids.reshape(*shape, self.max_tokens), measured.reshape(*shape, 2))
            for shape, ids, measured in zip(shapes, np.split(tokens, ends), np.split(logps, ends), strict=True)
        ]

    def _read(self, tokens: np.ndarray, logps: np.ndarray) -> Samples:
        sequences, parsed = self.codec.decode_completions(tokens.reshape(-1, self.max_tokens))
        return Samples(
            sequences=sequences.reshape(*tokens.shape[:2], self.codec.length),
            parsed=parsed.reshape(tokens.shape[:2]),
            logp_sum=logps[..., 0],
            num_tokens=logps[..., 1].astype(np.int64),
            tokens=tokens,
        )


def _check_memory(err: BaseException, rows: int, device: torch.device) -> None:
    """Say that a batch did not fit and will be halved; raises `err` if that is not why it failed, PolicyError if it is a single row."""
    lacking = isinstance(err, (torch.OutOfMemoryError, MemoryError)) or "can't allocate memory" in str(err)
    if not lacking:
        raise err
    if rows == 1:
        raise PolicyError(
            f"{device} has too little memory left to write a single completion; free some, or take a smaller policy or --precision bf16"
        ) from err
    print(f"{rows:,} completions at once do not fit into the memory of {device}: going on with halves", file=sys.stderr)


class _Decoding:
    """One batch in flight: R rows, and the nodes (P prompts at first) that those still unfinished are at."""

    def __init__(
        self,
        sampler: Sampler,
        passes: Passes,
        prompts: np.ndarray,
        prompt: np.ndarray,
        temperatures: np.ndarray,
        keys: np.ndarray,
    ) -> None:
        """`prompts` are (P, L) sequences, those with the most rows first; `prompt` (R,) says which is a row's."""
        self.sampler, self.passes, device = sampler, passes, sampler.device
        ids, mask = sampler.codec.encode_prompts(prompts)
        self.ids, self.mask = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
        self.uniforms = torch.from_numpy(uniforms(keys, sampler.max_tokens)).to(device)
        self.sources, self.temperatures = (
            prompts[prompt],
            torch.from_numpy(temperatures).to(dtype=sampler.wide).to(device),
        )
        self.prompt_lengths, self.counts = self.mask.sum(1), np.bincount(prompt).tolist()
        self.rows = torch.arange(len(keys), device=device)  # the unfinished ones
        self.node = torch.from_numpy(prompt).to(device)  # of each of them

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """(R, T) token ids and (R, 2) summed log-probability and number of tokens."""
        total, device, codec = len(self.rows), self.sampler.device, self.sampler.codec
        tokens = torch.full((total, self.sampler.max_tokens), codec.pad_id, device=device)
        logps = torch.zeros((total, 2), dtype=self.sampler.wide, device=device)
        grammar = self.sampler.grammar
        states = grammar.start(self.sources) if grammar is not None else None
        logits, prefix = self.passes.read(self.ids, self.mask)
        cache = TreeCache(prefix, self.mask, self.counts, self.sampler.max_tokens)
        for position in range(self.sampler.max_tokens):
            allowed = grammar.allowed(states) if grammar is not None and states is not None else None
            chosen, logp = _choose(
                logits,
                self.node,
                self.temperatures[self.rows],
                self.uniforms[self.rows, position],
                allowed,
            )
            tokens[self.rows, position] = chosen
            logps[self.rows] += torch.stack([logp, torch.ones_like(logp)], dim=1)
            going = chosen != codec.end_id
            if position + 1 == self.sampler.max_tokens or not bool(going.any()):
                break
            if grammar is not None and states is not None:
                states = grammar.advance(states, chosen)[going]
            self.rows, chosen = self.rows[going], chosen[going]
            self.node, token = cache.grow(self.node[going], chosen, self.sampler.vocabulary_size)
            logits = self.passes.write(token, self.prompt_lengths[cache.prompt] + position, cache)
        return tokens.cpu().numpy(), logps.cpu().double().numpy()


def _most_first(prompt: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(R,) prompts of rows -> the distinct ones, (P,), those with the most rows first, and which of these is a row's, (R,)."""
    held, of_row, counts = np.unique(prompt, return_inverse=True, return_counts=True)
    order = np.argsort(-counts, kind="stable")
    return held[order], np.argsort(order)[of_row]


def _choose(
    logits: torch.Tensor,
    node: torch.Tensor,
    temperatures: torch.Tensor,
    uniform: torch.Tensor,
    allowed: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """(M, V) logits of nodes -> chosen token (R,) of each row by inverse transform, and its log-probability (R,) at temperature 1."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    normaliser = torch.logsumexp(logits, dim=-1)[node]
    logits = logits[node]
    tempered = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    greedy = temperatures == 0
    scale = torch.where(greedy, 1.0, temperatures).to(logits.dtype)
    cumulative = torch.softmax(tempered / scale[:, None], dim=-1).to(uniform.dtype).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
    drawn = drawn.clamp(max=logits.shape[1] - 1)
    chosen = torch.where(greedy, tempered.argmax(dim=-1), drawn)
    logp = logits.gather(1, chosen[:, None])[:, 0] - normaliser
    return chosen, logp.to(uniform.dtype)


def _longest_completion(codec: SequenceCodec) -> int:
    """Tokens that hold any valid completion as its tokenizer writes it, the end token included."""
    if codec.compact:
        return codec.length + 1
    return int(codec.encode_completions(_constants(codec))[0].shape[1]) + 8


def row_tokens(codec: SequenceCodec) -> int:
    """Tokens of a row, counted for the longest prompt and completion of its tokenizer."""
    return int(codec.encode_prompts(_constants(codec))[0].shape[1]) + _longest_completion(codec)


def _constants(codec: SequenceCodec) -> np.ndarray:
    return np.repeat(np.arange(codec.num_states)[:, None], codec.length, axis=1)
