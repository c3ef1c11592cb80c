"""Best-so-far curves and round averages, as plain arrays: what the paper's figures 2 and 3 are drawn from.

A curve holds *scores*; the regret of a figure is the optimum less the score. An infeasible sequence counts as score 0
(the convention below Eq. 9), so a run that has found nothing feasible stands at the regret of the optimum itself, 1 for an
Ehrlich function.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llome.tables import Labeled, lowest_value


@dataclass(frozen=True)
class Steps:
    """The best score so far as a step function of the evaluations, right-continuous."""

    x: np.ndarray
    """(K,) int64, the evaluation (from 1) of each improvement, rising."""
    y: np.ndarray
    """(K,) float64, the best score from there on."""
    end: int
    """The last evaluation; the curve says nothing beyond it."""
    final: bool = False
    """The search was over when the curve ended (the optimum was found), so that its last value holds for ever."""

    def at(self, x: np.ndarray | float) -> np.ndarray:
        """Values at `x`; NaN before the first evaluation and beyond the end, unless the curve is final."""
        x = np.asarray(x, dtype=np.float64)
        index = np.searchsorted(self.x, x, side="right") - 1
        values = np.where(index >= 0, self.y[np.maximum(index, 0)], np.nan)
        return values if self.final else np.where(x <= self.end, values, np.nan)


@dataclass(frozen=True)
class Band:
    """The mean of several curves and twice its standard error."""

    x: np.ndarray
    """(K,) evaluations."""
    mean: np.ndarray
    """(K,) mean over the curves."""
    two_se: np.ndarray
    """(K,) two standard errors of that mean; NaN where there is only one curve."""


def zero_infeasible(scores: np.ndarray) -> np.ndarray:
    """Scores with 0 in place of -inf (below Eq. 9), or with the lowest score there is, should that lie below 0."""
    return np.where(np.isneginf(scores), lowest_value(scores), scores)


def mean_and_error(values: np.ndarray) -> tuple[float | None, float | None]:
    """Mean and its standard error (ddof 1); None where there are too few values for one."""
    if len(values) == 0:
        return None, None
    error = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else None
    return float(np.mean(values)), error


def best_so_far(tables: Sequence[Labeled], *, distinct: bool, final: bool = False) -> Steps:
    """The best score in `tables` (in the order they were labelled) against evaluations.

    Counted evaluations include repeats: a sequence stands at the oracle call that first scored it, and the curve ends at
    all that were spent. Distinct evaluations number the different sequences in that order.
    """
    query = np.concatenate([t.query for t in tables])
    order = np.argsort(query, kind="stable")
    best = zero_infeasible(np.maximum.accumulate(np.concatenate([t.score for t in tables])[order]))
    x = np.arange(1, len(order) + 1) if distinct else query[order] + 1
    end = len(order) if distinct else max(t.meta.spent for t in tables)
    better = np.ones(len(best), dtype=bool)
    better[1:] = best[1:] != best[:-1]
    return Steps(x[better].astype(np.int64), best[better], end, final)


def average_steps(curves: Sequence[Steps]) -> Band:
    """Mean of step curves over the range that all of them cover; a final curve covers all that follows its end."""
    open_ends = [c.end for c in curves if not c.final]
    stop = min(open_ends) if open_ends else max(c.end for c in curves)
    start = max(int(c.x[0]) for c in curves)
    x = np.unique(np.concatenate([[start, stop], *(c.x for c in curves)]))
    x = x[(x >= start) & (x <= stop)]
    return _average(x, np.stack([c.at(x) for c in curves]))


def average_rounds(curves: Sequence[tuple[np.ndarray, np.ndarray]]) -> Band:
    """Mean of `(evaluations, values)` curves round by round, over the curves that have the round."""
    longest = max(len(x) for x, _ in curves)
    both = np.full((2, len(curves), longest), np.nan)
    for i, (x, y) in enumerate(curves):
        both[0, i, : len(x)], both[1, i, : len(y)] = x, y
    counts = (~np.isnan(both[0])).sum(axis=0)
    return _average(np.nansum(both[0], axis=0) / counts, both[1])


def _average(x: np.ndarray, values: np.ndarray) -> Band:
    """Band over axis 0 of `values` (curves, K), NaN left out; NaN where all are."""
    known = ~np.isnan(values)
    n = known.sum(axis=0)
    mean = np.where(n > 0, np.nansum(values, axis=0) / np.maximum(n, 1), np.nan)
    squares = np.where(known, (values - mean) ** 2, 0.0).sum(axis=0)
    error = np.sqrt(squares / np.maximum(n - 1, 1) / np.maximum(n, 1))
    return Band(x, mean, np.where(n > 1, 2 * error, np.nan))


def first_above(band: Band, score: float) -> int | None:
    """The first evaluation at which the mean exceeds `score`."""
    above = np.flatnonzero(band.mean > score)
    return int(band.x[above[0]]) if len(above) else None
