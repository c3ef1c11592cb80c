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
ROWS = 2048
"""Sequences of one pass where no gradient is wanted."""


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
        best = seen.amax(dim=2)
        mixed = (torch.cat([best, seen.mean(dim=2)], dim=1) @ self.mix_in[member] + self.mix_bias[member]).relu()
        return (best @ self.direct[member] + mixed @ self.mix_out[member]).squeeze(1) + self.offset[member]

    @torch.no_grad()
    def score(self, member: int, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float32 standardised scores of one member."""
        rows = torch.from_numpy(sequences.astype(np.int64))
        return np.concatenate([self.predict(member, part).numpy() for part in rows.split(ROWS)] or [np.empty(0, "f4")])
