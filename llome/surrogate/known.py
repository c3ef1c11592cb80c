"""What the labels so far say of which children are worth judging, and what the problem says of which may be made at all."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llome.distances import first_apart
from llome.domain import Domain
from llome.limits import keeps_limits, within_limits
from llome.surrogate.states import as_sequences
from llome.surrogate.variation import Pool, children
from llome.tables import row_keys


@dataclass(frozen=True)
class Known:
    """What the labels so far say of which children are worth judging."""

    pool: Pool
    """The feasible labelled sequences, best first."""
    scores: np.ndarray
    """(N,) their scores."""
    labeled: np.ndarray
    """Keys of all labelled sequences."""
    seen: np.ndarray
    """(V, V) bool: what has followed what in a feasible sequence."""
    forbidden: np.ndarray
    """(V, V) bool: the only transition of an infeasible sequence that was never seen in a feasible one."""
    untried: np.ndarray
    """(L, V) in (0, 1]: 1 / sqrt(1 + n) for n good sequences with this element at this place."""
    domain: Domain | None = None
    """The problem, where its lengths differ or it limits edits: children must keep to that. Where lengths differ V counts padding."""

    @classmethod
    def of(cls, sequences: np.ndarray, scores: np.ndarray, num_states: int, domain: Domain | None = None) -> Known:
        """From all labelled sequences (N, L), as states, and their scores (N,), best first, -inf infeasible."""
        if domain is not None and domain.fixed_length and not domain.limited:
            domain = None
        padding = None if domain is None or domain.fixed_length else domain.num_states
        finite = np.isfinite(scores)
        feasible, others = sequences[finite], sequences[~finite]
        seen, forbidden = np.zeros((2, num_states, num_states), dtype=bool)
        seen[feasible[:, :-1], feasible[:, 1:]] = True
        if finite.all():  # nothing says that any transition is forbidden
            elements = num_states if padding is None else padding
            seen[:elements] = True
        if padding is not None:  # no label is needed to know that
            seen[padding, padding], forbidden[padding, :padding] = True, True
        row, place = np.nonzero(~seen[others[:, :-1], others[:, 1:]])
        alone = np.bincount(row, minlength=len(others))[row] == 1
        forbidden[others[row, place][alone], others[row, place + 1][alone]] = True
        good = feasible[scores[: len(feasible)] >= scores[0] / 2] if scores[0] > 0 else feasible
        if len(good) < 100:
            good = feasible[:200]
        places = np.arange(sequences.shape[1])
        counts = np.zeros((len(places), num_states), dtype=np.int64)
        np.add.at(counts, (places, good), 1)
        pool, untried = Pool(feasible, feasible), 1 / np.sqrt(1 + counts)
        return cls(pool, scores[finite], row_keys(sequences), seen, forbidden, untried, domain)

    @property
    def padding(self) -> int | None:
        """The state of padding; None where all sequences have one length."""
        return None if self.domain is None or self.domain.fixed_length else self.domain.num_states

    def keeps(self, pool: Pool) -> np.ndarray:
        """(N,) bool: long enough, and within the limits on edits of what it descends from."""
        if self.domain is None:
            return np.ones(len(pool), dtype=bool)
        kept = np.ones(len(pool), dtype=bool)
        if self.padding is not None:
            kept = pool.sequences[:, self.domain.least - 1] != self.padding
        if self.domain.limited:
            made, sources = as_sequences(pool.sequences, self.domain), as_sequences(pool.sources, self.domain)
            kept &= keeps_limits(made, sources, self.domain)
        return np.asarray(kept)

    def children(self, parents: Pool, weights: np.ndarray, count: int, rng: np.random.Generator) -> Pool:
        """At most `count` children of parents drawn by `weights` (N,), feasible or not; those left that keep to the problem."""
        kids = children(parents, weights, count, seen=self.seen, rng=rng, padding=self.padding)
        if self.domain is None:
            return kids
        kids = Pool(within_limits(kids.sequences, kids.sources, self.domain, rng), kids.sources)
        return kids.take(self.keeps(kids))

    def spread(self, sequences: np.ndarray, count: int, min_distance: int, taken: set[bytes]) -> np.ndarray:
        """Rows of the first `count` sequences that are not `taken` and keep their distance; they are taken afterwards."""
        keys = row_keys(sequences).tolist()
        rows = np.array([row for row, key in enumerate(keys) if key not in taken], dtype=np.int64)
        states = sequences[rows]
        if self.padding is None or self.domain is None:
            rows = rows[first_apart(states, count, min_distance, edits=False)]
        else:
            rows = rows[first_apart(as_sequences(states, self.domain), count, min_distance, edits=True)]
        taken.update(keys[row] for row in rows.tolist())
        return rows

    def best(self, count: int, rng: np.random.Generator) -> Pool:
        """At most `count` of the best, drawn among equals: of thousands that are as good the first few are all alike."""
        return self.pool.take(np.lexsort((rng.random(len(self.pool)), -self.scores))[:count])

    def feasible(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) -> (N,) bool: no transition that no feasible sequence has shown."""
        return np.asarray(self.seen[sequences[:, :-1], sequences[:, 1:]].all(axis=1))

    def tests(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) -> rows that would show whether one transition is forbidden, of which no label says so or not; a row for each such."""
        unseen = ~self.seen[sequences[:, :-1], sequences[:, 1:]]
        rows = np.flatnonzero(unseen.sum(axis=1) == 1)
        place = unseen[rows].argmax(axis=1)
        first, then = sequences[rows, place].astype(np.int64), sequences[rows, place + 1]
        open_ = ~self.forbidden[first, then]
        _, picks = np.unique((first * len(self.seen) + then)[open_], return_index=True)
        return rows[open_][np.sort(picks)]

    def novelty(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) -> (N,) in (0, 1], the mean over the elements of how untried they are."""
        return np.asarray(self.untried[np.arange(sequences.shape[1]), sequences].mean(axis=1))
