from __future__ import annotations

import numpy as np
import pytest

from llome.reporting.comparison.pareto import frontier, hypervolume, left_over, mean_box, run_points
from llome.reporting.curves import Steps

POINTS = np.array([[3.0, 0.4], [1.0, 0.5], [2.0, 0.25], [1.0, 0.75], [2.0, 0.25]])


def test_frontier_keeps_what_nothing_dominates_once() -> None:
    assert frontier(POINTS).tolist() == [[1.0, 0.5], [2.0, 0.25]]
    assert frontier(POINTS[:1]).tolist() == [[3.0, 0.4]]


def test_hypervolume_of_a_hand_made_frontier() -> None:
    # from 1 to 2 half of the height, from 2 to 4 three quarters
    assert hypervolume(POINTS, (4.0, 1.0)) == 0.5 + 2 * 0.75
    # a reference point between them: (1, .5) adds nothing on its edge
    assert hypervolume(POINTS, (4.0, 0.5)) == 2 * 0.25
    assert hypervolume(POINTS, (2.0, 1.0)) == 0.5
    assert hypervolume(POINTS, (1.0, 0.25)) == 0.0


def test_hypervolume_counts_the_cells_that_a_point_dominates() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        points = rng.integers(0, 12, size=(7, 2))
        cells = np.stack(np.meshgrid(np.arange(10), np.arange(8), indexing="ij"), axis=-1)
        dominated = (cells[:, :, None] >= points).all(axis=-1).any(axis=-1)
        assert hypervolume(points.astype(float), (10.0, 8.0)) == dominated.sum()


def test_what_a_run_leaves_over_is_its_mean_regret() -> None:
    curve = Steps(np.array([1, 5]), np.array([0.5, 1.0]), 10)
    # dominated: (.5 - .1) at half the height, then the last half in full
    assert left_over(curve, 1.0, 10) == pytest.approx(1 - (0.4 * 0.5 + 0.5))
    assert run_points(curve, 2.0).tolist() == [[1.0, 0.75], [5.0, 0.5]]
    assert left_over(curve, 2.0, 10) == pytest.approx(1 - (0.4 * 0.25 + 0.5 * 0.5))
    # improvements after the last budget are none
    assert left_over(curve, 1.0, 5) == pytest.approx(1 - 0.8 * 0.5)
    assert left_over(Steps(np.array([3]), np.array([0.0]), 10), 1.0, 10) == 1.0


def test_evaluations_times_regret_over_thirty_budgets() -> None:
    # regret 1 before the tenth evaluation, then a half: (45 + 420 / 2) / 30
    assert mean_box(Steps(np.array([10]), np.array([0.5]), 30), 1.0, 30) == pytest.approx(8.5)
    assert mean_box(Steps(np.array([10]), np.array([0.5]), 30), 0.5, 30) == pytest.approx(45 / 30)
    # found, and the search over: no budget after it has a regret
    assert mean_box(Steps(np.array([10]), np.array([1.0]), 10, final=True), 1.0, 30) == pytest.approx(1.5)
