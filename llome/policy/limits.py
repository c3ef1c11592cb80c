"""Limits on edits as part of the grammar: whatever a policy writes stays within them, element by element.

A token is allowed if what has been written with it can still be completed to a sequence within the limits, and no other way of checking
would allow more. Where all sequences have one length that is a matter of counting positions. Where lengths differ, each row carries
its row of the edit distance's table (Wagner and Fischer 1974): D[j], the distance of what has been written from the first j elements
of the reference. With n elements written and m in the reference, some completion is within k edits if and only if
min_j D[j] + g(m - j, n) <= k, where g is how far the m - j elements left are from the least and the most that may still be written:
the cheapest completion copies the rest of the reference. Appending an element e makes min(D[j] + 1, D'[j - 1] + 1, D[j - 1] + [e differs])
of D[j], and g changes by at most 1 as j does, so that whether e is allowed shows without the row that it would make: any element is if
min_j D[j] + 1 + min(g(m - j), g(m - j - 1)) <= k at n + 1, and else those of the reference at a j with D[j] + g(m - j - 1) <= k.
"""

from __future__ import annotations

from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from llome.codec import SequenceCodec
from llome.domain import Domain
from llome.limits import references
from llome.policy.grammar import Grammar

_FAR = 10_000
"""More edits than any sequence has; three times that is a number of 16 bits."""


class Mask(Protocol):
    """Which tokens may come next. Rows of states are the callers': to repeat, to take and to drop."""

    def start(self, sources: np.ndarray) -> Tensor:
        """(R, L) sequences that are edited -> (R, ...) states before the first token."""

    def allowed(self, states: Tensor) -> Tensor:
        """(R, ...) states -> (R, vocabulary) bool, one at least in each row."""

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """States after `tokens` (R,), each of which was allowed; a row that has ended may go anywhere."""


def make_mask(codec: SequenceCodec, vocabulary_size: int, *, device: str | torch.device = "cpu") -> Mask:
    """The mask of a problem: its grammar, and its limits where it has any; arguments as of `Grammar`.

    Raises:
        PolicyError: a tokenizer whose pieces do not spell the text.
    """
    from llome.policy.text_limits import TextLimits

    if not codec.domain.limited:
        return Grammar(codec, vocabulary_size, device=device)
    if not codec.compact:
        return TextLimits(codec, vocabulary_size, device=device)
    return limits_of(codec.domain, codec.elements, codec.end_id, vocabulary_size, device=device)


def limits_of(
    domain: Domain, elements: np.ndarray, end_id: int, vocabulary_size: int, *, device: str | torch.device = "cpu"
) -> PositionLimits | EditLimits:
    """The limits of a problem where each element is one token: `elements` (V,), and the end is another."""
    cls = PositionLimits if domain.fixed_length else EditLimits
    return cls(domain, elements, end_id, vocabulary_size, device=device)


class _Limits:
    """What both kinds share: tokens of elements, and the reference of each row."""

    def __init__(
        self,
        domain: Domain,
        elements: np.ndarray,
        end_id: int,
        vocabulary_size: int,
        *,
        device: str | torch.device = "cpu",
    ) -> None:
        self.domain = domain
        self.device, self.vocabulary_size, self.end_id = torch.device(device), vocabulary_size, end_id
        self.elements = torch.from_numpy(elements).to(device)
        of_token = torch.full((vocabulary_size,), -1, dtype=torch.int16)
        of_token[elements] = torch.arange(len(elements), dtype=torch.int16)
        self.of_token = of_token.to(device)
        self.most = _FAR if domain.max_edits is None else min(domain.max_edits, _FAR - 1)

    def _held(self, sequences: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(sequences, dtype=np.int16)).to(self.device)


