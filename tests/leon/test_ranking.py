"""Ranking proposals by what a surrogate learnt, less what distance costs; what happens where there is nothing to rank by; spread."""

from __future__ import annotations

import numpy as np
import pytest

from llome.domain import PAD, Domain
from llome.errors import ConfigError, DivergedError
from llome.leon import ranking as module
from llome.leon.ranking import Ranking, spread_out
from llome.leon.ranks import CriticSettings, Leon
from llome.surrogate.network import Network
from llome.surrogate.predicting import Predictor
from llome.surrogate.targets import Target

DOMAIN = Domain(4, 6, "")
FIT = CriticSettings(hidden=32, slope="penalty", steps=150, batch_size=64, learning_rate=5e-3)


class Threes(Network):
    """Says that a sequence is worth as many as it has threes; nothing is drawn."""

    members, outputs = 1, 1

    def answers(self, member: int, designs: np.ndarray) -> np.ndarray:
        return (designs == 3).sum(axis=1, keepdims=True).astype(np.float32)


def ranking(rows: np.ndarray, scores: np.ndarray, leon: Leon | None, *, domain: Domain = DOMAIN) -> Ranking:
    predictor = Predictor(Threes(), Target(False, 0.0, 0.0, 1.0), lowest=0.0)
    return Ranking(predictor, rows, scores, domain, leon, random_seed=3)


def labels(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Sequences of 0 and 1 alone, with scores that differ."""
    rows = np.random.default_rng(seed).integers(0, 2, (200, 6)).astype(np.int16)
    return rows, rows.sum(axis=1) / 6


PROPOSALS = np.array(
    [[3, 3, 3, 3, 3, 3], [0, 1, 3, 0, 1, 3], [0, 1, 0, 1, 1, 0], [0, 1, 3, 0, 1, 3], [2, 2, 2, 2, 2, 2]], dtype=np.int16
)


def test_by_the_surrogate_alone() -> None:
    found = ranking(*labels(), None).rank(PROPOSALS)
    assert found.predicted.tolist() == [6, 2, 0, 2, 0]
    assert (found.lambda_, found.mu, found.facts) == (0.0, 1.0, {})
    assert np.argsort(-found.score, kind="stable").tolist() == [0, 1, 3, 2, 4]


def test_what_is_far_from_the_labels_pays_for_it_and_lambda_says_how_much() -> None:
    """Six threes are worth most and furthest away: within a small W0 they come after what is nearer, within a large one first."""
    known = ranking(*labels(), Leon(bound=0.0, step=0.5, fit=FIT)).rank(np.repeat(PROPOSALS, 20, axis=0))
    assert known.lambda_ > 1
    worth = known.predicted + known.lambda_ * known.source
    far, near, inside = worth[0], worth[20], worth[40]
    assert inside > near > far
    assert known.source[40] > known.source[20] > known.source[0]
    assert known.facts["distance"] == pytest.approx(-known.source.mean())
    free = ranking(*labels(), Leon(bound=50.0, fit=FIT)).rank(np.repeat(PROPOSALS, 20, axis=0))
    assert free.lambda_ == 0
    assert np.argmax(free.score) == 0


def test_mu_is_how_often_what_is_worth_more_was_written() -> None:
    """Counts in proportion to exp(2 x worth) give mu = 2; it scales the scores, and does not turn them."""
    counts = np.round(10 * np.exp(2.0 * np.arange(4))).astype(int)
    rows = np.zeros((4, 6), dtype=np.int16)
    for number in range(4):
        rows[number, :number] = 3
    written = np.repeat(rows, counts, axis=0)
    found = ranking(*labels(), Leon(critic=False)).rank(written)
    assert found.mu == pytest.approx(2.0, rel=1e-3)
    plain = ranking(*labels(), Leon(critic=False, certainty=False)).rank(written)
    assert plain.mu == 1
    np.testing.assert_allclose(found.score, found.mu * plain.score)
    one = ranking(*labels(), Leon(critic=False)).rank(written[:5])
    assert one.facts["no_mu"] == "there is one class only"


def test_what_is_worth_less_than_any_label_stays_last_whatever_mu_is() -> None:
    found = ranking(*labels(), Leon(critic=False)).rank(PROPOSALS)
    scores = module.Ranked(np.array([-9.0, -3.0, 2.0]), np.zeros(3), 5.0, 0.0, -1.0, {}).score
    assert (np.diff(scores) > 0).all()
    assert found.floor == -1


def test_a_critic_that_diverges_costs_nothing_but_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def diverge(*_: object, **__: object) -> None:
        raise DivergedError("the source critic has diverged")

    monkeypatch.setattr(module, "fit_critic", diverge)
    found = ranking(*labels(), Leon()).rank(PROPOSALS)
    assert found.facts["diverged"] == "the source critic has diverged"
    assert found.lambda_ == 0
    assert np.argmax(found.score) == 0


def test_nothing_to_learn_from_is_said() -> None:
    rows, scores = labels()
    assert "all 200 feasible labels have the score 0.5" in ranking(rows, np.full(200, 0.5), None).reason
    assert (
        "19 feasible labels are too few" in ranking(rows, np.where(np.arange(200) < 19, scores, -np.inf), None).reason
    )
    assert ranking(rows, scores, None).reason == ""


def test_no_proposals_are_no_error() -> None:
    assert len(ranking(*labels(), Leon()).rank(PROPOSALS[:0]).score) == 0


def test_the_same_seed_gives_the_same_order_and_another_batch_other_draws() -> None:
    one, two, other = (ranking(*labels(), Leon(fit=FIT)).rank(PROPOSALS, batch=batch) for batch in (0, 0, 1))
    np.testing.assert_array_equal(one.score, two.score)
    assert (one.source != other.source).any()


def test_candidates_keep_their_distance_while_there_are_enough() -> None:
    order = np.array([0, 2, 1, 3, 4])
    rows = PROPOSALS[[1, 3, 2, 0, 4]]  # rows 0 and 1 are equal, row 2 differs from them by four
    assert spread_out(order, rows, 2, 1, DOMAIN).tolist() == [0, 2]
    assert spread_out(order, rows, 3, 1, DOMAIN).tolist() == [0, 2, 3]  # distinct at least
    assert spread_out(order, rows, 3, 2, DOMAIN).tolist() == [0, 2, 3]
    assert spread_out(order, rows, 5, 7, DOMAIN).tolist() == [
        0,
        2,
        1,
        3,
        4,
    ]  # more than there are apart: the rest in order
    assert spread_out(order, rows, 2, 7, DOMAIN).tolist() == [0, 2]


def test_where_lengths_differ_distances_are_edits() -> None:
    domain = Domain(4, 6, "", shortest=3)
    rows = np.array([[0, 1, 2, 3, 0, PAD], [1, 2, 3, 0, PAD, PAD], [3, 3, 3, 3, 3, 3]], dtype=np.int16)
    assert spread_out(np.arange(3), rows, 2, 2, domain).tolist() == [0, 2]  # the second is the first without its head
    assert spread_out(np.arange(3), rows, 2, 1, domain).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("name", "value"), [("bound", -1.0), ("step", 0.0), ("climbs", 0), ("radius", -1), ("known", 0)]
)
def test_impossible_settings_of_leon_are_named(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=rf"leon\.{name} is {value}"):
        Leon(**{name: value})  # type: ignore[arg-type]
