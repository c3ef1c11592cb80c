"""Children of sequences: parts exchanged, moved and rotated, runs of elements redrawn, what matters moved through the gaps.

Where a transition may be infeasible, hardly any long run of elements drawn one by one is feasible. Runs are therefore drawn as paths over
the transitions that feasible sequences have shown, from the element before to the element behind. Where a run holds nothing that
matters, one child tries as many new elements as it is long.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llome.tables import row_keys

REACH = 4
"""Positions that a part moves at most, one time in two that it moves."""
MUTATIONS = (0.15, 0.45, 0.25, 0.15)
"""Probabilities of 0, 1, 2 and 3 redrawn elements a child whose parts were exchanged or moved."""


@dataclass(frozen=True)
class Pool:
    """Sequences of a search, and what each was made from."""

    sequences: np.ndarray
    """(N, L) int16."""
    sources: np.ndarray
    """(N, L) int16: the labelled sequence that it descends from."""

    def __len__(self) -> int:
        return len(self.sequences)

    def take(self, rows: np.ndarray) -> Pool:
        """The pool of these rows."""
        return Pool(self.sequences[rows], self.sources[rows])

    def __add__(self, other: Pool) -> Pool:
        return Pool(*(np.concatenate([getattr(p, name) for p in (self, other)]) for name in ("sequences", "sources")))

    def distinct(self) -> np.ndarray:
        """Rows of the first of equal sequences, in order."""
        return np.sort(np.unique(row_keys(self.sequences), return_index=True)[1])


def children(
    pool: Pool,
    weights: np.ndarray,
    count: int,
    *,
    seen: np.ndarray,
    rng: np.random.Generator,
    padding: int | None = None,
) -> Pool:
    """`count` children of parents drawn by `weights` (N,), feasible or not.

    Three in eight get a part of another parent, where it stood, or moved by up to `REACH` positions or half the length; a quarter have a
    part of their own rotated, by one position, as an insertion and a deletion do, or by any number, so that two parts change places; in
    all these up to three elements are redrawn. The others have a run of 1 to L/2 elements redrawn, short ones more often. Where lengths
    differ, half of them all have up to three elements left out or put in besides.

    Args:
        pool: the parents (N, L); each transition of theirs is seen.
        weights: (N,) probabilities.
        count: children wanted.
        seen: (V, V) bool, transitions of feasible sequences; runs are redrawn over these.
        rng: of all draws.
        padding: the state that stands after the end of a sequence, where lengths differ.
    """
    length = pool.sequences.shape[1]
    places = np.arange(length)
    first, second = rng.choice(len(pool), size=(2, count), p=weights)
    kids = pool.sequences[first]
    kind = rng.random(count)
    begin, span = rng.integers(0, length, count), rng.integers(2, max(3, length // 2) + 1, count)
    reach = np.array([0, REACH, length // 2])[rng.choice(3, count, p=[0.5, 0.25, 0.25])]
    moved = rng.integers(-reach, reach + 1)
    origin = places - moved[:, None]
    inside = (places >= begin[:, None]) & (places < (begin + span)[:, None]) & (origin >= 0) & (origin < length)
    given = np.take_along_axis(pool.sequences[second], origin.clip(0, length - 1), axis=1)
    kids = np.where(inside & (kind < 0.375)[:, None], given, kids)
    low, high = np.sort(rng.integers(0, length, (2, count)), axis=0)
    size = (high - low + 1)[:, None]
    turn = np.where(rng.random(count) < 0.5, rng.choice([-1, 1], count), rng.integers(0, high - low + 1))
    rotated = low[:, None] + (places - low[:, None] + turn[:, None]) % size
    rotated = np.where((places >= low[:, None]) & (places <= high[:, None]), rotated, places)
    kids = np.where(((kind >= 0.375) & (kind < 0.625))[:, None], np.take_along_axis(kids, rotated, axis=1), kids)
    runs = kind >= 0.625
    redrawn = rng.choice(len(MUTATIONS), count, p=MUTATIONS) * ~runs
    for number in range(1, len(MUTATIONS)):
        rows = np.flatnonzero(redrawn >= number)
        kids[rows, rng.integers(0, length, len(rows))] = rng.integers(0, len(seen), len(rows))
    kids[runs] = redraw_runs(kids[runs], seen, rng)
    if padding is not None:
        for share in (0.5, 0.25, 0.125):
            rows = np.flatnonzero(rng.random(count) < share)
            kids[rows] = insert_or_delete(kids[rows], seen, padding, rng)
    return Pool(kids, pool.sources[first])


def insert_or_delete(sequences: np.ndarray, seen: np.ndarray, padding: int, rng: np.random.Generator) -> np.ndarray:
    """(N, L) -> (N, L), in each an element left out, or one put in where there is room; each is as likely as the other.

    What is put in has been seen behind what stands before it and before what stands behind it, if anything has.
    """
    count, length = sequences.shape
    places, rows = np.arange(length), np.arange(count)
    lengths = (sequences != padding).sum(axis=1)
    adds = (rng.random(count) < 0.5) & (lengths < length)
    place = np.floor(rng.random(count) * (lengths + adds)).astype(np.int64)
    origin = places + np.where(adds, -1, 1)[:, None] * (places >= place[:, None])
    shifted = np.take_along_axis(sequences, origin.clip(0, length - 1), axis=1)
    shifted = np.where(origin < length, shifted, padding).astype(sequences.dtype)
    before, behind = sequences[rows, np.maximum(place - 1, 0)], sequences[rows, place.clip(max=length - 1)]
    fits = (seen[before] | (place == 0)[:, None]) & seen[:, behind].T
    chances = rng.random(fits.shape) + fits
    chances[:, padding] = -1.0
    shifted[rows[adds], place[adds]] = chances.argmax(axis=1)[adds]
    return shifted


def redraw_runs(sequences: np.ndarray, seen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(N, L) sequences of seen transitions -> (N, L), in each a run of elements redrawn so that all its transitions are seen.

    Lengths are drawn log-uniformly from 1 to L/2. Of the elements that follow the one before and from which a path leads to the element
    behind the run, each is as likely: there is always one, the old.
    """
    count, length = sequences.shape
    longest = max(1, length // 2)
    span = np.minimum(np.exp(rng.random(count) * np.log(longest + 1)).astype(np.int64), longest)
    begin = rng.integers(0, length - span + 1)
    end = begin + span
    behind = sequences[np.arange(count), np.minimum(end, length - 1)]
    leads = [seen]  # leads[n][a, b]: whether a path of n + 1 transitions goes from a to b
    while len(leads) < longest:
        leads.append(leads[-1].astype(np.float32) @ seen.astype(np.float32) > 0)
    table = np.stack(leads)
    # free[n, a]: whether a path of n transitions goes from a to anywhere
    free = np.concatenate([np.ones((1, len(seen)), dtype=bool), table.any(axis=2)])
    found = sequences.copy()
    for step in range(longest):
        rows = np.flatnonzero(span > step)
        place = begin[rows] + step
        before = seen[found[rows, np.maximum(place - 1, 0)]] | (place == 0)[:, None]
        left = span[rows] - step - 1
        after = np.where((end[rows] == length)[:, None], free[left], table[left, :, behind[rows]])
        found[rows, place] = np.where(before & after, rng.random((len(rows), len(seen))), -1.0).argmax(axis=1)
    return found


def move_elements(
    sequences: np.ndarray, matters: np.ndarray, seen: np.ndarray, rng: np.random.Generator, *, copy: bool = False
) -> tuple[np.ndarray, np.ndarray]:
    """Some of the elements that matter moved by as many positions, whatever stands between them, to where nothing else matters.

    Patterns with gaps lie in each other's gaps, so that a run that holds one holds parts of others too. What is moved is each second
    element that matters, on average, between two of them. What stood within two positions of a place that was taken or left is redrawn
    over seen transitions, where it does not matter itself.

    Two patterns may also need one place for two elements. Then neither can be moved alone by a judge who takes them for one; but both
    can be copied without a loss, and the copy completed for the other: with `copy` all elements that matter between the two are copied,
    and one of the copies is redrawn.

    Args:
        sequences: (N, L) of seen transitions.
        matters: (N, L) bool, elements that a judge sees a loss without.
        seen: (V, V) bool, transitions of feasible sequences.
        rng: of all draws.
        copy: leave the elements where they stand as well.

    Returns:
        (N, L) sequences and (N, L) bool what matters in them; rows in which nothing can be moved as they were.
    """
    count, length = sequences.shape
    places, rows = np.arange(length), np.arange(count)
    ends = np.sort(np.argsort(np.where(matters, -rng.random((count, length)), 1), axis=1)[:, :2], axis=1)
    chosen = matters & (places >= ends[:, :1]) & (places <= ends[:, 1:])
    if not copy:
        chosen &= rng.random((count, length)) < 0.5
    stays = matters if copy else matters & ~chosen
    around = np.pad(stays, ((0, 0), (length, length)), constant_values=True)
    met = np.lib.stride_tricks.sliding_window_view(around, length, axis=1)  # [n, s]: what stands s - L places on
    free = np.asarray(~(met & chosen[:, None]).any(axis=2))
    free[:, length] = False
    by = np.where(free, rng.random(free.shape), -1.0).argmax(axis=1) - length
    possible = free.any(axis=1) & chosen.any(axis=1) & (matters.sum(axis=1) > 1)
    origin = places - by[:, None]
    inside = (origin >= 0) & (origin < length)
    origin = origin.clip(0, length - 1)
    taken = np.take_along_axis(chosen, origin, axis=1) & inside
    moved = np.where(taken, np.take_along_axis(sequences, origin, axis=1), sequences)
    touched = taken if copy else taken | chosen
    near = touched.copy()
    for shift in (1, 2):
        near[:, shift:] |= touched[:, :-shift]
        near[:, :-shift] |= touched[:, shift:]
    if copy:
        taken[rows, np.where(taken, rng.random((count, length)), -1.0).argmax(axis=1)] = False
    rows = np.flatnonzero(possible)
    filled, found = fill(moved[rows], (near & ~taken & ~stays)[rows], seen, rng)
    rows, filled = rows[found], filled[found]
    result, kept = sequences.copy(), matters.copy()
    result[rows], kept[rows] = filled, (taken | stays)[rows]
    return result, kept


def fill(
    sequences: np.ndarray, free: np.ndarray, seen: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) sequences with the `free` (N, L) elements redrawn so that all transitions are seen, and (N,) bool whether that is possible.

    Of the elements that may follow the one before and from which a path leads on to the end, each is as likely.
    """
    count, length = sequences.shape
    follows = seen.astype(np.float32)
    open_ = np.zeros(
        (length, count, len(seen)), dtype=bool
    )  # elements at each place from which a path leads to the end
    for place in range(length - 1, -1, -1):
        open_[place][np.arange(count), sequences[:, place]] = True
        open_[place] |= free[:, place, None]
        if place + 1 < length:
            open_[place] &= open_[place + 1].astype(np.float32) @ follows.T > 0
    filled = sequences.copy()
    for place in range(length):
        allowed = open_[place] if place == 0 else open_[place] & seen[filled[:, place - 1]]
        filled[:, place] = np.where(allowed, rng.random(allowed.shape), -1.0).argmax(axis=1)
    return filled, open_[0].any(axis=1)
