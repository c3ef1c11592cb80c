"""The networks of a surrogate: several members that read sequences position by position, side by side in one set of products.

What an element contributes depends on its neighbours at some spacing, wherever they stand, and a sequence is as good as the best place
that each such pattern has: so a member is one wide convolution whose filters are reduced to their largest value along the sequence.
Its answer adds up a part that is linear in these and a small mixture, so that what was learnt of one pattern holds beside others.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING = 16
"""Numbers an element is described by."""
HIDDEN = 64
"""Units of the mixture."""
BLOCK = 2**20
"""Answers of filters that one pass holds where no gradient is wanted: 4 MiB."""


def filter_width(length: int) -> int:
    """Positions that a filter sees, an odd number: a quarter of the sequence, but 9 at least, or half of a short one."""
    return max(min(9, length // 2), length // 4) | 1


class Ensemble(nn.Module):
    """M members of one shape, each with weights of its own."""

    def __init__(self, num_states: int, length: int, *, members: int, filters: int, random_seed: int) -> None:
        """Draw the weights.

        Args:
            num_states: V, size of the alphabet.
            length: L, elements of a sequence.
            members: M.
            filters: patterns that each member can tell apart.
            random_seed: seed of the weights.
        """
        super().__init__()
        self.members, self.filters, self.num_states, self.length = members, filters, num_states, length
        width = filter_width(length)
        rng = torch.Generator().manual_seed(random_seed)

        def drawn(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=rng) * scale)

        self.element = drawn(members, num_states, EMBEDDING, scale=1.0)
        self.place = drawn(members, EMBEDDING, length, scale=0.02)
        self.pattern = drawn(members, filters, EMBEDDING, width, scale=1 / math.sqrt(3 * EMBEDDING * width))
        self.threshold = nn.Parameter(torch.zeros(members, filters))
        self.direct = drawn(members, filters, 1, scale=1 / math.sqrt(3 * filters))
        self.mix_in = drawn(members, 2 * filters, HIDDEN, scale=1 / math.sqrt(6 * filters))
        self.mix_bias = nn.Parameter(torch.zeros(members, 1, HIDDEN))
        self.mix_out = drawn(members, HIDDEN, 1, scale=1 / math.sqrt(3 * HIDDEN))
        self.offset = nn.Parameter(torch.zeros(members, 1))

    def forward(self, sequences: Tensor) -> Tensor:
        """(M, B, L) int64, each member's own sequences -> (M, B) standardised scores."""
        return torch.stack([self.predict(member, rows) for member, rows in enumerate(sequences)])

    def predict(self, member: int, sequences: Tensor) -> Tensor:
        """(B, L) int64 -> (B,) standardised scores of one member."""
        described = F.embedding(sequences, self.element[member]).transpose(1, 2) + self.place[member]
        pattern = self.pattern[member]
        seen = F.conv1d(described, pattern, self.threshold[member], padding=pattern.shape[-1] // 2).relu()
        return self._answer(member, seen.amax(dim=2), seen.mean(dim=2))

    def _answer(self, member: int, best: Tensor, mean: Tensor) -> Tensor:
        """(B, filters) largest and mean values along the sequences -> (B,) standardised scores of one member."""
        mixed = (torch.cat([best, mean], dim=1) @ self.mix_in[member] + self.mix_bias[member]).relu()
        return (best @ self.direct[member] + mixed @ self.mix_out[member]).squeeze(1) + self.offset[member]

    @torch.no_grad()
    def score(self, member: int, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float32 standardised scores of one member, those of `predict` up to rounding.

        What an element adds to a filter depends on its place in it alone, so it is looked up: a row of a table for each of a filter's
        places instead of a product of `EMBEDDING` numbers for each.
        """
        pattern, elements = (
            self.pattern[member],
            self.num_states + 1,
        )  # the last stands for what is beyond the ends, and adds nothing
        width = pattern.shape[-1]
        table = torch.einsum("few,ve->wvf", pattern, F.pad(self.element[member], (0, 0, 0, 1))).flatten(0, 1)
        placed = F.conv1d(self.place[member], pattern, self.threshold[member], padding=width // 2).T
        offsets = torch.arange(width, dtype=torch.int32) * elements
        found = []
        for part in torch.from_numpy(sequences.astype(np.int32)).split(max(1, BLOCK // placed.numel())):
            windows = F.pad(part, (width // 2, width // 2), value=self.num_states).unfold(1, width, 1) + offsets
            seen = F.embedding_bag(windows.reshape(-1, width), table, mode="sum").view(*part.shape, self.filters)
            seen = seen.add_(placed).relu_()
            found.append(self._answer(member, seen.amax(dim=1), seen.mean(dim=1)))
        return torch.cat(found).numpy()
