"""The surrogate of vectors: what it foresees on clusters not seen, how far off it says that is, its gradient, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from llome.errors import ConfigError
from llome.leon.surrogate import SurrogateSettings, fit_vectors

QUICK = SurrogateSettings(members=3, hidden=32, steps=600)


def problem(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """A bowl in two of five dimensions with noise of a tenth, infeasible where the third is above 1."""
    rng = np.random.default_rng(seed)
    inputs = rng.normal(size=(count, 5))
    scores = -np.square(inputs[:, 0] - inputs[:, 1] / 2 - 1) + 0.1 * rng.normal(size=count)
    scores[inputs[:, 2] > 1] = -np.inf
    return inputs, scores


@pytest.fixture(scope="module")
def fitted():  # type: ignore[no-untyped-def]
    return fit_vectors(*problem(4000), settings=QUICK, random_seed=1)


def test_it_foresees_designs_it_has_not_seen_and_says_how_well(fitted) -> None:  # type: ignore[no-untyped-def]
    assert fitted.facts["rank_correlation"] > 0.95
    assert fitted.facts["feasibility_area"] > 0.99
    assert 600 < fitted.facts["held_out"] < 1200
    inputs, scores = problem(2000, seed=9)
    finite = np.isfinite(scores)
    found = fitted.predict(inputs)
    errors = (found.mean - fitted.predictor.target.standardise(scores))[finite] / found.spread[finite]
    assert (np.abs(errors) <= 1).mean() == pytest.approx(0.68, abs=0.1)
    assert (np.abs(errors) <= 2).mean() == pytest.approx(0.95, abs=0.05)
    assert ((found.feasible > 0.5) == finite).mean() > 0.97
    assert (
        found.worth[~finite].mean() < found.mean[finite].min() + 1
    )  # what is infeasible is worth less than all that is feasible


def test_the_gradient_is_that_of_finite_differences(fitted) -> None:  # type: ignore[no-untyped-def]
    inputs, _ = problem(50, seed=3)
    _, slope = fitted.gradient(inputs)
    for place in range(5):
        step = np.zeros(5)
        step[place] = 1e-2
        difference = (fitted.gradient(inputs + step)[0] - fitted.gradient(inputs - step)[0]) / 2e-2
        np.testing.assert_allclose(slope[:, place], difference, atol=2e-3)


def test_the_same_seed_gives_the_same_bytes() -> None:
    one, two = (
        fit_vectors(*problem(300), settings=SurrogateSettings(steps=50), random_seed=5).predict(problem(20, seed=1)[0])
        for _ in range(2)
    )
    np.testing.assert_array_equal(one.worth, two.worth)
    np.testing.assert_array_equal(one.spread, two.spread)


def test_few_designs_are_all_fitted_to_and_constant_ones_are_no_error() -> None:
    few = fit_vectors(*problem(20), settings=SurrogateSettings(steps=20), random_seed=0)
    assert few.facts["held_out"] == 0
    inputs, _ = problem(200)
    flat = fit_vectors(inputs, np.full(200, 3.0), settings=SurrogateSettings(steps=50), random_seed=0)
    assert flat.facts["rank_correlation"] is None
    assert np.isfinite(flat.predict(inputs).worth).all()


def test_patients_are_held_out_whole() -> None:
    inputs, scores = problem(400)
    names = np.repeat([f"p{number}" for number in range(100)], 4)
    found = fit_vectors(inputs, scores, settings=SurrogateSettings(steps=20), random_seed=0, groups=names)
    assert found.facts["held_out"] is not None
    assert found.facts["held_out"] % 4 == 0
    assert found.facts["held_out"] > 0


@pytest.mark.parametrize(
    ("inputs", "scores", "said"),
    [
        (np.ones((3, 2)), np.ones(2), r"\(3, 2\) and scores \(2,\)"),
        (np.array([[1.0], [np.nan]]), np.ones(2), "row 1 of the inputs"),
        (np.ones((2, 1)), np.array([0.0, np.nan]), "score 1 is nan"),
        (np.ones((2, 1)), np.full(2, -np.inf), "none of 2 designs is feasible"),
    ],
)
def test_what_it_refuses(inputs: np.ndarray, scores: np.ndarray, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        fit_vectors(inputs, scores, settings=QUICK, random_seed=0)


@pytest.mark.parametrize(
    ("name", "value"), [("members", 0), ("steps", 0), ("learning_rate", 0.0), ("held_out", 1.0), ("held_out", -0.1)]
)
def test_impossible_settings_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"surrogate\.{name} is {value}"):
        SurrogateSettings(**{name: value})  # type: ignore[arg-type]
