"""The script that stands in for a model: what it reads, that it errs now and then, and that the same request gets the same answer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import llome.leon.warfarin
from llome.errors import ConfigError
from llome.leon.proposing import Request, read_designs
from llome.leon.space import Space
from llome.leon.warfarin.scripted import ScriptedProposer, expected

LABEL = (Path(llome.leon.warfarin.__file__).parent / "label.csv").read_text()
SPACE = Space.of({"dose": {"low": 0.5, "high": 15, "unit": "mg a day"}})
REQUEST = Request(
    task="a dose", space=SPACE, context={"vkorc1": "A/A", "cyp2c9": "*1/*1"}, knowledge=LABEL, count=400, seed=1
)
NEVER_WRONG = ScriptedProposer(malformed=0)


def doses(proposer: ScriptedProposer, request: Request) -> np.ndarray:
    designs, faults = read_designs(proposer.propose(request).text, SPACE)
    assert not faults
    return np.array([design["dose"] for design in designs])


@pytest.mark.parametrize(
    ("vkorc1", "cyp2c9", "ends"),
    [
        ("G/G", "*1/*1", (5, 7)),
        ("A/G", "*1/*2", (3, 4)),
        ("A/A", "*3/*3", (0.5, 2)),
        ("A/A", "unknown", ((3 + 3 + 4 * 0.5) / 6, (4 + 4 + 4 * 2) / 6)),
        ("unknown", "*2/*2", ((3 + 3 + 0.5) / 3, (4 + 4 + 2) / 3)),
    ],
)
def test_the_label_is_read_by_genotype(vkorc1: str, cyp2c9: str, ends: tuple[float, float]) -> None:
    assert expected(LABEL, {"vkorc1": vkorc1, "cyp2c9": cyp2c9}) == pytest.approx(ends)


def test_it_proposes_what_the_knowledge_says_and_only_that() -> None:
    found = doses(NEVER_WRONG, REQUEST)
    assert len(found) == 400
    assert (found.mean(), found.std()) == pytest.approx((3.5, 0.5), abs=0.08)
    high = doses(NEVER_WRONG, replace(REQUEST, context={"vkorc1": "G/G", "cyp2c9": "*1/*1"}))
    assert (high.mean(), high.std()) == pytest.approx((6, 1), abs=0.15)
    ignorant = doses(NEVER_WRONG, replace(REQUEST, knowledge="Warfarin thins the blood."))
    assert (ignorant.min(), ignorant.max()) == pytest.approx((0.5, 15), abs=0.3)
    assert np.mean(ignorant < 7.75) == pytest.approx(0.5, abs=0.1)


def test_it_follows_the_scored_history() -> None:
    history = [({"dose": 10.0}, -1.0), ({"dose": 1.0}, -50.0)] + [({"dose": 9.0 + i / 10}, -2.0) for i in range(4)]
    found = doses(ScriptedProposer(malformed=0, follow=0.5), replace(REQUEST, history=history))
    assert np.mean(found > 6.5) == pytest.approx(0.5, abs=0.08)
    assert found[found > 6.5].mean() == pytest.approx(np.mean([10, 9, 9.1, 9.2, 9.3]), abs=0.1)
    assert (doses(ScriptedProposer(malformed=0, follow=0), replace(REQUEST, history=history)) < 6.5).all()


def test_the_same_request_gets_the_same_answer() -> None:
    proposer = ScriptedProposer()
    assert proposer.propose(REQUEST) == ScriptedProposer().propose(REQUEST)
    for other in (
        replace(REQUEST, seed=2),
        replace(REQUEST, context={**REQUEST.context, "age": "60 to 69 years"}),
        replace(REQUEST, faults=["it is empty"]),
    ):
        assert proposer.propose(other) != proposer.propose(REQUEST)


def test_it_is_malformed_now_and_then() -> None:
    proposer = ScriptedProposer(malformed=0.2)
    unreadable, faulty, read = 0, 0, 0
    for seed in range(100):
        designs, faults = read_designs(proposer.propose(replace(REQUEST, count=10, seed=seed)).text, SPACE)
        unreadable += not designs
        faulty += len(faults) if designs else 0
        read += len(designs)
    assert unreadable == pytest.approx(20, abs=12)
    assert faulty / (faulty + read) == pytest.approx(0.2, abs=0.06)
    assert "no language model" in proposer.name


def test_what_it_refuses() -> None:
    with pytest.raises(ConfigError, match=r"follow is 1\.5; it is a share"):
        ScriptedProposer(follow=1.5)
    with pytest.raises(ConfigError, match="near is 0"):
        ScriptedProposer(near=0)
    with pytest.raises(ConfigError, match="the space has drug"):
        NEVER_WRONG.propose(replace(REQUEST, space=Space.of({"drug": {"choices": ["a", "b"]}})))
    assert json.loads(NEVER_WRONG.propose(replace(REQUEST, count=1)).text)[0].keys() == {"dose"}
