"""Evolving a policy's proposals on a surrogate: edits recombined, moved and mutated where the ensemble, and not the oracle, judges.

A policy writes what resembles the best that is known. What is missing from the best is found by three things that it does not do: parts
of several sequences put together, a part moved by a few positions, and elements that good sequences have not tried where they stand
(llome.surrogate.variation).
Each member of the ensemble runs a search of its own (Thompson sampling), some of them drawn to what is untried, some started far from the
best; the candidates are shared out among them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np

from llome.provenance import derive_seed
from llome.surrogate.settings import Evolution
from llome.surrogate.variation import Pool, children, move_elements, redraw_runs
from llome.tables import row_keys

ELITES = 300
"""Best labelled sequences that a search starts from, beside the proposals."""
TOLERANCE = 0.1
"""Standard deviations of the scores that a sequence may lose as it drifts: less than what an element that matters is worth."""
STARTERS = 200
"""Labelled sequences, and as many proposals, that a restarted search starts from."""


class Judge(Protocol):
    """What judges a search: an ensemble."""

    members: int

    def score(self, member: int, sequences: np.ndarray) -> np.ndarray:
        """(N, L) -> (N,) standardised scores of one member, higher is better."""
        ...


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

    @classmethod
    def of(cls, sequences: np.ndarray, scores: np.ndarray, num_states: int) -> Known:
        """From all labelled sequences (N, L) and their scores (N,), best first, -inf infeasible."""
        finite = np.isfinite(scores)
        feasible, others = sequences[finite], sequences[~finite]
        seen, forbidden = np.zeros((2, num_states, num_states), dtype=bool)
        seen[feasible[:, :-1], feasible[:, 1:]] = True
        row, place = np.nonzero(~seen[others[:, :-1], others[:, 1:]])
        alone = np.bincount(row, minlength=len(others))[row] == 1
        forbidden[others[row, place][alone], others[row, place + 1][alone]] = True
        good = feasible[scores[: len(feasible)] >= scores[0] / 2] if scores[0] > 0 else feasible
        if len(good) < 100:
            good = feasible[:200]
        places = np.arange(sequences.shape[1])
        counts = np.zeros((len(places), num_states), dtype=np.int64)
        np.add.at(counts, (places, good), 1)
        return cls(
            Pool(feasible, feasible), scores[finite], row_keys(sequences), seen, forbidden, 1 / np.sqrt(1 + counts)
        )

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


def candidates(
    judge: Judge, settings: Evolution, known: Known, proposals: Pool, count: int, *, num_states: int, random_seed: int
) -> tuple[Pool, dict[str, int]]:
    """At most `count` distinct sequences that no label is known of, and how many each part of the search gave.

    Args:
        judge: the fitted ensemble.
        settings: of the search.
        known: what the labels say; at least one sequence is feasible.
        proposals: of the policy; `sources` are what it edited.
        count: sequences wanted.
        num_states: V, size of the alphabet.
        random_seed: of all draws, keyed by member.
    """
    rng = _generator(random_seed, "explore")
    proposals = proposals.take(known.feasible(proposals.sequences) & settings.proposals)
    guided = count - round(settings.explore * count)
    taken, chosen = set(known.labeled.tolist()), known.pool.take(np.empty(0, dtype=np.int64))
    for member in range(judge.members):
        ranked = _search(judge, member, settings, known, proposals, num_states, random_seed)
        quota = guided * (member + 1) // judge.members - len(chosen)
        picked = ranked.take(_spread(ranked.sequences, quota, settings.min_distance, taken))
        drifted = _drift(
            judge, member, picked.sequences, settings.drift, known, _generator(random_seed, f"drift {member}")
        )
        for row, (before, after) in enumerate(
            zip(row_keys(picked.sequences).tolist(), row_keys(drifted).tolist(), strict=True)
        ):
            if after not in taken:
                taken.remove(before)
                taken.add(after)
                picked.sequences[row] = drifted[row]
        chosen += picked
    facts = {
        "guided": len(chosen),
        "proposed": int(np.isin(row_keys(chosen.sequences), row_keys(proposals.sequences)).sum()),
    }
    elites = known.best(ELITES, rng)
    matters = _matters(judge, 0, elites.sequences, judge.score(0, elites.sequences), num_states, rng)
    for _ in range(100):  # a small space may hold no more than these
        if len(chosen) == count:
            break
        kids = children(elites, _favour_first(len(elites), 4), 4 * count, seen=known.seen, rng=rng)
        tests = kids.take(known.tests(kids.sequences))
        chosen += tests.take(_spread(tests.sequences, (count - len(chosen) + 1) // 2, 1, taken))
        picks = rng.integers(len(elites), size=4 * count)
        moved, _ = move_elements(elites.sequences[picks], matters[picks], known.seen, rng)
        moves = Pool(moved, elites.sources[picks])
        chosen += moves.take(_spread(moves.sequences, (count - len(chosen) + 1) // 2, 1, taken))
        kids = kids.take(known.feasible(kids.sequences))
        chosen += kids.take(_spread(kids.sequences, count - len(chosen), 1, taken))
    explored = chosen.sequences[facts["guided"] :]
    return chosen, facts | {"explored": len(explored), "tests": int((~known.feasible(explored)).sum())}


def _search(
    judge: Judge, member: int, settings: Evolution, known: Known, proposals: Pool, num_states: int, random_seed: int
) -> Pool:
    """What one member's search has seen of its last generations, best first."""
    rng = _generator(random_seed, member)
    restarted = member >= judge.members - settings.restarts
    worth = settings.novelty[member % len(settings.novelty)]
    if restarted:
        picks = [p.take(rng.permutation(len(p))[:STARTERS]) for p in (known.pool, proposals)]
        pool = picks[0] + picks[1]
        weights = np.full(len(pool), 1 / len(pool))
    else:
        pool = known.best(ELITES, rng) + proposals
        ranks = _favour_first(len(pool) - len(proposals), 4)
        weights = np.concatenate([ranks, np.full(len(proposals), 1 / max(1, len(proposals)))])
        weights /= weights.sum()

    def value(sequences: np.ndarray) -> np.ndarray:
        return judge.score(member, sequences) + worth * known.novelty(sequences)

    values, parents = value(pool.sequences), pool
    for _ in range(settings.restart_generations if restarted else settings.generations):
        kids = children(parents, weights, settings.population, seen=known.seen, rng=rng)
        kids = kids.take(known.feasible(kids.sequences))
        kids = kids.take(kids.distinct())
        pool, values = pool + kids, np.concatenate([values, value(kids.sequences)])
        rows = pool.distinct()
        rows = rows[np.argsort(-values[rows], kind="stable")][: settings.population]
        pool, values = pool.take(rows), values[rows]
        parents = pool.take(np.arange(min(settings.population // 8, len(pool))))
        weights = _favour_first(len(parents), 3)
    return pool.take(np.argsort(-values, kind="stable"))


def _drift(
    judge: Judge, member: int, sequences: np.ndarray, steps: int, known: Known, rng: np.random.Generator
) -> np.ndarray:
    """(N, L) -> (N, L) after `steps` changes each, those undone that make a sequence worse than it was at first.

    Runs are redrawn and elements that matter are moved among each other, one after the other; in the last quarter they are copied.
    """
    if not steps or not len(sequences):
        return sequences
    first = judge.score(member, sequences)
    matters = _matters(judge, member, sequences, first, len(known.seen), rng)
    for step in range(steps):
        last = 4 * step >= 3 * steps  # what is copied would not outlive many redrawn runs
        if step % 2 or last:
            tried, moved = move_elements(sequences, matters, known.seen, rng, copy=last)
        else:
            tried, moved = redraw_runs(sequences, known.seen, rng), matters
        kept = (judge.score(member, tried) >= first - TOLERANCE)[:, None]
        sequences, matters = np.where(kept, tried, sequences), np.where(kept, moved, matters)
    return sequences


def _matters(
    judge: Judge, member: int, sequences: np.ndarray, scores: np.ndarray, num_states: int, rng: np.random.Generator
) -> np.ndarray:
    """(N, L) sequences and their `scores` -> (N, L) bool, without which element the member sees a loss."""
    count, length = sequences.shape
    others = np.repeat(sequences, length, axis=0)
    place = np.tile(np.arange(length), count)
    rows = np.arange(len(others))
    others[rows, place] = (others[rows, place] + rng.integers(1, num_states, len(others))) % num_states
    return judge.score(member, others).reshape(count, length) < scores[:, None] - TOLERANCE


def _spread(sequences: np.ndarray, count: int, min_distance: int, taken: set[bytes]) -> np.ndarray:
    """Rows of the first `count` sequences that are not `taken` and keep their distance; they are taken afterwards."""
    rows: list[int] = []
    for row, key in enumerate(row_keys(sequences).tolist()):
        if len(rows) >= count:
            break
        if key in taken:
            continue
        if min_distance > 1 and rows and ((sequences[rows] != sequences[row]).sum(axis=1) < min_distance).any():
            continue
        rows.append(row)
        taken.add(key)
    return np.array(rows, dtype=np.int64)


def _favour_first(count: int, share: int) -> np.ndarray:
    """(count,) probabilities that fall by e every `count / share` rows."""
    weights = np.exp(-np.arange(count) * share / max(1, count))
    return np.asarray(weights / weights.sum())


def _generator(random_seed: int, part: int | str) -> np.random.Generator:
    return np.random.default_rng([derive_seed(random_seed, "evolve", part)])
