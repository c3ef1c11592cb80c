"""What a round's tables come to: the counts and means of its summary, which can be had again from the tables at any time."""

from __future__ import annotations

from typing import Any

import numpy as np

from llome.distances import edit_distances, longer
from llome.domain import Domain
from llome.reporting.curves import mean_and_error, zero_infeasible
from llome.tables import Labeled, Proposals, row_keys


def count_proposals(proposals: Proposals, before: list[Labeled]) -> dict[str, Any]:
    """Counts of what the policy wrote: rows generated, those parsed, the unique ones among these, and the novel ones of them.

    Novel is what the tables `before` do not hold; `mean_hamming` is the mean share of positions that a parsed proposal
    changed in its source, None if none was parsed. Where lengths differ `mean_edit_distance` stands in its place, the mean edit distance
    of the two as a share of the longer's length.
    """
    parsed, source = proposals.sequence[proposals.parsed], proposals.source[proposals.parsed]
    unique = np.unique(row_keys(parsed))
    known = np.isin(unique, np.concatenate([row_keys(t.asked) for t in before]))
    return {
        "generated": len(proposals),
        "parsed": len(parsed),
        "unique": len(unique),
        "novel": int((~known).sum()),
        **_mean_distance(parsed, source, proposals.meta.domain),
    }


def _mean_distance(parsed: np.ndarray, source: np.ndarray, domain: Domain) -> dict[str, float | None]:
    if domain.fixed_length:
        return {"mean_hamming": float((parsed != source).mean()) if len(parsed) else None}
    shares = edit_distances(parsed, source) / longer(parsed, source)
    return {"mean_edit_distance": float(shares.mean()) if len(parsed) else None}


def count_labels(tables: list[Labeled], optimum: float | None) -> dict[str, Any]:
    """What the oracle said, `tables` running from the seed's to this round's; a score or regret nobody knows is None.

    Where sequences of this round failed, `failed` says how many.
    """
    last = tables[-1]
    everything = np.concatenate([t.score for t in tables])
    mean, error = mean_and_error(zero_infeasible(last.score))
    best = _best(everything)
    return {
        "counted": last.meta.spent,
        "distinct": len(np.unique(row_keys(np.concatenate([t.sequence for t in tables])))),
        "feasible": int(np.isfinite(last.score).sum()),
        "best": best,
        "best_of_round": _best(last.score),
        "mean": mean,
        "regret": None if optimum is None or (best is None and optimum <= 0) else optimum - (best or 0.0),
        "mean_regret": None if optimum is None or mean is None else optimum - mean,
        "se_regret": None if optimum is None else error,
        "labeled": len(last),
    } | ({"failed": len(last.failed)} if len(last.failed) else {})


def count_rewards(gains: np.ndarray) -> dict[str, Any]:
    """What the (N,) rewards of a round's labels come to: mean, its standard error, maximum and how many are above 0.

    Mean and maximum are None where nothing is labelled, the error where there are fewer than two.
    """
    mean, error = mean_and_error(gains)
    return {
        "reward_mean": mean,
        "se_reward": error,
        "reward_max": float(gains.max()) if len(gains) else None,
        "improved": int(np.count_nonzero(gains)),
    }


def _best(scores: np.ndarray) -> float | None:
    best = scores.max(initial=-np.inf)
    return float(best) if np.isfinite(best) else None
