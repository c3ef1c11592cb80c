"""Predictions: worth from the two heads, spread from the members', clusters held out whole, on sequences of a function never fitted to."""

from __future__ import annotations

import numpy as np
import pytest

from llome.scoring import Ehrlich
from llome.surrogate.holding import cells, hold_out
from llome.surrogate.judging import fit_predictor
from llome.surrogate.network import Ensemble
from llome.surrogate.predicting import Calibration, Prediction
from llome.surrogate.targets import row_weights


def prediction(mean: float, feasible: float, *, logarithmic: bool) -> Prediction:
    return Prediction(np.array([mean]), np.array([0.5]), np.array([feasible]), logarithmic, -3.0, 2.0)


def test_worth_is_the_score_expected_of_both_heads() -> None:
    assert prediction(1.5, 1.0, logarithmic=True).worth == pytest.approx([1.5])
    assert prediction(1.5, 0.25, logarithmic=True).worth == pytest.approx([1.5 + np.log(0.25) / 2])
    assert prediction(1.5, 0.25, logarithmic=False).worth == pytest.approx([0.25 * 1.5 - 0.75 * 3])


def test_a_known_calibration_is_found() -> None:
    rng = np.random.default_rng(0)
    variances = rng.gamma(2.0, 0.5, 200_000)
    errors = rng.normal(size=len(variances)) * np.sqrt(4 * variances + 0.25)
    found = Calibration.of(variances, errors)
    assert found.stretch == pytest.approx(2, rel=0.03)
    assert found.rest == pytest.approx(0.5, rel=0.1)
    exact = Calibration.of(variances, 2 * np.sqrt(variances))
    assert [exact.stretch, exact.rest] == pytest.approx([2, 0], abs=1e-6)
    assert Calibration.of(np.zeros(4), np.full(4, 3.0)).spread(np.zeros(1)) == pytest.approx([3.0])
    assert Calibration.of(np.array([1.0, 2.0]), np.array([2.0, 1.0])).stretch == 0  # surer where it is wronger
    assert Calibration.of(np.zeros(0), np.zeros(0)) == Calibration()


def test_no_cluster_is_on_two_sides() -> None:
    groups = np.random.default_rng(1).integers(0, 50, 2000)
    scores = np.where(groups % 7, 1.0, -np.inf)
    fitted, stop, last = hold_out(groups, scores, 0.2, random_seed=3)
    assert sorted(np.concatenate([fitted, stop, last])) == list(range(2000))
    sides = [set(groups[rows].tolist()) for rows in (fitted, stop, last)]
    assert len(sides[0] | sides[1] | sides[2]) == sum(len(side) for side in sides)
    assert 300 < len(stop) + len(last) < 500
    again = hold_out(groups, scores, 0.2, random_seed=3)
    assert all((one == other).all() for one, other in zip(again, (fitted, stop, last), strict=True))


@pytest.mark.parametrize("groups", [np.zeros(200, dtype=np.int64), np.arange(40)])
def test_nothing_is_held_out_of_one_cluster_or_of_few_rows(groups: np.ndarray) -> None:
    fitted, stop, last = hold_out(groups, np.ones(len(groups)), 0.2, random_seed=0)
    assert (len(fitted), len(stop), len(last)) == (len(groups), 0, 0)


def test_cells_are_of_near_sequences() -> None:
    rows = np.array([[0, 0, 0], [5, 5, 5]], dtype=np.int16)[np.repeat([0, 1], 30)]
    found = cells(rows, random_seed=0)
    assert len(set(found[:30])) == len(set(found[30:])) == 1
    assert found[0] != found[-1]


def test_it_foresees_scores_and_feasibility_of_clusters_held_out() -> None:
    """Mutants of a good sequence, feasible and not: what is learnt holds for cells that nothing was fitted to."""
    function = Ehrlich(num_states=8, dim=16, num_motifs=2, motif_length=4, quantization=4, random_seed=3)
    rng = np.random.default_rng(0)
    rows = np.tile(function.optimal_solution(), (5000, 1))
    mask = rng.random(rows.shape) < 0.2
    rows[mask] = rng.integers(0, 8, mask.sum())
    rows = np.unique(rows, axis=0).astype(np.int16)
    scores = function.score(rows)
    finite = np.isfinite(scores)
    assert 0.1 < finite.mean() < 0.9
    weights = np.full(len(rows), 1 / len(rows))
    weights[finite] = row_weights(scores[finite], np.zeros(finite.sum()), np.zeros(finite.sum())) * finite.mean()
    network = Ensemble(8, 16, members=2, filters=16, random_seed=0, outputs=2)
    predictor, facts = fit_predictor(
        network,
        rows,
        scores,
        weights,
        cells(rows, random_seed=1),
        held_out=0.2,
        steps=400,
        batch_size=64,
        learning_rate=3e-3,
        random_seed=1,
    )
    assert facts["rank_correlation"] is not None
    assert facts["rank_correlation"] > 0.6
    assert facts["feasibility_area"] is not None
    assert facts["feasibility_area"] > 0.95
    worth = predictor.predict(rows).worth
    assert worth[scores == scores.max()].mean() > worth[finite].mean() > worth[~finite].mean()
