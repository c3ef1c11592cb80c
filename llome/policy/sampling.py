"""The one sampling engine: many prompts, several samples each, a temperature a row, one forward pass a token for all of them.

The prompt is prefilled once and its keys and values are shared by its samples; the cache of the completion is preallocated; rows that
have ended leave. Random draws are keyed by row and position (`draws`), so batch size and shards change nothing beyond rounding.
Log-probabilities are the policy's own: temperature 1, full vocabulary, whatever the temperature or mask that chose the token
(FACTS: the authors' release ranks by the tempered, truncated distribution). Works with any transformers model that goes through the
attention interface; attention over the two caches is registered there under a name of ours.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from llome.codec import SequenceCodec
from llome.draws import uniforms
from llome.errors import PolicyError
from llome.policy.grammar import Grammar

_ATTENTION = "llome_shared_prefix"


@dataclass(frozen=True)
class Samples:
    """Completions of P prompts, n each."""

    sequences: np.ndarray
    """(P, n, L) int16; rows of -1 where the completion could not be parsed."""
    parsed: np.ndarray
    """(P, n) bool, well-formed, of the right length and in range."""
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
        rows_per_batch: int = 1024,
        workers: int = 1,
        device: str | torch.device = "cpu",
    ) -> None:
        """Move the model to `device` and put it in eval mode.

        Args:
            model: a causal language model of transformers.
            codec: of its tokenizer and the problem.
            grammar: allow only tokens that keep the completion well-formed, of the right length and in range.
            rows_per_batch: completions that are sampled at once; bounds the memory, changes no result beyond rounding.
            workers: batches in flight at once, a thread each; changes no result. Pays on CPUs, where each batch then runs on one core
                (`torch.set_num_threads(1)`), instead of all cores meeting at the end of each of its small operations.
            device: where to run.
        """
        if not getattr(model, "_supports_attention_backend", False):
            raise PolicyError(
                f"{type(model).__name__} does not go through transformers' attention interface;"
                " use a model that does (GPT-NeoX, Llama, ...)"
            )
        self.model = model.to(device).eval()
        self.codec = codec
        self.rows_per_batch, self.workers = rows_per_batch, workers
        self.device = torch.device(device)
        self.wide = torch.float32 if self.device.type == "mps" else torch.float64  # of sums and draws
        self.vocabulary_size = int(model.get_output_embeddings().weight.shape[0])
        self.grammar = Grammar(codec, self.vocabulary_size, device=device) if grammar else None
        self.max_tokens = _longest_completion(codec)

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
        parts = []
        for group, (_, _, keys) in enumerate(groups):
            size = max(1, self.rows_per_batch // keys.shape[1])
            parts += [(group, slice(first, first + size)) for first in range(0, len(keys), size)]
        tokens = [np.full((*keys.shape, self.max_tokens), self.codec.pad_id, dtype=np.int64) for _, _, keys in groups]
        logps = [np.zeros((*keys.shape, 2)) for _, _, keys in groups]
        own = threading.local()

        def run(part: tuple[int, slice]) -> int:
            group, rows = part
            if not hasattr(own, "model"):
                own.model = _with_shared_weights(self.model)
            prompts, temperatures, keys = (array[rows] for array in groups[group])
            with torch.inference_mode():
                tokens[group][rows], logps[group][rows] = _Decoding(self, own.model, prompts, temperatures, keys).run()
            return keys.size

        with ThreadPoolExecutor(self.workers) as pool:
            try:
                for done in pool.map(run, parts):
                    if progress is not None:
                        progress(done)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        return [self._read(ids, measured) for ids, measured in zip(tokens, logps, strict=True)]

    def _read(self, tokens: np.ndarray, logps: np.ndarray) -> Samples:
        sequences, parsed = self.codec.decode_completions(tokens.reshape(-1, self.max_tokens))
        return Samples(
            sequences=sequences.reshape(*tokens.shape[:2], -1),
            parsed=parsed.reshape(tokens.shape[:2]),
            logp_sum=logps[..., 0],
            num_tokens=logps[..., 1].astype(np.int64),
            tokens=tokens,
        )


def _with_shared_weights(model: Any) -> Any:
    """The model once more, with the same tensors: its configuration, where the attention is chosen, is the copy's own."""
    tensors = [*model.parameters(), *model.buffers()]
    return copy.deepcopy(model, {id(tensor): tensor for tensor in tensors})


