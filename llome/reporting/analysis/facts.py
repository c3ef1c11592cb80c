"""What the scores of all proposals say of a round: the numbers behind the paper's Figs. 4, 5, 6, 12 and 13, as one JSON value.

Scores are kept, not regrets: a regret is the optimum less the score, with the same error. An infeasible sequence counts as score 0 in
best scores and means (below Eq. 9), so that its regret is the optimum itself. A proposal counts as often as it was written, except
where sequences are chosen or ranked: there each counts once. What could not be parsed has no score and is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from llome.domain import Domain
from llome.reporting.analysis.bins import DISTANCES, LIKELIHOODS, as_json, bin_means, distance_bins, likelihood_bins
from llome.reporting.analysis.scored import Matched
from llome.reporting.curves import zero_infeasible
from llome.reporting.edits import rewards
from llome.tables import Proposals


def build_facts(proposals: Proposals, matched: Matched, scores: np.ndarray) -> dict[str, Any]:
    """All that the figures need of one round.

    Args:
        proposals: the round's N proposals.
        matched: where their rows stand among the U known sequences.
        scores: (U,) float64 scores of these, -inf infeasible: the labels', then those of the rest.
    """
    rows = np.flatnonzero(proposals.parsed)
    score, source_score = scores[matched.proposal[rows]], scores[matched.source]
    reward = rewards(source_score[proposals.starts][rows], score)
    likeliest = np.full(len(scores), -np.inf)
    np.maximum.at(likeliest, matched.proposal[rows], proposals.logp_mean[rows])
    distinct = matched.distinct
    return {
        "generated": len(proposals),
        "parsed": len(rows),
        "distinct": len(distinct),
        "iterations": best_by_iteration(proposals.step, matched.proposal, matched.source, scores),
        "selection": choices(scores[matched.selected], scores[matched.pool]),
        "distance": feasible_by_distance(
            proposals.sequence[rows], proposals.source[rows], score, proposals.meta.domain
        ),
        "likelihood": calibration(proposals.logp_mean[rows], score, reward),
        "rank_correlation": rank_correlation(likeliest[distinct], scores[distinct]),
    }


def best_by_iteration(
    step: np.ndarray, proposal: np.ndarray, source: np.ndarray, scores: np.ndarray
) -> list[dict[str, Any]]:
    """The best score of each iteration of refinement (Figs. 4 and 13), not the best so far.

    Two things are told apart: all that an iteration wrote, and what its trajectories passed on to the next one (one of them that wrote
    nothing well-formed passes on its input again). What the last one passed on is no proposal's source, so that the table cannot
    tell. Iteration 0 stands for the sequences that refinement was given.

    Args:
        step: (N,) the iteration that wrote each proposal, from 0.
        proposal: (N,) its place among the known sequences; -1 where it was not parsed.
        source: (N,) the place of what it edits.
        scores: (U,) scores of the known sequences, -inf infeasible.

    Returns:
        For the seeds and each iteration from 1: `written`, the parsed outputs (of the seeds: the distinct ones), and their `best`;
        `passed_on`, the distinct inputs of the next, and their `best_passed_on`. None where there is none.
    """
    facts = []
    for iteration in range(int(step.max(initial=-1)) + 2):
        inputs = np.unique(source[step == iteration])
        outputs = inputs if iteration == 0 else proposal[(step == iteration - 1) & (proposal >= 0)]
        facts.append(
            {
                "iteration": iteration,
                "written": len(outputs),
                "best": _best(scores[outputs]),
                "passed_on": len(inputs) or None,
                "best_passed_on": _best(scores[inputs]),
            }
        )
    return facts


def feasible_by_distance(
    sequence: np.ndarray, source: np.ndarray, score: np.ndarray, domain: Domain
) -> dict[str, list[Any]]:
    """The feasible share of the edits from `source` (N, L) to `sequence` (N, L) by how far they go (Fig. 12).

    `score` (N,) is the edits', -inf infeasible. The distance is that of `distance_bins`.
    """
    feasible = np.isfinite(score).astype(np.float64)
    return as_json(DISTANCES, feasible=bin_means(distance_bins(sequence, source, domain), feasible, len(DISTANCES)))


def calibration(logp_mean: np.ndarray, score: np.ndarray, reward: np.ndarray) -> dict[str, list[Any]]:
    """Mean score and mean reward of proposals by their mean token likelihood (Figs. 6a and 6b), in the bins of `LIKELIHOODS`.

    Args:
        logp_mean: (N,) mean log-probability a token, in nats.
        score: (N,) scores, -inf infeasible.
        reward: (N,) gain over the sequence that the trajectory started from, 0 or more (Eq. 9).
    """
    bins, number = likelihood_bins(logp_mean), len(LIKELIHOODS)
    found = {"score": zero_infeasible(score), "reward": reward}
    return as_json(LIKELIHOODS, **{name: bin_means(bins, values, number) for name, values in found.items()})


def choices(selected: np.ndarray, pool: np.ndarray) -> dict[str, Any]:
    """What was selected beside what could have been (Fig. 5): as many from the same pool, by the oracle or at random.

    Args:
        selected: (K,) scores of the candidates, -inf infeasible.
        pool: (P,) scores of all distinct proposals that had no label, the candidates among them.

    Returns:
        `count` K and `pool` P; the best score and the mean score of each choice, None where nothing was selected. Those of a random
        choice are expected values, computed from all subsets.
    """
    chosen, ranked = zero_infeasible(selected), np.sort(zero_infeasible(pool))
    found = {"selected": chosen, "oracle": ranked[len(ranked) - len(chosen) :]}
    facts: dict[str, Any] = {"count": len(chosen), "pool": len(ranked)}
    for name, values in found.items():
        facts |= {f"best_{name}": _best(values), f"mean_{name}": float(values.mean()) if len(values) else None}
    known = len(chosen) > 0
    facts["best_random"] = expected_best(ranked, len(chosen)) if known else None
    facts["mean_random"] = float(ranked.mean()) if known else None
    return facts


def expected_best(values: np.ndarray, count: int) -> float:
    """The expected highest of `count` of the `values` (P,), drawn without replacement; 1 <= count <= P.

    Of the C(P, k) equally likely choices, C(i, k) stay among the i lowest values: a share F(i), with F(P) = 1 and
    F(i - 1) = F(i) (i - k) / i. The i-th lowest is the highest drawn with probability F(i) - F(i - 1) = F(i) k / i.
    """
    i = np.arange(len(values), count - 1, -1)
    share = np.concatenate([[1.0], np.cumprod((i - count) / i)[:-1]])
    return float(np.sum(np.sort(values)[i - 1] * share * count / i))


def rank_correlation(a: np.ndarray, b: np.ndarray) -> float | None:
    """Spearman's rank correlation of `a` and `b` (N,), equal values at their mean rank; None where one of them does not vary.

    Infeasible sequences (-inf) rank below all others, as equals.
    """
    x, y = _ranks(a), _ranks(b)
    spread = np.sqrt((x**2).sum() * (y**2).sum())
    return float((x * y).sum() / spread) if spread > 0 else None


def _ranks(values: np.ndarray) -> np.ndarray:
    """(N,) ranks less their mean, equal values at their mean rank."""
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse] - (len(values) + 1) / 2


def _best(scores: np.ndarray) -> float | None:
    return float(zero_infeasible(scores).max()) if len(scores) else None
