"""A design space: what it takes in, what it refuses and in which words, and how far apart its designs are."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from llome.errors import ConfigError, DesignError
from llome.leon.space import Space

FIELDS: dict[str, Any] = {
    "dose": {"low": 0, "high": 50, "step": 0.5, "unit": "mg"},
    "days": {"low": 1, "high": 11, "step": 1},
    "ratio": {"low": -1.0, "high": 1.0},
    "drug": {"choices": ["aspirin", "heparin", "none"]},
    "fasting": {"choices": [True, False]},
    "guide": {"sequence": "dna", "length": [3, 4]},
}
GOOD: dict[str, Any] = {"dose": 12.5, "days": 3, "ratio": 0.25, "drug": "none", "fasting": True, "guide": "ACG"}


@pytest.fixture
def space() -> Space:
    return Space.of(FIELDS, "task.yaml: design")


def test_a_good_design_comes_back_in_the_order_of_the_fields(space: Space) -> None:
    design = space.check(dict(reversed(GOOD.items())))
    assert json.dumps(design) == json.dumps(GOOD)
    assert space.names == tuple(FIELDS)
    assert space.has_numbers
    assert not Space.of({"a": {"choices": [1, 2]}}, "here").has_numbers
    assert space.check({**GOOD, "guide": " acgt "})["guide"] == "ACGT"
    assert json.dumps(space.check({**GOOD, "days": 3.0, "dose": 7})) == json.dumps({**GOOD, "dose": 7.0})


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("dose", "12.5", "without quotes"),
        ("dose", True, "dose is True; it must be a number from 0 to 50 in steps of 0.5 (mg)"),
        ("dose", 50.5, "dose is 50.5; it must be a number from 0 to 50"),
        ("dose", -0.5, "from 0 to 50"),
        ("dose", 12.3, "in steps of 0.5"),
        ("dose", float("nan"), "dose is nan"),
        ("dose", float("inf"), "dose is inf"),
        ("dose", 10**400, "it must be a number from 0 to 50"),
        ("dose", None, "dose is None"),
        ("drug", "heparine", "did you mean 'heparin'?"),
        ("drug", 1, 'it must be one of "aspirin", "heparin", "none"'),
        ("fasting", 1, "it must be one of true, false"),
        ("fasting", [], "it must be one of true, false"),
        ("guide", "ACX", "with other letters; it must be a text of 3 to 4 letters of the alphabet ACGT"),
        ("guide", "AC", "of length 2"),
        ("guide", "ACGTA", "of length 5"),
        ("guide", 7, "in quotes"),
    ],
)
def test_what_is_wrong_is_said(space: Space, field: str, value: Any, said: str) -> None:
    with pytest.raises(DesignError) as caught:
        space.check({**GOOD, field: value})
    assert said in str(caught.value)
    assert str(caught.value).startswith(field)
    assert len(str(caught.value)) < 250


def test_fields_too_many_and_too_few(space: Space) -> None:
    with pytest.raises(DesignError, match=r"unknown field 'doses', did you mean 'dose'\?"):
        space.check({**GOOD, "doses": 1})
    with pytest.raises(DesignError, match="the field 'drug' is missing"):
        space.check({k: v for k, v in GOOD.items() if k != "drug"})
    with pytest.raises(DesignError, match="is no JSON object"):
        space.check([12.5, 3])


def test_distances(space: Space) -> None:
    assert space.dimensions == 3 + 3 + 2 + 4 * 5
    changed = {"dose": 25 + 12.5, "days": 8, "ratio": -0.25, "drug": "aspirin", "fasting": False, "guide": "ACT"}
    distance = {"dose": 0.5, "days": 0.5, "ratio": 0.25, "drug": 1, "fasting": 1, "guide": 1}
    for name, value in changed.items():
        one, other = space.encode([GOOD, {**GOOD, name: value}])
        assert np.linalg.norm(one - other) == pytest.approx(distance[name])
    one, longer, other = space.encode([GOOD, {**GOOD, "guide": "ACGT"}, {**GOOD, "guide": "TGC"}])
    assert np.linalg.norm(one - longer) == pytest.approx(1)
    assert np.linalg.norm(one - other) == pytest.approx(3**0.5)
    assert space.encode([]).shape == (0, space.dimensions)
    low, high = Space.of({"x": {"low": -2, "high": 6}}, "here").encode([{"x": -2}, {"x": 6}])
    assert (low.tolist(), high.tolist()) == ([0.0], [1.0])


def test_steps_are_exact() -> None:
    space = Space.of({"x": {"low": 0.1, "high": 0.7, "step": 0.1}}, "here")
    assert [space.check({"x": x})["x"] for x in (0.1, 0.1 + 0.2, 0.7)] == [0.1, 0.3, 0.7]
    uneven = Space.of({"x": {"low": 0, "high": 1, "step": 0.4}}, "here")
    assert uneven.check({"x": 0.8}) == {"x": 0.8}
    with pytest.raises(DesignError):
        uneven.check({"x": 1.0})


def test_known_designs_are_read_from_texts(space: Space) -> None:
    texts = {"dose": "80", "days": "3", "ratio": "0.25", "drug": "none", "fasting": "true", "guide": "acg"}
    assert space.read(texts) == {**GOOD, "dose": 80.0}  # known designs may lie outside the bounds
    assert space.read({**texts, "fasting": "False"})["fasting"] is False
    for field, text in {"dose": "much", "days": "nan", "drug": "wine", "guide": "ACGX"}.items():
        with pytest.raises(DesignError, match=f"^{field} is '{text}"):
            space.read({**texts, field: text})


def test_the_prompt_names_every_field(space: Space) -> None:
    assert space.describe().splitlines() == [
        '- "dose": a number from 0 to 50 in steps of 0.5 (mg)',
        '- "days": a number from 1 to 11 in steps of 1',
        '- "ratio": a number from -1 to 1',
        '- "drug": one of "aspirin", "heparin", "none"',
        '- "fasting": one of true, false',
        '- "guide": a text of 3 to 4 letters of the alphabet ACGT',
    ]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({}, "design is {}; give a mapping with at least one field"),
        ({"x": 5}, "design: x: 5 is no mapping"),
        ({"x": {"lowest": 5}}, "is no field; a field is {low, high"),
        ({"x": {"low": 5}}, "x: the key 'high' is missing"),
        ({"x": {"low": 5, "high": 5}}, "low must be below high"),
        ({"x": {"low": "5", "high": 6}}, "low is '5'; it must be a number"),
        ({"x": {"low": 5, "high": float("inf")}}, "high is inf; it must be finite"),
        ({"x": {"low": 5, "high": 6, "step": 2}}, "step is 2"),
        ({"x": {"low": 5, "high": 6, "stp": 1}}, "unknown key 'stp', did you mean 'step'?"),
        ({"x": {"choices": ["a"]}}, "give a list of two or more"),
        ({"x": {"choices": "ab"}}, "give a list of two or more"),
        ({"x": {"choices": ["a", "a"]}}, "'a' comes twice"),
        ({"x": {"choices": ["a", None]}}, "None is no choice"),
        ({"x": {"sequence": "dna"}}, "the key 'length' is missing"),
        ({"x": {"sequence": "dna", "length": 0}}, "the shortest is 1 at least"),
        ({"x": {"sequence": "dna", "length": [4, 3]}}, "no longer than the longest"),
        ({"x": {"sequence": "dna", "length": "4"}}, "give a whole number"),
        ({"x": {"sequence": ["A"], "length": 4}}, "two letters or more"),
        ({3: {"low": 0, "high": 1}}, "names are text"),
    ],
)
def test_mistakes_in_a_space_are_named(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Space.of(fields, "task.yaml: design")
    assert said in str(caught.value)
    assert str(caught.value).startswith("task.yaml: design")