class _Decoding:
    """One batch in flight: P prompts x n slots, of which finished ones leave when that pays."""

    def __init__(
        self, sampler: Sampler, model: Any, prompts: np.ndarray, temperatures: np.ndarray, keys: np.ndarray
    ) -> None:
        self.sampler, self.model, device = sampler, model, sampler.device
        self.num_prompts, self.n = keys.shape
        self.max_tokens = sampler.max_tokens
        ids, mask = sampler.codec.encode_prompts(prompts)
        self.ids, self.mask = torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)
        self.uniforms = torch.from_numpy(uniforms(keys, self.max_tokens).reshape(self.num_prompts * self.n, -1)).to(
            device
        )
        self.temperatures = torch.from_numpy(np.repeat(temperatures, self.n)).to(dtype=sampler.wide).to(device)
        self.prompt_lengths = self.mask.sum(1).repeat_interleave(self.n)
        self.rows = torch.arange(self.num_prompts * self.n, device=device)  # slot -> row of the result
        self.alive = torch.ones_like(self.rows, dtype=torch.bool)

    def run(self) -> tuple[np.ndarray, np.ndarray]:
        """(P, n, T) token ids and (P, n, 2) summed log-probability and number of tokens."""
        total, device = self.num_prompts * self.n, self.sampler.device
        tokens = torch.full((total, self.max_tokens), self.sampler.codec.pad_id, device=device)
        logps = torch.zeros((total, 2), dtype=self.sampler.wide, device=device)
        grammar = self.sampler.grammar
        states = grammar.start(total) if grammar is not None else None
        with _attention(self.model, "sdpa"):
            out = self.model(
                input_ids=self.ids,
                attention_mask=self.mask.long(),
                position_ids=(self.mask.long().cumsum(1) - 1).clamp(min=0),
                use_cache=True,
                logits_to_keep=1,
            )
        cache = _SharedPrefixCache(out.past_key_values, self.mask, self.n, self.max_tokens)
        logits = out.logits[:, -1].repeat_interleave(self.n, dim=0)
        with _attention(self.model, _ATTENTION):
            for position in range(self.max_tokens):
                allowed = None
                if grammar is not None and states is not None:
                    allowed = grammar.allowed(states)
                chosen, logp = _choose(logits, self.temperatures, self.uniforms[:, position], allowed)
                if grammar is not None and states is not None:
                    states = grammar.advance(states, chosen)
                rows = self.rows[self.alive]
                tokens[rows, position] = chosen[self.alive]
                logps[rows] += torch.stack([logp, torch.ones_like(logp)], dim=1)[self.alive]
                self.alive &= chosen != self.sampler.codec.end_id
                if position + 1 == self.max_tokens or not bool(self.alive.any()):
                    break
                chosen, states = self._leave(cache, chosen, states)
                out = self.model(
                    input_ids=chosen[:, None],
                    position_ids=(self.prompt_lengths + position)[:, None],
                    past_key_values=cache,
                    use_cache=True,
                    shared_prefix=cache,
                )
                logits = out.logits[:, -1]
        shape = (self.num_prompts, self.n, -1)
        return tokens.view(shape).cpu().numpy(), logps.view(shape).cpu().double().numpy()

    def _leave(
        self, cache: _SharedPrefixCache, chosen: torch.Tensor, states: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Repack the slots to the prompts and samples still alive once they would be under three quarters of what is held."""
        alive = self.alive.view(-1, cache.n)
        counts = alive.sum(1)
        prompts, n = int((counts > 0).sum()), int(counts.max())
        if prompts * n > 0.75 * alive.numel():
            return chosen, states
        kept = counts > 0
        order = alive[kept].to(torch.int8).argsort(dim=1, descending=True, stable=True)[:, :n]
        slots = (kept.nonzero() * cache.n + order).reshape(-1)
        self.rows, self.alive, self.temperatures = self.rows[slots], self.alive[slots], self.temperatures[slots]
        self.prompt_lengths, self.uniforms = self.prompt_lengths[slots], self.uniforms[slots]
        cache.keep(kept, slots, n)
        return chosen[slots], states[slots] if states is not None else None


def _choose(
    logits: torch.Tensor, temperatures: torch.Tensor, uniform: torch.Tensor, allowed: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, V) logits -> chosen token (R,) by inverse transform, and its log-probability (R,) at temperature 1."""
    logits = logits if logits.dtype == torch.float64 else logits.float()
    tempered = logits if allowed is None else logits.masked_fill(~allowed, -torch.inf)
    greedy = temperatures == 0
    scale = torch.where(greedy, 1.0, temperatures).to(logits.dtype)
    cumulative = torch.softmax(tempered / scale[:, None], dim=-1).to(uniform.dtype).cumsum(dim=-1)
    drawn = torch.searchsorted(cumulative, (uniform * cumulative[:, -1])[:, None], right=True)[:, 0]
    drawn = drawn.clamp(max=logits.shape[1] - 1)
    chosen = torch.where(greedy, tempered.argmax(dim=-1), drawn)
    logp = logits.gather(1, chosen[:, None])[:, 0] - torch.logsumexp(logits, dim=-1)
    return chosen, logp.to(uniform.dtype)


class _SharedPrefixCache(Cache):
    """Keys and values of P prompts, held once, and of their completions, P x n slots in buffers of the full length."""

    def __init__(self, prefill: Any, mask: torch.Tensor, n: int, max_tokens: int) -> None:
        super().__init__(layers=[])
        self.prefix = [(layer.keys, layer.values) for layer in prefill.layers]  # (P, H, S, D) each
        self.hidden = None if bool(mask.all()) else ~mask[:, None, None, :]  # (P, 1, 1, S)
        self.n = n
        slots = mask.shape[0] * n
        self.suffix = [
            tuple(t.new_empty((slots, t.shape[1], max_tokens, t.shape[3])) for t in pair) for pair in self.prefix
        ]
        self.position = [0] * len(self.prefix)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one token's (slots, H, 1, D) keys and values; returns the completion's so far."""
        keys, values = self.suffix[layer_idx]
        at = self.position[layer_idx]
        keys[:, :, at], values[:, :, at] = key_states[:, :, 0], value_states[:, :, 0]
        self.position[layer_idx] = at + 1
        return keys[:, :, : at + 1], values[:, :, : at + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens held: the prompt's and the completion's."""
        return int(self.prefix[0][0].shape[2]) + self.position[layer_idx]

    def keep(self, prompts: torch.Tensor, slots: torch.Tensor, n: int) -> None:
        """Drop all but these prompts (mask) and slots (indices, n a prompt)."""
        self.prefix = [(k[prompts], v[prompts]) for k, v in self.prefix]
        self.suffix = [(k[slots], v[slots]) for k, v in self.suffix]
        self.hidden = self.hidden[prompts] if self.hidden is not None else None
        self.n = n


def _shared_prefix_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    shared_prefix: _SharedPrefixCache,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attention of (slots, H, 1, D) queries over the shared prompt and the slot's own completion, one softmax over both."""
    prefix_keys, prefix_values = shared_prefix.prefix[module.layer_idx]
    (prompts, kv_heads, _, width), n = prefix_keys.shape, shared_prefix.n
    heads = query.shape[1]
    groups = heads // kv_heads  # grouped-query models: several query heads a key head
    scaling = width**-0.5 if scaling is None else scaling
    query = query * scaling
    by_prompt = (
        query.view(prompts, n, kv_heads, groups, width)
        .permute(0, 2, 1, 3, 4)
        .reshape(prompts, kv_heads, n * groups, width)
    )
    over_prefix = by_prompt @ prefix_keys.transpose(2, 3)  # (P, KH, n G, S)
    if shared_prefix.hidden is not None:
        over_prefix = over_prefix.masked_fill(shared_prefix.hidden, -torch.inf)
    by_slot = query.view(prompts * n, kv_heads, groups, width)
    over_suffix = by_slot @ key.transpose(2, 3)  # (slots, KH, G, t)
    size = over_prefix.shape[3]
    over_prefix = (
        over_prefix.view(prompts, kv_heads, n, groups, size)
        .permute(0, 2, 1, 3, 4)
        .reshape(prompts * n, kv_heads, groups, size)
    )
    weights = torch.softmax(
        torch.cat([over_prefix, over_suffix], dim=-1),
        dim=-1,
        dtype=None if query.dtype == torch.float64 else torch.float32,
    )
    weights = weights.to(query.dtype)
    on_prefix = weights[..., :size].view(prompts, n, kv_heads, groups, size).permute(0, 2, 1, 3, 4)
    out = (on_prefix.reshape(prompts, kv_heads, n * groups, size) @ prefix_values).view(
        prompts, kv_heads, n, groups, width
    )
    out = out.permute(0, 2, 1, 3, 4).reshape(prompts * n, kv_heads, groups, width) + weights[..., size:] @ value
    return out.reshape(prompts * n, 1, heads, width), None


AttentionInterface.register(_ATTENTION, _shared_prefix_attention)


class _attention:
    """Run the model with another attention implementation for a while."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name

    def __enter__(self) -> None:
        self.before = self.model.config._attn_implementation
        self.model.config._attn_implementation = self.name

    def __exit__(self, *exc: object) -> None:
        self.model.config._attn_implementation = self.before


def _longest_completion(codec: SequenceCodec) -> int:
    """Tokens that hold any valid completion as its tokenizer writes it, the end token included."""
    if codec.compact:
        return codec.length + 1
    constant = np.repeat(np.arange(codec.num_states)[:, None], codec.length, axis=1)
    return int(codec.encode_completions(constant)[0].shape[1]) + 8
