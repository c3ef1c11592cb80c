"""The loop of LEON with a scripted proposer: what it bounds, what it counts, and what it does where something cannot be done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scripted import Scripted

from llome.errors import ConfigError, DivergedError
from llome.leon import loop
from llome.leon.certainty import next_lambda
from llome.leon.critic import CriticSettings
from llome.leon.loop import optimise
from llome.leon.outcome import Outcome
from llome.leon.settings import LeonSettings
from llome.leon.space import Space

SPACE = Space.of({"x": {"low": 0, "high": 1}, "y": {"low": 0, "high": 1}}, "here")
SOURCE = np.clip(np.random.default_rng(0).normal(0.4, 0.08, (200, 2)), 0, 1)
QUICK = LeonSettings.of(
    {
        "budget": 96,
        "batch": 16,
        "bound": 0.05,
        "step": 4.0,
        "refit": 2,
        "critic_fit": {"steps": 60, "learning_rate": 0.01},
    }
)
Designs = Sequence[Mapping[str, Any]]


def more_is_better(designs: Designs) -> np.ndarray:
    """A surrogate that knows no end: it rises out of what is known."""
    return np.array([d["x"] + d["y"] - 0.8 for d in designs])


def run(
    settings: LeonSettings = QUICK, proposer: Scripted | None = None, predict: Any = more_is_better, **more: Any
) -> Outcome:
    said: dict[str, Any] = {
        "task": "Find x.",
        "space": SPACE,
        "context": {"age": 60},
        "knowledge": "",
        "source": SOURCE,
        "random_seed": 3,
        "journal": None,
        **more,
    }
    return optimise(proposer=proposer or Scripted(), predict=predict, settings=settings, **said)


def test_scores_are_made_of_their_parts() -> None:
    outcome = run()
    assert outcome.queries == len(outcome.history) == 96
    assert outcome.calls == len(outcome.batches) == 6
    assert (outcome.tokens_in, outcome.tokens_out) == (600, 96)
    assert outcome.stopped == "the budget of queries is spent"
    now = 0.0
    for batch in outcome.batches:
        assert batch.distance is not None
        assert batch.lambda_ == next_lambda(now, batch.distance, QUICK.bound, QUICK.step)
        now = batch.lambda_
    assert now > 0
    for proposal in outcome.history:
        assert proposal.predicted == more_is_better([proposal.design])[0]
        assert proposal.worth == pytest.approx(proposal.predicted + now * proposal.source, rel=1e-12)
        assert proposal.score == proposal.mu * proposal.worth
        assert proposal.mu == max(outcome.batches[proposal.batch].mu, 0.1)
    assert outcome.best is not None
    assert outcome.best.worth == max(p.worth for p in outcome.history)
    assert outcome.best.score == outcome.batches[-1].best


def test_sure_batches_count_more() -> None:
    """Nine of ten alike where they are best, or where they are worst."""
    sure = [{"x": 0.5, "y": 0.5}] * 9 + [{"x": 0.1, "y": 0.1}]
    unsure = [{"x": 0.6, "y": 0.6}] + [{"x": 0.1, "y": 0.1}] * 9
    answers = [json.dumps(sure), json.dumps(unsure)]
    outcome = run(replace(QUICK, critic=False, batch=10, budget=20), Scripted(answers=answers))
    assert [b.mu for b in outcome.batches] == [pytest.approx(np.log(9) / 0.8), 0]
    assert outcome.best is not None
    assert outcome.best.design == unsure[0]  # worth more, though its batch was not sure of it
    assert {p.mu for p in outcome.history[10:]} == {0.1}
    assert outcome.history[10].score == pytest.approx(0.1 * 0.4)


def test_the_critic_keeps_proposals_near_what_is_known() -> None:
    """Without it the best design is a corner that nobody knows anything of."""
    settings = replace(QUICK, budget=240, certainty=False)
    bound, free = run(settings), run(replace(settings, critic=False))
    assert free.best is not None
    assert bound.best is not None
    assert free.best.predicted > 1.1
    assert all((b.lambda_, b.distance, b.mu) == (0, None, 1) for b in free.batches)
    assert [p.score for p in free.history] == [p.predicted for p in free.history]
    assert bound.best.predicted < 0.6
    assert (
        np.mean([p.predicted for p in bound.history[-48:]]) < np.mean([p.predicted for p in free.history[-48:]]) - 0.3
    )


def test_lambda_falls_while_proposals_are_those_that_are_known() -> None:
    near = [json.dumps([{"x": float(x), "y": float(y)} for x, y in SOURCE[i : i + 16]]) for i in range(0, 96, 16)]
    far = json.dumps([{"x": 0.9 + i / 1000, "y": 0.95} for i in range(16)])
    lambdas = [b.lambda_ for b in run(replace(QUICK, refit=1), Scripted(answers=[far, far, *near[:4]])).batches]
    assert 0 < lambdas[0] < lambdas[1]
    assert lambdas[1] > lambdas[2] > lambdas[4]


def test_the_best_of_the_history_is_told() -> None:
    proposer = Scripted()
    outcome = run(replace(QUICK, shown=3), proposer)
    assert proposer.requests[0].messages()[1]["content"].count("scored so far") == 0
    last = proposer.requests[-1]
    known = outcome.history[:80]
    assert len(last.history) == 80
    assert len(last.best()) == 3
    assert [d for d, _ in last.history] == [p.design for p in known]
    assert len({r.seed for r in proposer.requests}) == 6


def test_the_budget_is_a_hard_stop() -> None:
    seen: list[int] = []

    def predict(designs: Designs) -> np.ndarray:
        seen.append(len(designs))
        return more_is_better(designs)

    many = json.dumps([{"x": 0.5, "y": 0.5}] * 40)
    proposer = Scripted(answers=[many] * 3)
    outcome = run(replace(QUICK, budget=41), proposer, predict)
    assert seen == [16, 16, 9]
    assert outcome.queries == 41
    assert [r.count for r in proposer.requests] == [16, 16, 9]
    assert run(replace(QUICK, calls=2)).stopped == "the limit of calls is reached"
    nothing = run(replace(QUICK, calls=2, reasks=5), Scripted(answers=["no"] * 9))
    assert (nothing.calls, nothing.queries, nothing.best) == (2, 0, None)


def test_malformed_answers_are_asked_for_again_with_what_was_wrong() -> None:
    proposer = Scripted(answers=["I cannot.", json.dumps([{"x": 2, "y": 0}] * 5)])
    outcome = run(proposer=proposer)
    assert (outcome.calls, outcome.queries) == (8, 96)
    assert (outcome.batches[0].malformed, outcome.batches[0].calls) == (2, 3)
    assert [tuple(r.faults) for r in proposer.requests[:2]] == [(), ("it holds no complete JSON list of objects",)]
    assert len(proposer.requests[2].faults) == 3
    assert "design 1: x is 2; it must be a number from 0 to 1" in proposer.requests[2].messages()[1]["content"]
    assert "answer: and 2 faults more" in outcome.batches[0].notes


def test_a_proposer_of_nothing_usable_ends_the_loop() -> None:
    outcome = run(proposer=Scripted(answers=[json.dumps([{"x": 9, "y": 9}])] * 50))
    assert outcome.stopped == "3 batches in a row held no usable design"
    assert (outcome.best, outcome.queries, outcome.calls) == (None, 0, 9)
    assert [b.malformed for b in outcome.batches] == [3, 3, 3]
    once = run(proposer=Scripted(answers=["", "", ""]))
    assert once.queries == 96  # one empty batch, then it goes on
    assert once.batches[0].designs == 0


def test_constant_scores_and_one_class() -> None:
    outcome = run(replace(QUICK, critic=False), predict=lambda designs: np.full(len(designs), 0.25))
    assert {b.mu for b in outcome.batches} == {1.0}
    assert all(b.notes == ["mu is 1: all classes are worth the same"] for b in outcome.batches)
    assert outcome.best is not None
    assert outcome.best.score == 0.25
    one = run(replace(QUICK, critic=False, budget=16), Scripted(answers=[json.dumps([{"x": 0.5, "y": 0.5}] * 16)]))
    assert one.batches[0].notes == ["mu is 1: there is one class only"]


def test_too_few_for_a_critic() -> None:
    outcome = run(source=SOURCE[:7])
    assert {b.lambda_ for b in outcome.batches} == {0.0}
    assert all("lambda stays: a critic needs 8 designs, and 7 are known" in b.notes for b in outcome.batches)
    small = run(replace(QUICK, batch=3, budget=12, refit=4))
    assert [b.distance is None for b in small.batches] == [True, True, False, False]


def test_a_critic_that_diverges(monkeypatch: pytest.MonkeyPatch) -> None:
    fits, real = [0], loop.fit_critic

    def fit(*args: Any, **more: Any) -> Any:
        fits[0] += 1
        if fits[0] != 2:
            raise DivergedError("it is not finite")
        return real(*args, **more)

    monkeypatch.setattr(loop, "fit_critic", fit)
    outcome = run(replace(QUICK, refit=2))
    assert [b.distance is None for b in outcome.batches] == [True, False, False, False, False, False]
    assert "lambda stays: it is not finite" in outcome.batches[0].notes
    assert "the critic before stays: it is not finite" in outcome.batches[3].notes
    assert outcome.queries == 96


def test_what_cannot_be_predicted_is_left_out() -> None:
    def predict(designs: Designs) -> np.ndarray:
        return np.where(np.arange(len(designs)) % 4 == 0, np.nan, more_is_better(designs))

    outcome = run(predict=predict)
    assert (outcome.queries, len(outcome.history)) == (96, 72)
    assert "left out: 4 designs without a finite prediction" in outcome.batches[0].notes
    with pytest.raises(ConfigError, match=r"a surrogate gave \(2,\) for 16 designs"):
        run(predict=lambda designs: np.zeros(2))


def test_equal_designs_are_a_class_where_there_are_no_numbers() -> None:
    space = Space.of({"drug": {"choices": ["a", "b", "c"]}}, "here")
    source = space.encode([{"drug": "a"}] * 10)
    designs = [{"drug": d} for d in "a" * 9 + "b" * 3 + "c"]
    proposer = Scripted(answers=[json.dumps(designs)])
    worth = {"a": float(np.log(9)), "b": float(np.log(3)), "c": 0.0}
    outcome = run(
        replace(QUICK, critic=False, budget=13),
        proposer,
        lambda ds: np.array([2 * worth[d["drug"]] for d in ds]),
        space=space,
        source=source,
    )
    assert outcome.batches[0].classes == 3
    assert outcome.batches[0].mu == pytest.approx(0.5)
    assert [p.group for p in outcome.history] == [0] * 9 + [1] * 3 + [2]


def test_a_source_of_another_space() -> None:
    with pytest.raises(ConfigError, match=r"known designs have shape \(5, 3\); this space encodes \(N, 2\)"):
        run(source=np.zeros((5, 3)))


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"budgt": 1}, "unknown key 'budgt', did you mean 'budget'?"),
        ({"budget": 0}, "settings.budget is 0"),
        ({"budget": 1.5}, "budget is 1.5, expected a whole number"),
        ({"batch": True}, "batch is True, expected a whole number"),
        ({"critic": 1}, "critic is 1, expected true or false"),
        ({"bound": -1}, "settings.bound is -1"),
        ({"step": 0}, "settings.step is 0"),
        ({"calls": 0}, "settings.calls is 0"),
        ({"critic_fit": {"steps": 0}}, "critic.steps is 0"),
        ({"critic_fit": {"slope": "hard"}}, "slope is 'hard', expected one of"),
        ({"critic_fit": 3}, "critic_fit is 3; give a mapping"),
    ],
)
def test_mistakes_in_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        LeonSettings.of(settings, "task.yaml: settings")
    assert said in str(caught.value)


def test_settings_of_a_mapping() -> None:
    given = LeonSettings.of({"budget": 64, "calls": None, "critic_fit": {"steps": 50}})
    assert given.budget == 64
    assert given.critic_fit == CriticSettings(hidden=32, slope="penalty", steps=50, batch_size=64, learning_rate=5e-3)
