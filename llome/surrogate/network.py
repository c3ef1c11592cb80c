"""The networks of a surrogate: several members that read sequences position by position, side by side in one set of products.

What an element contributes depends on its neighbours at some spacing, wherever they stand, and a sequence is as good as the best place
that each such pattern has: so a member is one wide convolution whose filters are reduced to their largest value along the sequence.
Its answer adds up a part that is linear in these and a small mixture, so that what was learnt of one pattern holds beside others.
Whether a sequence is feasible hangs, most of the time, on which element follows which, wherever: so that answer has a number for each pair
as well, which starts from how often labels of either kind have it; filters alone take hundreds of steps to learn as much.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

EMBEDDING = 16
"""Numbers an element is described by."""
HIDDEN = 64
"""Units of the mixture."""
PAIR = 30.0
"""What a pair adds to the logit is its weight times this: logits of several units in a few hundred steps of the filters' rate."""
FEW = 100
"""Sequences of a member a step: up to these a step is calls more than sums, and the members go together; with more, one by one."""
BLOCK = 2**20
"""Answers of filters that one pass holds where no gradient is wanted: 4 MiB."""


def filter_width(length: int) -> int:
    """Positions that a filter sees, an odd number: a quarter of the sequence, but 9 at least, or half of a short one."""
    return max(min(9, length // 2), length // 4) | 1


class Network(nn.Module):
    """What a surrogate is made of: members side by side, which read sequences (`Ensemble`) or vectors (llome.surrogate.vectors)."""

    members: int
    outputs: int

    def as_inputs(self, designs: np.ndarray) -> Tensor:
        """(N, ...) designs -> (N, ...) what `forward` takes (M, B, ...) of, and gives (M, B, outputs)."""
        raise NotImplementedError

    def answers(self, member: int, designs: np.ndarray) -> np.ndarray:
        """(N, ...) designs -> (N, outputs) float32 of one member: standardised scores, and logits of being feasible."""
        raise NotImplementedError

    def begin(self, designs: np.ndarray, feasible: np.ndarray) -> None:
        """Take from (N, ...) designs, and which of them (N,) are feasible, what can be had without a step."""


class _Part(NamedTuple):
    """The weights of some members, m of M."""

    element: Tensor
    place: Tensor
    pattern: Tensor
    threshold: Tensor
    direct: Tensor
    mix_in: Tensor
    mix_bias: Tensor
    mix_out: Tensor
    offset: Tensor
    pair: Tensor | None


class Ensemble(Network):
    """M members of one shape, each with weights of its own."""

    def __init__(
        self, num_states: int, length: int, *, members: int, filters: int, random_seed: int, outputs: int = 1
    ) -> None:
        """Draw the weights.

        Args:
            num_states: V, size of the alphabet, with one more for padding where lengths differ (llome.surrogate.states).
            length: L, elements of a sequence, of the longest where lengths differ.
            members: M.
            filters: patterns that each member can tell apart.
            random_seed: seed of the weights.
            outputs: 1, the score; or 2, the logit of being feasible as well.
        """
        super().__init__()
        self.members, self.filters, self.num_states, self.length = members, filters, num_states, length
        self.outputs = outputs
        width = filter_width(length)
        rng = torch.Generator().manual_seed(random_seed)

        def drawn(*shape: int, scale: float) -> nn.Parameter:
            return nn.Parameter(torch.randn(*shape, generator=rng) * scale)

        self.element = drawn(members, num_states, EMBEDDING, scale=1.0)
        self.place = drawn(members, EMBEDDING, length, scale=0.02)
        self.pattern = drawn(members, filters, EMBEDDING, width, scale=1 / math.sqrt(3 * EMBEDDING * width))
        self.threshold = nn.Parameter(torch.zeros(members, filters))
        self.direct = drawn(members, filters, outputs, scale=1 / math.sqrt(3 * filters))
        self.mix_in = drawn(members, filters, HIDDEN, scale=1 / math.sqrt(3 * filters))
        self.mix_bias = nn.Parameter(torch.zeros(members, 1, HIDDEN))
        self.mix_out = drawn(members, HIDDEN, outputs, scale=1 / math.sqrt(3 * HIDDEN))
        self.offset = nn.Parameter(torch.zeros(members, outputs))
        self.pair = nn.Parameter(torch.zeros(members, num_states**2)) if outputs > 1 else None

    def as_inputs(self, designs: np.ndarray) -> Tensor:
        """(N, L) integers -> (N, L) int64."""
        return torch.from_numpy(designs.astype(np.int64))

    def forward(self, sequences: Tensor) -> Tensor:
        """(M, B, L) int64, each member's own sequences -> (M, B, outputs): standardised scores, and logits of being feasible."""
        together = self.members if sequences.shape[1] <= FEW else 1
        each = zip(self._parts(together), sequences.split(together), strict=True)
        return torch.cat([self._predict(part, rows) for part, rows in each])

    def _parts(self, size: int) -> list[_Part]:
        """The members, `size` at a time. Taken apart at once, since the gradient of one part alone is as large as that of the whole."""
        weights = [getattr(self, name) for name in _Part._fields]
        count = -(-self.members // size)
        parts = [[None] * count if weight is None else weight.split(size) for weight in weights]
        return [_Part(*each) for each in zip(*parts, strict=True)]

    def _predict(self, part: _Part, sequences: Tensor) -> Tensor:
        """(m, B, L) integers -> (m, B, outputs)."""
        table, placed, windows = self._looked_up(part, sequences)
        # Most of the work is to find where each filter answers best, and that has no gradient: a member at a time, so that its sums stay
        # in the cache, and by NumPy, which takes a third of torch's time.
        with torch.no_grad():
            added = torch.cat([table, placed.flatten(0, 1)])
            found = [_sums(added, one).numpy().argmax(axis=1) for one in windows]
        where = torch.from_numpy(np.stack(found))
        members, batch, length, _ = windows.shape
        place = torch.arange(members * batch).view(members, batch, 1) * length + where
        rows = windows.flatten(0, 2).index_select(0, place.flatten()).view(*where.shape, -1)[..., :-1]
        # Numbers by their own place: an index of two takes, with its gradient, twice as long.
        filters = torch.arange(self.filters, dtype=torch.int32)
        looked_up = table.flatten().index_select(0, (rows * self.filters + filters[:, None]).flatten())
        place = (torch.arange(members)[:, None, None] * length + where) * self.filters + filters
        added = placed.flatten().index_select(0, place.flatten())
        best = looked_up.view(rows.shape).sum(dim=-1) + added.view(where.shape)
        return self._answer(part, best, sequences)

    @torch.no_grad()
    def begin(self, sequences: np.ndarray, feasible: np.ndarray) -> None:
        """Let a pair speak against being feasible as far as more infeasible sequences have it than feasible ones; steps refine that.

        What was fitted before, a parent's weights, stays.
        """
        if self.pair is None or self.pair.any() or not feasible.any() or feasible.all():
            return
        pairs = np.sort(sequences[:, :-1].astype(np.int64) * self.num_states + sequences[:, 1:], axis=1)
        once = np.concatenate([np.ones((len(pairs), 1), dtype=bool), pairs[:, 1:] != pairs[:, :-1]], axis=1)
        rows = [np.bincount(pairs[side][once[side]], minlength=self.num_states**2) for side in (feasible, ~feasible)]
        shares = [(count + 0.5) / (side.sum() + 1) for count, side in zip(rows, (feasible, ~feasible), strict=True)]
        self.pair.copy_(torch.from_numpy(np.minimum(np.log(shares[0] / shares[1]), 0) / PAIR))

    def score(self, member: int, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float32 standardised scores of one member, those of `predict` up to rounding."""
        return self.answers(member, sequences)[:, 0]

    @torch.no_grad()
    def answers(self, member: int, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N, outputs) float32 of one member."""
        found, one = [], self._parts(1)[member]
        for rows in torch.from_numpy(sequences.astype(np.int32)).split(max(1, BLOCK // (self.length * self.filters))):
            table, placed, windows = self._looked_up(one, rows[None])
            found.append(
                self._answer(one, _sums(torch.cat([table, placed[0]]), windows[0]).amax(dim=1)[None], rows[None])[0]
            )
        return torch.cat(found).numpy()

    @torch.no_grad()
    def score_swaps(self, member: int, sequences: np.ndarray, elements: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N, L) float32, scores of one member with the element at each place, and no other, swapped for that of
        (N, L) `elements`. Filters answer as before where they do not see the place: only the other answers are summed up again.
        """
        found, one, length, width = [], self._parts(1)[member], self.length, filter_width(self.length)
        places = torch.arange(length)[:, None]
        near = places + torch.arange(width) - width // 2  # (L, width) positions at which a filter sees the place,
        near = torch.where((near >= 0) & (near < length), near, places)
        held = places - near + width // 2  # and where in the filter it stands
        each = (torch.from_numpy(rows.astype(np.int32)) for rows in (sequences, elements))
        size = max(1, BLOCK // (length * width * self.filters))
        for rows, swapped in zip(*(part.split(size) for part in each), strict=True):
            table, placed, windows = self._looked_up(one, rows[None])
            added = torch.cat([table, placed[0]])
            ends = F.pad(_sums(added, windows[0]), (0, 0, width // 2 + 1, width // 2 + 1), value=-torch.inf)
            rest = torch.maximum(
                ends.cummax(dim=1).values[:, :length], ends.flip(1).cummax(dim=1).values[:, :length].flip(1)
            )
            changed = windows[0][:, near]  # (B, L, width, width + 1)
            changed[:, places, torch.arange(width), held] = (held * (self.num_states + 1)).int() + swapped[..., None]
            best = _sums(added, changed.flatten(0, 1)).view(*changed.shape[:3], self.filters).amax(dim=2).maximum(rest)
            others = rows.repeat_interleave(length, dim=0)
            others.view(-1, length, length).diagonal(dim1=1, dim2=2).copy_(swapped)
            found.append(self._answer(one, best.flatten(0, 1)[None], others[None])[0, :, 0].view(len(rows), length))
        return torch.cat(found).numpy()

    def _looked_up(self, part: _Part, sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """What an element adds to each filter depends on where in it the element stands, and on nothing else: so it is looked up.

        Returns:
            (m * width * (V + 1), filters): what each element adds at each place of the filters; the last, beyond the ends, nothing.
            (m, L, filters): what the position adds.
            (m, B, L, width + 1) int32: the rows that add up at each position, of the first and then of the second, one below the other.
        """
        pattern, elements = part.pattern, self.num_states + 1
        members, _, _, width = pattern.shape
        table = torch.einsum("mfew,mve->mwvf", pattern, F.pad(part.element, (0, 0, 0, 1))).flatten(0, 2)
        place, threshold = part.place.flatten(0, 1), part.threshold.flatten()
        placed = F.conv1d(place, pattern.flatten(0, 1), threshold, padding=width // 2, groups=members)
        padded = F.pad(sequences.int(), (width // 2, width // 2), value=self.num_states)
        first = elements * torch.arange(members * width, dtype=torch.int32).view(members, 1, 1, width)
        last = len(table) + torch.arange(members * self.length, dtype=torch.int32).view(members, 1, self.length, 1)
        windows = torch.cat([padded.unfold(2, width, 1) + first, last.expand(-1, sequences.shape[1], -1, -1)], dim=-1)
        return table, placed.view(members, self.filters, -1).transpose(1, 2), windows

    def _answer(self, part: _Part, best: Tensor, sequences: Tensor) -> Tensor:
        """(m, B, filters) largest sums of each filter along the sequences (m, B, L) -> (m, B, outputs)."""
        best = best.relu()
        mixed = (best @ part.mix_in + part.mix_bias).relu()
        answer = best @ part.direct + mixed @ part.mix_out + part.offset[:, None]
        if part.pair is None:
            return answer
        pairs = sequences[..., :-1] * self.num_states + sequences[..., 1:]
        weights = part.pair.gather(1, pairs.flatten(1).long()).view(pairs.shape)
        return answer + F.pad(PAIR * weights.sum(dim=-1, keepdim=True), (1, 0))


def _sums(added: Tensor, windows: Tensor) -> Tensor:
    """(B, L, filters) answers of one member's filters at every position: the (B, L, width + 1) rows of what is added, summed up."""
    return F.embedding_bag(windows.flatten(0, 1), added, mode="sum").view(*windows.shape[:2], added.shape[1])
