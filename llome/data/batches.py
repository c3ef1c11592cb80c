"""Optimiser steps as data: which rows each step covers, and their tokens.

A loader here yields one *step* at a time: the whole effective batch of this process, as a list of micro-batches. Objectives that
normalise over the effective batch can then see all of it before the first gradient, and the rows of step s of epoch e depend on
(random_seed, e, s) alone, never on the micro-batch size or the number of ranks. All ranks get equally many micro-batches of a step;
where the rows do not go round, some are idle. Tables are tokenised once; a batch is an index and a concatenation, so there are no worker
processes. Loaders keep their place in a checkpoint, which makes an interrupted epoch exact.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypedDict

import numpy as np
import torch

from llome.codec import SequenceCodec
from llome.data.pairs import Examples


class Batch(TypedDict):
    """A micro-batch of B examples with C completions each: 1 for pairs; 2 for triples, chosen and rejected."""

    input_ids: torch.Tensor
    """(B, C, T) int64: the prompt, padded on the left, then the completion, padded on the right."""
    attention_mask: torch.Tensor
    """(B, C, T) bool, False on padding."""
    completion_mask: torch.Tensor
    """(B, C, T) bool, True on the completion's tokens, its end token included."""
    rows: torch.Tensor
    """(B,) int64, row numbers of the examples; none where a rank only keeps step with the others (`TokenTable.idle`)."""
    completion_width: int
    """W: all completions lie in the last W columns, so the last W + 1 positions' logits are enough."""


class TokenTable:
    """The tokens of all examples: each distinct prompt and completion once, and look-ups from examples to them."""

    def __init__(self, examples: Examples, sequences: np.ndarray, codec: SequenceCodec) -> None:
        """Tokenise.

        Args:
            examples: row numbers into `sequences`.
            sequences: (N, L) integer sequences.
            codec: of the policy's tokenizer.
        """
        sources, self._source = np.unique(examples.sources, return_inverse=True)
        targets, target = np.unique(examples.targets, return_inverse=True)
        self._target = target.reshape(examples.targets.shape)
        self._prompts = codec.encode_prompts(sequences[sources])
        self._completions = codec.encode_completions(sequences[targets])
        self._prompt_lengths = self._prompts[1].sum(axis=1)
        self._completion_lengths = self._completions[1].sum(axis=1)

    @property
    def width(self) -> int:
        """Tokens of the longest prompt and the longest completion together."""
        return self._prompts[0].shape[1] + self._completions[0].shape[1]

    def collate(self, rows: np.ndarray) -> Batch:
        """(B,) row numbers of examples -> the micro-batch described above, no wider than its longest prompt and completion."""
        source, target = self._source[rows], self._target[rows]
        first = self._prompts[0].shape[1] - int(self._prompt_lengths[source].max())
        width = int(self._completion_lengths[target].max())
        shape = (*target.shape, self._prompts[0].shape[1] - first)
        ids, mask, completion = (
            np.concatenate([np.broadcast_to(prompt[:, None], shape), values], axis=2)
            for prompt, values in (
                (self._prompts[0][source, first:], self._completions[0][target, :width]),
                (self._prompts[1][source, first:], self._completions[1][target, :width]),
                (np.zeros((len(rows), shape[2]), dtype=bool), self._completions[1][target, :width]),
            )
        )
        return Batch(
            input_ids=torch.from_numpy(ids),
            attention_mask=torch.from_numpy(mask),
            completion_mask=torch.from_numpy(completion),
            rows=torch.from_numpy(rows),
            completion_width=width,
        )

    def idle(self, row: int) -> Batch:
        """One example for the model to pass over, and none to learn from: what it is worth to any sum is zero, and so is its gradient.

        Processes that shard a policy or average its gradients must all pass through it equally often.
        """
        micro = self.collate(np.array([row]))
        micro["completion_mask"], micro["rows"] = torch.zeros_like(micro["completion_mask"]), micro["rows"][:0]
        return micro


class StepSampler:
    """Which examples each optimiser step covers on this rank."""

    def __init__(
        self,
        rows: np.ndarray,
        batch_size: int,
        *,
        shuffle: bool,
        random_seed: int = 0,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        """Plan the steps.

        Args:
            rows: (M,) row numbers of the examples.
            batch_size: examples of a step, over all ranks; the last step of an epoch may hold fewer.
            shuffle: another order each epoch, keyed by (random_seed, epoch); else the given order.
            random_seed: of the orders.
            rank: of this process.
            world_size: number of processes; rank r takes every world_size-th row of a step, which may be none.
        """
        self.rows, self.batch_size, self.shuffle, self.random_seed = rows, batch_size, shuffle, random_seed
        self.rank, self.world_size = rank, world_size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Called by Lightning before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def most(self, step: int) -> int:
        """Rows of the rank that has the most of a step."""
        return -(-min(self.batch_size, len(self.rows) - step * self.batch_size) // self.world_size)

    def steps(self, start: int = 0) -> Iterator[np.ndarray]:
        """This rank's row numbers of each step of the epoch, from step `start`."""
        rows = self.rows
        if self.shuffle:
            rows = rows[np.random.default_rng([self.random_seed, self.epoch]).permutation(len(rows))]
        for step in range(start, len(self)):
            yield rows[step * self.batch_size : (step + 1) * self.batch_size][self.rank :: self.world_size]


class StepLoader:
    """Iterates over optimiser steps, each a list of micro-batches; a checkpoint holds how many steps of the epoch were taken."""

    batch_sampler = None  # Lightning looks at a loader's samplers, and announces the epoch to `sampler`

    def __init__(self, table: TokenTable, sampler: StepSampler, micro_batch_size: int) -> None:
        """Join tokens and plan; `micro_batch_size` is the most examples of one forward and backward pass on one rank."""
        self.table, self.sampler, self.micro_batch_size = table, sampler, micro_batch_size
        self._start = self._taken = 0

    def __len__(self) -> int:
        return len(self.sampler)

    def __iter__(self) -> Iterator[list[Batch]]:
        # A generator: epoch and start are read at the first step, after Lightning has restored and announced them.
        self._taken, self._start = self._start, 0
        for step, rows in enumerate(self.sampler.steps(self._taken), self._taken):
            self._taken += 1
            size = self.micro_batch_size
            parts = [rows[first : first + size] for first in range(0, self.sampler.most(step), size)]
            yield [self.table.collate(part) if len(part) else self.table.idle(self.sampler.rows[0]) for part in parts]

    def state_dict(self) -> dict[str, Any]:
        """Steps of this epoch handed out so far."""
        return {"taken": self._taken % max(len(self), 1)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next iteration start after the steps already taken."""
        self._start = int(state["taken"])