class PositionLimits(_Limits):
    """Protected positions and a number of substitutions, where all sequences have one length.

    A state holds the position, the edits that may still be chosen, then what is edited and what edits are counted from. Where the wild
    type is the reference, protected elements of what is edited may differ from it: these edits are spent from the start, and where they
    alone are too many no other is allowed.
    """

    def start(self, sources: np.ndarray) -> Tensor:
        """See `Mask`."""
        reference = references(sources, self.domain)
        protected = list(self.domain.protected)
        forced = (sources[:, protected] != reference[:, protected]).sum(axis=1)
        left = np.maximum(self.most - forced, 0)
        return torch.cat(
            [self._held(np.stack([0 * left, left], axis=1)), self._held(sources), self._held(reference)], 1
        )

    def allowed(self, states: Tensor) -> Tensor:
        """See `Mask`."""
        length, rows = self.domain.length, torch.arange(len(states), device=self.device)
        position = states[:, 0].long()
        allowed = torch.zeros((len(states), self.vocabulary_size), dtype=torch.bool, device=self.device)
        allowed[:, self.end_id] = position == length
        at = position.clamp(max=length - 1)
        protected = self._protected[at]
        own, reference = (states[rows, 2 + n * length + at].long() for n in (0, 1))
        free = (position < length) & ~protected & (states[:, 1] > 0)
        allowed[:, self.elements] = free[:, None]
        copied = torch.where(protected, own, reference)
        allowed[rows, self.elements[copied]] |= position < length
        return allowed

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See `Mask`."""
        length, rows = self.domain.length, torch.arange(len(states), device=self.device)
        at = states[:, 0].long().clamp(max=length - 1)
        differs = (self.of_token[tokens] != states[rows, 2 + length + at]) & ~self._protected[at]
        advanced = states.clone()
        advanced[:, 0] += 1
        advanced[:, 1] -= differs.to(states.dtype)
        return advanced

    @cached_property
    def _protected(self) -> Tensor:
        places = torch.zeros(self.domain.length, dtype=torch.bool, device=self.device)
        places[list(self.domain.protected)] = True
        return places


class EditLimits(_Limits):
    """A number of substitutions, insertions and deletions, where lengths differ.

    A state holds n, the elements written, m, the length of the reference, then D[0..L], and the reference itself.
    """

    def start(self, sources: np.ndarray) -> Tensor:
        """See `Mask`."""
        reference = references(sources, self.domain)
        lengths = (reference >= 0).sum(axis=1)
        columns = np.arange(self.domain.length + 1)
        table = np.where(columns <= lengths[:, None], columns, _FAR)
        return torch.cat([self._held(np.stack([0 * lengths, lengths], 1)), self._held(table), self._held(reference)], 1)

    def allowed(self, states: Tensor) -> Tensor:
        """See `Mask`."""
        written, lengths, table, reference = self._parts(states)
        rows = torch.arange(len(states), device=self.device)
        left = lengths - self._columns
        gap = torch.where(left >= 0, self._gap(left, written + 1), _FAR)
        # An insertion before the j-th element of the reference, or a substitution of it.
        from_here = torch.minimum(gap[:, :-1], gap[:, 1:]) + table[:, :-1]
        anything = torch.minimum(from_here.amin(1), (gap + table)[:, -1]) + 1 <= self.most
        goes_on = written[:, 0] < self.domain.length
        copies = (table[:, :-1] + gap[:, 1:] <= self.most) & (reference >= 0) & goes_on[:, None]
        count = len(self.elements)
        elements = (anything & goes_on)[:, None].repeat(1, count + 1)  # one more, for what is no copy
        elements.scatter_(1, torch.where(copies, reference, count).long(), True)
        allowed = torch.zeros((len(states), self.vocabulary_size), dtype=torch.bool, device=self.device)
        allowed[:, self.elements] = elements[:, :-1]
        apart = table[rows, lengths[:, 0].long()]
        allowed[:, self.end_id] = (written[:, 0] >= self.domain.least) & (apart <= self.most)
        return allowed

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See `Mask`."""
        written, lengths, table, reference = self._parts(states)
        differs = (reference != self.of_token[tokens][:, None]).to(states.dtype)
        best = table + 1
        best[:, 1:] = torch.minimum(best[:, 1:], table[:, :-1] + differs)
        columns = self._columns
        best = (best - columns).cummin(dim=1).values + columns  # deletions: D'[j] = min over i <= j of best[i] + j - i
        best = torch.where(columns <= lengths, best, _FAR)
        return torch.cat([written + 1, lengths, best.to(states.dtype), reference], dim=1)

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """n (R, 1), m (R, 1), D (R, L + 1) and the reference (R, L)."""
        length = self.domain.length
        return states[:, :1], states[:, 1:2], states[:, 2 : length + 3], states[:, length + 3 :]

    def _gap(self, left: Tensor, written: Tensor) -> Tensor:
        """How far `left` elements of the reference are from the least and the most that may still be written; none below 0."""
        least = (self.domain.least - written).clamp(min=0)
        most = (self.domain.length - written).clamp(min=0)
        return torch.maximum((least - left).clamp(min=0), (left - most).clamp(min=0))

    @cached_property
    def _columns(self) -> Tensor:
        return torch.arange(self.domain.length + 1, dtype=torch.int16, device=self.device)
