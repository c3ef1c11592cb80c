"""How many sequences of an Ehrlich function are feasible and how many optimal, exactly (Eq. 4, and what Fig. 10 calls difficulty).

Nothing is scored and nothing sampled. Feasible sequences are walks on the graph of allowed transitions. Optimal ones have
every motif in full: `ceil(k / q)` divides k and the penalty only lowers, so that a motif short of an element contributes
less than 1 (`llome.scoring.motifs.responses`). By inclusion and exclusion over sets S of motifs,

    optimal = sum over S of (-1)^|S| avoiding(S),

where avoiding(S), the feasible sequences without any motif of S in full, is a sum over sets T of marked occurrences
(a motif at a place; the cluster method of Goulden and Jackson, 1979):

    avoiding(S) = sum over T of (-1)^|T| (feasible sequences in which all of T stand).

That sum is done from left to right. All it needs of the past are the last element and the elements that marks promise to
the positions ahead: that promise is the state. Marks that promise different elements to one position, or a forbidden pair
to neighbours, stand in no sequence and are dropped. So there are few states where motifs are dense (hundreds for 8 elements
within 13 positions), far fewer than there are partial matches; there are too many where motifs are sparse and long.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import NamedTuple

import numpy as np

from llome.errors import ConfigError, OracleError, TooManyStatesError
from llome.scoring.motifs import offsets

FREE = -1
"""No element is promised to this position."""

Promise = tuple[int, ...]
Mark = list[tuple[int, int]]


class _Steps(NamedTuple):
    """From one position to the next: each adds `weight` times the count at `start` to that at `to` (state * V + element)."""

    states: int
    start: np.ndarray
    to: np.ndarray
    weight: np.ndarray


def count_feasible(*, allowed: np.ndarray, length: int) -> int:
    """The number of sequences of `length` elements, any of which may come first, with allowed transitions only.

    `allowed` is (V, V) bool. Python's integers: exact. Raises OracleError on another shape or a length below 1.
    """
    if allowed.ndim != 2 or allowed.shape[0] != allowed.shape[1] or length < 1:
        raise OracleError(f"allowed has shape {allowed.shape} and length is {length}; give (V, V) and at least 1")
    matrix = allowed.astype(np.int64).astype(object)
    ending = np.ones(len(allowed), dtype=object)
    for _ in range(length - 1):
        ending = ending @ matrix
    return int(ending.sum())


def count_optimal(
    *,
    allowed: np.ndarray,
    motifs: np.ndarray,
    spacings: np.ndarray,
    length: int,
    max_states: int = 100_000,
    progress: Callable[[int], object] | None = None,
) -> int:
    """The number of feasible sequences in which every motif stands in full somewhere; motifs may overlap and share elements.

    It takes 2^c - 1 passes over the sequence for c motifs, the largest set of motifs first: it has the most states, so that
    what is too large is refused at once. A pass takes time and memory in proportion to states * V * digits (`_avoiding`),
    about 6 kB a state for V = 32 and L = 128.

    Args:
        allowed: (V, V) bool, which element may follow which
        motifs: (c, k) elements of each motif
        spacings: (c, k-1) distances between neighbouring elements, at least 1
        length: L of a sequence
        max_states: most promises at a time; the default keeps memory below 1 GiB for V = 32 and L = 128
        progress: hears of each position done, (2^c - 1) L in all

    Raises:
        OracleError: shapes or values that make no function.
        TooManyStatesError: more than `max_states` states; it says where, and of which motifs.
        ConfigError: `max_states` is below 1.
    """
    if max_states < 1:
        raise ConfigError(f"max_states is {max_states}; it must be at least 1")
    v = len(allowed)
    if motifs.ndim != 2 or not motifs.size or spacings.shape != (motifs.shape[0], motifs.shape[1] - 1):
        raise OracleError(f"motifs and spacings of shapes {motifs.shape}, {spacings.shape}; give (c, k) and (c, k-1)")
    if motifs.min() < 0 or motifs.max() >= v or spacings.min(initial=1) < 1:
        raise OracleError(f"a motif has an element outside 0..{v - 1}, or a spacing is below 1")
    optimal = feasible = count_feasible(allowed=allowed, length=length)
    marks = [list(zip(*mark, strict=True)) for mark in zip(offsets(spacings).tolist(), motifs.tolist(), strict=True)]
    for size in range(len(marks), 0, -1):
        for chosen in combinations(range(len(marks)), size):
            try:
                steps = _steps(allowed, [marks[number] for number in chosen], max_states)
            except TooManyStatesError as err:
                raise TooManyStatesError(
                    f"counting the sequences without motifs {list(chosen)} takes {err} of {length}; raise max_states (time"
                    " and memory grow with it), or count a function with fewer motifs or shorter spacings"
                ) from None
            optimal += (-1) ** size * _avoiding(allowed, steps, length, feasible, progress)
    return optimal


def _steps(allowed: np.ndarray, marks: list[Mark], max_states: int) -> _Steps:
    """All states that marks lead to, breadth first (one round a position), and the steps between them; state 0 is free."""
    v, may_follow = len(allowed), allowed.tolist()
    nothing = (FREE,) * (1 + max(mark[-1][0] for mark in marks))
    numbers: dict[Promise, int] = {nothing: 0}
    free: list[tuple[int, int]] = []
    kept: list[tuple[int, int, int]] = []
    ahead, position = [nothing], 0
    while ahead:
        reached, ahead, position = ahead, [], position + 1
        for promise in reached:
            source = numbers[promise]
            for marked, weight in _markings(promise, marks, may_follow).items():
                following = (*marked[1:], FREE)
                if following not in numbers:
                    if len(numbers) == max_states:
                        raise TooManyStatesError(
                            f"more than max_states = {max_states:,} states, at position {position}"
                        )
                    numbers[following] = len(numbers)
                    ahead.append(following)
                target = numbers[following]
                if marked[0] == FREE:
                    free.append((source * v, target * v))
                else:
                    kept.append((source * v + marked[0], target * v + marked[0], weight))
    any_element = np.array(free)[:, :, None] + np.arange(v)
    one_element = np.array(kept, dtype=np.int64).reshape(-1, 3)
    return _Steps(
        states=len(numbers),
        start=np.concatenate([any_element[:, 0].ravel(), one_element[:, 0]]),
        to=np.concatenate([any_element[:, 1].ravel(), one_element[:, 1]]),
        weight=np.concatenate([np.ones(v * len(free)), one_element[:, 2]]),
    )


def _markings(promise: Promise, marks: list[Mark], may_follow: list[list[bool]]) -> dict[Promise, int]:
    """What is promised once any set of motifs has been marked to start here, each with the sum of (-1)^(number marked)."""
    found = {promise: 1}
    for mark in marks:
        for before, weight in list(found.items()):
            after = _join(before, mark, may_follow)
            if after is not None:
                found[after] = found.get(after, 0) - weight
    return {after: weight for after, weight in found.items() if weight}


def _join(promise: Promise, mark: Mark, may_follow: list[list[bool]]) -> Promise | None:
    joined = list(promise)
    for position, element in mark:
        if joined[position] not in (FREE, element):
            return None
        joined[position] = element
    for first, second in pairwise(joined):
        if first != FREE and second != FREE and not may_follow[first][second]:
            return None
    return tuple(joined)


def _avoiding(
    allowed: np.ndarray, steps: _Steps, length: int, feasible: int, progress: Callable[[int], object] | None
) -> int:
    """avoiding(S), 0..`feasible`, by its digits to a base B: float64, for the speed of its matrix product, yet exact.

    B is a power of 2 such that a sum of digits over all that leads to one place stays below 2^52 in size, where float64 adds
    integers exactly in any order; dividing by B is exact as well. There are enough digits for B^digits > `feasible`, and the
    carry out of the last is dropped: arithmetic modulo B^digits, under which negative numbers on the way do no harm and the
    result, known to lie below, is itself.
    """
    v = len(allowed)
    most = v * int(np.bincount(steps.to, np.abs(steps.weight)).max())
    bits = 52 - most.bit_length()
    base, matrix = float(1 << bits), allowed.astype(np.float64)
    digits = np.zeros((feasible.bit_length() // bits + 1, steps.states, v))
    digits[0, 0] = 1  # before the first step: any element may come first
    for position in range(length):
        carry: np.ndarray | float = 0.0
        for digit in digits:
            reached = digit @ matrix if position else digit
            total = np.bincount(steps.to, steps.weight * reached.ravel()[steps.start], digit.size) + carry
            carry = np.floor(total / base)
            digit[:] = (total - carry * base).reshape(digit.shape)
        if progress is not None:
            progress(1)
    result = sum(int(digit[0].sum()) << bits * place for place, digit in enumerate(digits))
    return result % (1 << bits * len(digits))
