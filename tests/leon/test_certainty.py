"""Classes, and the two multipliers, where the answers are known."""

from __future__ import annotations

import numpy as np
import pytest

from llome.errors import ConfigError
from llome.leon.certainty import Parts, estimate_certainty, next_lambda
from llome.leon.classes import best_of, equal_rows, near_points, near_rows, occupancy
from llome.leon.critic import fit_critic
from llome.leon.ranks import CriticSettings


def test_classes_of_sequences() -> None:
    rows = np.array([[3, 3, 3], [0, 1, 2], [3, 3, 3], [0, 1, 3], [0, 0, 3], [3, 3, 3]])
    assert equal_rows(rows).tolist() == [0, 1, 0, 2, 3, 0]
    assert near_rows(rows, 0).tolist() == [0, 1, 0, 2, 3, 0]
    assert near_rows(rows, 1).tolist() == [
        0,
        1,
        0,
        1,
        2,
        0,
    ]  # the last differs by one from a member, by two from the founder
    assert near_rows(rows, 3).tolist() == [0] * 6
    assert occupancy(near_rows(rows, 1)).tolist() == [3, 2, 1]
    assert equal_rows(rows[:0]).tolist() == near_rows(rows[:0], 2).tolist() == []


def test_classes_of_points() -> None:
    rng = np.random.default_rng(0)
    centres = np.array([[0.0, 0.0], [10.0, 0.0], [0.0, 10.0]])
    points = centres[np.repeat(np.arange(3), 20)] + 0.1 * rng.normal(size=(60, 2))
    found = near_points(points, 3, random_seed=1)
    assert sorted(occupancy(found).tolist()) == [20, 20, 20]
    assert all(len(set(found[i : i + 20])) == 1 for i in (0, 20, 40))
    np.testing.assert_array_equal(found, near_points(points, 3, random_seed=1))
    assert near_points(np.ones((5, 2)), 3, random_seed=0).tolist() == [0] * 5  # one point, one class


def test_the_best_stands_for_its_class() -> None:
    assert best_of(np.array([0.5, -2.0, 1.5, -1.0]), np.array([0, 1, 0, 1])).tolist() == [1.5, -1.0]


@pytest.mark.parametrize("mu", [0.0, 0.5, 1.0, 3.0])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_known_mu_is_recovered(mu: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    worth = rng.normal(size=20)
    chances = np.exp(mu * worth)
    counts = rng.multinomial(20_000, chances / chances.sum())
    assert estimate_certainty(worth, counts).mu == pytest.approx(mu, rel=0.1, abs=0.03)


def test_exact_where_occupancy_is() -> None:
    worth = np.log([1.0, 2.0, 4.0])
    assert estimate_certainty(worth, np.array([10, 40, 160])).mu == pytest.approx(2.0, rel=1e-12)
    assert estimate_certainty(np.append(worth, 9.0), np.array([10, 40, 160, 0])).mu == pytest.approx(2.0, rel=1e-12)
    assert estimate_certainty(worth, np.array([160, 40, 10])).mu == 0  # the worse, the more often


@pytest.mark.parametrize(
    ("worth", "counts", "said"),
    [([1.0], [5], "one class only"), ([], [], "nothing was proposed"), ([2.0, 2.0, 2.0], [1, 2, 3], "worth the same")],
)
def test_where_it_cannot_be_estimated_scores_stay_as_they_are(worth: list[float], counts: list[int], said: str) -> None:
    found = estimate_certainty(np.array(worth), np.array(counts))
    assert found.mu == 1
    assert said in found.reason


def test_a_class_of_no_worth_is_refused() -> None:
    with pytest.raises(ConfigError, match="class 1 is worth -inf"):
        estimate_certainty(np.array([1.0, -np.inf]), np.array([3, 4]))


def test_lambda_rises_as_proposals_leave_the_source_and_falls_as_they_return() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(1000, 2))
    settings = CriticSettings(steps=150)
    lambda_, seen = 0.5, []
    for shift in (0.0, 2.0, 4.0, 4.0, 2.0, 0.0, 0.0, 0.0):
        proposals = rng.normal(size=(1000, 2)) + np.array([shift, 0.0])
        distance = fit_critic(source, proposals, settings, random_seed=0).distance(source, proposals)
        lambda_ = next_lambda(lambda_, distance, 1.0, 0.5)
        seen.append(lambda_)
    rises = np.sign(np.diff([0.5, *seen]))
    assert rises.tolist() == [-1, 1, 1, 1, 1, -1, -1, -1]
    assert min(seen) >= 0


def test_lambda_is_never_negative_and_waits_for_a_critic() -> None:
    assert next_lambda(0.1, 0.0, 1.0, 10.0) == 0
    assert next_lambda(0.25, float("nan"), 1.0, 1.0) == 0.25
    assert next_lambda(0.25, 3.0, 1.0, 0.5) == 1.25
    with pytest.raises(ConfigError, match="none is negative"):
        next_lambda(-1.0, 0.0, 1.0, 1.0)


def test_the_score_and_its_parts() -> None:
    parts = Parts(np.array([1.0, 2.0]), np.array([0.5, -1.5]), mu=2.0, lambda_=0.4)
    np.testing.assert_allclose(parts.worth, [1.2, 1.4])
    np.testing.assert_allclose(parts.score, [2.4, 2.8])
