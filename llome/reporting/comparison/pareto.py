"""Frontiers of evaluations against regret, and their hypervolumes (paper Fig. 7), exact by sorting.

The paper's caption: "The average hypervolume refers to the average (number of test function evaluations × minimum regret). Lower
hypervolume is better." It names no reference point, no normalisation and no budgets within a run, so both readings are given:

- `mean_box`, the caption word by word: evaluations × minimum regret, the box that a result spans with the point of no evaluations and no
  regret; the mean over 30 evenly spaced budgets (the paper's go from 1K to 30K). Its unit is evaluations.
- `left_over`, the hypervolume in the usual sense turned so that lower is better: both axes normalised to 1 (evaluations by the last budget
  in question, regret by the optimum), the reference point the worst corner (1, 1), and the share of the unit square that the frontier
  does *not* dominate: next to 0 for the optimum at the first evaluation, 1 for no gain at all. It is the mean regret over all budgets.
"""

from __future__ import annotations

import numpy as np

from llome.reporting.curves import Steps

BUDGETS = 30


def frontier(points: np.ndarray) -> np.ndarray:
    """The points (N, 2) that no other one dominates, lower being better in both, each once and by the first value: (K, 2)."""
    points = np.unique(points, axis=0)  # sorted by the first value, then by the second
    least = np.minimum.accumulate(points[:, 1])
    better = np.ones(len(points), dtype=bool)
    better[1:] = points[1:, 1] < least[:-1]
    return points[better]


def hypervolume(points: np.ndarray, reference: tuple[float, float]) -> float:
    """The area between the points (N, 2), lower being better in both, and the reference point: what at least one of them dominates.

    Points beyond the reference point in a value add nothing. In the unit of the first value times that of the second.
    """
    inside = points[(points[:, 0] < reference[0]) & (points[:, 1] < reference[1])]
    if not len(inside):
        return 0.0
    edge = frontier(inside)
    width = np.diff(np.append(edge[:, 0], reference[0]))
    return float(np.sum(width * (reference[1] - edge[:, 1])))


def left_over(curve: Steps, optimum: float, last: int) -> float:
    """The share of [0, 1] x [0, 1] (evaluations over `last`, regret over `optimum`) that a run does not dominate; lower is better."""
    return 1 - hypervolume(run_points(curve, optimum) / (last, 1.0), (1.0, 1.0))


def mean_box(curve: Steps, optimum: float, last: int) -> float:
    """The mean of evaluations × minimum regret over 30 budgets, `last` / 30 to `last`, in evaluations; lower is better.

    Before a run's first evaluation its regret is the optimum itself.
    """
    budgets = last * np.arange(1, BUDGETS + 1) / BUDGETS
    scores = curve.at(budgets)
    scores = np.where(budgets < curve.x[0], 0.0, scores)
    return float(np.mean(budgets * (optimum - scores) / optimum))


def run_points(curve: Steps, optimum: float) -> np.ndarray:
    """(K, 2) counted evaluations and regret, as a share of the optimum, of each improvement of a run."""
    return np.column_stack([curve.x, (optimum - curve.y) / optimum])
