"""Prompts, and what is made of answers."""

from __future__ import annotations

import json
import time

import pytest

from llome.leon.proposing import Request, read_designs
from llome.leon.space import Space

SPACE = Space.of({"x": {"low": 0, "high": 1}, "y": {"choices": ["a", "b"]}}, "here")
ONE, TWO = {"x": 0.5, "y": "a"}, {"x": 0.25, "y": "b"}


def prompt(**more: object) -> str:
    said = {"task": "Find x.", "space": SPACE, "context": {"age": 60, "sex": "f"}, "count": 4, **more}
    system, user = Request(**said).messages()  # type: ignore[arg-type]
    assert (system["role"], user["role"]) == ("system", "user")
    return user["content"]


def test_a_prompt_holds_all_there_is() -> None:
    text = prompt(knowledge="b is better.", history=[(ONE, 0.123456), (TWO, 2.0)])
    places = [
        text.index(part)
        for part in (
            "Find x.",
            "- age: 60\n- sex: f",
            "b is better.",
            '- "x": a number from 0 to 1',
            f"2: {json.dumps(TWO)}\n0.1235: {json.dumps(ONE)}",
            "a JSON list of 4 designs",
        )
    ]
    assert places == sorted(places)
    assert "could not be used" not in text
    assert "score higher" in text


def test_what_is_not_there_is_not_named() -> None:
    text = prompt(context={}, count=1)
    assert not any(word in text for word in ("Context", "knowledge", "scored so far", "score higher"))
    assert "a JSON list of 1 design," in text


def test_the_best_of_the_history_each_once() -> None:
    history = [({"x": i / 10, "y": "a"}, float(i % 7)) for i in range(10)] + [({"x": 0.9, "y": "a"}, 8.0)]
    request = Request(task="", space=SPACE, context={}, history=history, shown=3)
    assert [(d["x"], s) for d, s in request.best()] == [(0.9, 8.0), (0.6, 6.0), (0.5, 5.0)]


def test_faults_are_told() -> None:
    text = prompt(faults=["design 1: x is 2"])
    assert text.endswith(
        "could not be used:\n- design 1: x is 2\nAnswer again, a JSON list of 4 designs, each an object with exactly the fields above."
    )


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([ONE, TWO]),
        f"Here they are:\n```json\n{json.dumps([ONE, TWO], indent=2)}\n```\nGood luck [1].",
        f"<think>such as [{{...}}], or {json.dumps([TWO])}</think>\n{json.dumps([ONE, TWO])}",
        json.dumps({"designs": [ONE, TWO]}),
        f"I took [2, 3] and [unclosed {json.dumps([ONE, TWO])}",
    ],
)
def test_designs_are_found(text: str) -> None:
    assert read_designs(text, SPACE) == ([ONE, TWO], [])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "it is empty"),
        ("  \n", "it is empty"),
        ("I cannot help with that.", "no complete JSON list"),
        (json.dumps([ONE, TWO])[:-6], "no complete JSON list"),
        ("[]", "no complete JSON list"),
        ("[1, 2]", "no complete JSON list"),
        (json.dumps(ONE), "no complete JSON list"),
        ("[{'x': 0.5, 'y': 'a'}]", "no complete JSON list"),
        ("[dict(x=0.5, y='a')]", "no complete JSON list"),
        ("[" * 100_000, "no complete JSON list"),
        ('[{"x": NaN, "y": "a"}]', "design 1: x is nan"),
        ('[{"x": 1e999, "y": "a"}]', "design 1: x is inf"),
        ('[{"x": 0.5, "z": "a"}]', "design 1: unknown field 'z'"),
    ],
)
def test_nonsense_is_no_design(text: str, said: str) -> None:
    start = time.process_time()
    designs, faults = read_designs(text, SPACE)
    assert designs == []
    assert len(faults) == 1
    assert said in faults[0]
    assert time.process_time() - start < 5


def test_what_is_good_of_an_answer_is_kept() -> None:
    designs, faults = read_designs(json.dumps([ONE, {"x": 2, "y": "a"}, 7, ONE]), SPACE)
    assert designs == [ONE, ONE]
    assert faults == [
        "design 2: x is 2; it must be a number from 0 to 1",
        "design 3: 7 is no JSON object with the fields x, y",
    ]
