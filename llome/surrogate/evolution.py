"""Evolving a policy's proposals on a surrogate: edits recombined, moved and mutated where the ensemble, and not the oracle, judges.

A policy writes what resembles the best that is known. What is missing from the best is found by three things that it does not do: parts
of several sequences put together, a part moved by a few positions, and elements that good sequences have not tried where they stand
(llome.surrogate.variation).
Each member of the ensemble runs a search of its own (Thompson sampling), some of them drawn to what is untried, some started far from the
best; the candidates are shared out among them.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from llome.provenance import derive_seed
from llome.surrogate.known import Known
from llome.surrogate.settings import Evolution
from llome.surrogate.variation import Pool, move_elements, redraw_runs
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

    def score_swaps(self, member: int, sequences: np.ndarray, elements: np.ndarray) -> np.ndarray:
        """(N, L) -> (N, L), scores with the element at each place, and no other, swapped for that of (N, L) `elements`."""
        ...


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
        num_states: V, size of the alphabet, without padding.
        random_seed: of all draws, keyed by member.
    """
    rng = _generator(random_seed, "explore")
    proposals = proposals.take(known.feasible(proposals.sequences) & settings.proposals)
    guided = count - round(settings.explore * count)
    taken, chosen = set(known.labeled.tolist()), known.pool.take(np.empty(0, dtype=np.int64))
    for member in range(judge.members):
        ranked = _search(judge, member, settings, known, proposals, num_states, random_seed)
        quota = guided * (member + 1) // judge.members - len(chosen)
        picked = ranked.take(known.spread(ranked.sequences, quota, settings.min_distance, taken))
        drifted = _drift(judge, member, picked, settings.drift, known, _generator(random_seed, f"drift {member}"))
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
        kids = known.children(elites, _favour_first(len(elites), 4), 4 * count, rng)
        tests = kids.take(known.tests(kids.sequences))
        chosen += tests.take(known.spread(tests.sequences, (count - len(chosen) + 1) // 2, 1, taken))
        picks = rng.integers(len(elites), size=4 * count)
        moved, _ = move_elements(elites.sequences[picks], matters[picks], known.seen, rng)
        moves = Pool(moved, elites.sources[picks])
        moves = moves.take(known.keeps(moves))
        chosen += moves.take(known.spread(moves.sequences, (count - len(chosen) + 1) // 2, 1, taken))
        kids = kids.take(known.feasible(kids.sequences))
        chosen += kids.take(known.spread(kids.sequences, count - len(chosen), 1, taken))
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
        kids = known.children(parents, weights, settings.population, rng)
        kids = kids.take(known.feasible(kids.sequences))
        kids = kids.take(kids.distinct())
        pool, values = pool + kids, np.concatenate([values, value(kids.sequences)])
        rows = pool.distinct()
        rows = rows[np.argsort(-values[rows], kind="stable")][: settings.population]
        pool, values = pool.take(rows), values[rows]
        parents = pool.take(np.arange(min(settings.population // 8, len(pool))))
        weights = _favour_first(len(parents), 3)
    return pool.take(np.argsort(-values, kind="stable"))


def _drift(judge: Judge, member: int, pool: Pool, steps: int, known: Known, rng: np.random.Generator) -> np.ndarray:
    """N sequences -> (N, L) after `steps` changes each, those undone that make a sequence worse than it was at first, or none at all.

    Runs are redrawn and elements that matter are moved among each other, one after the other; in the last quarter they are copied.
    """
    sequences = pool.sequences
    if not steps or not len(sequences):
        return sequences
    first = judge.score(member, sequences)
    matters = _matters(judge, member, sequences, first, len(known.seen) - (known.padding is not None), rng)
    for step in range(steps):
        last = 4 * step >= 3 * steps  # what is copied would not outlive many redrawn runs
        if step % 2 or last:
            tried, moved = move_elements(sequences, matters, known.seen, rng, copy=last)
        else:
            tried, moved = redraw_runs(sequences, known.seen, rng), matters
        kept = ((judge.score(member, tried) >= first - TOLERANCE) & known.keeps(Pool(tried, pool.sources)))[:, None]
        sequences, matters = np.where(kept, tried, sequences), np.where(kept, moved, matters)
    return sequences


def _matters(
    judge: Judge, member: int, sequences: np.ndarray, scores: np.ndarray, num_states: int, rng: np.random.Generator
) -> np.ndarray:
    """(N, L) sequences and their `scores` -> (N, L) bool, without which element the member sees a loss."""
    drawn = (sequences + rng.integers(1, num_states, sequences.size).reshape(sequences.shape)) % num_states
    others = np.where(sequences < num_states, drawn, sequences)  # an end is no element
    return judge.score_swaps(member, sequences, others) < scores[:, None] - TOLERANCE


def _favour_first(count: int, share: int) -> np.ndarray:
    """(count,) probabilities that fall by e every `count / share` rows."""
    weights = np.exp(-np.arange(count) * share / max(1, count))
    return np.asarray(weights / weights.sum())


def _generator(random_seed: int, part: int | str) -> np.random.Generator:
    return np.random.default_rng([derive_seed(random_seed, "evolve", part)])
