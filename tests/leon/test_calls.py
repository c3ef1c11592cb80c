"""The journal of calls: replayed, cut short, corrupt, of other settings; and a loop that is killed again and again."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import Scripted, asked

from llome.errors import LlomeError, ProposerError, TableError
from llome.leon.journal import Calls, Counts, lost_calls
from llome.leon.loop import optimise
from llome.leon.settings import LeonSettings
from llome.leon.space import Space
from llome.provenance import write_json


def work(folder: Path) -> None:
    """A whole loop, with a proposer that is slow and talks nonsense now and then."""
    outcome = optimise(
        task="Find x.",
        space=Space.of({"x": {"low": 0, "high": 1}}, "here"),
        context={"age": 60},
        knowledge="",
        predict=lambda designs: np.array([d["x"] - 0.4 for d in designs]),
        source=np.random.default_rng(0).normal(0.4, 0.1, (100, 1)),
        proposer=Scripted(log=str(folder / "log"), seconds=0.02, nonsense=4),
        settings=LeonSettings.of({"budget": 160, "batch": 8, "refit": 7, "critic_fit": {"steps": 20}}),
        random_seed=1,
        journal=folder / "calls.jsonl",
    )
    write_json(folder / "outcome.json", asdict(outcome))


def say(text: str) -> Any:
    return lambda: {"text": text}


def never() -> Any:
    raise AssertionError("asked again")


def test_answers_are_replayed_and_only_the_rest_is_asked(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "calls.jsonl"
    with Calls(path, {"seed": 1}) as calls:
        assert calls.ask("one?", say("1")) == {"text": "1"}
        assert calls.ask("two?", say("2")) == {"text": "2"}
    with Calls(path, {"seed": 1}) as calls:
        assert calls.ask("one?", never) == {"text": "1"}
        assert calls.ask("two?", never) == {"text": "2"}
        assert calls.ask("three?", say("3")) == {"text": "3"}
        assert calls.counts == Counts(3, 3, 0)


def test_a_call_is_on_disk_before_it_is_made(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"
    seen = []

    def call() -> dict[str, Any]:
        seen.append(path.read_text().splitlines()[-1])
        return {"text": "1"}

    with Calls(path, 0) as calls:
        calls.ask("one?", call)
        assert json.loads(path.read_text().splitlines()[-1]) == {"call": 0, "answer": {"text": "1"}}
    assert json.loads(seen[0]) == {"call": 0, "question": "one?"}


def test_errors_are_noted_and_lost_calls_counted(tmp_path: Path) -> None:
    path = tmp_path / "calls.jsonl"

    def fail() -> dict[str, Any]:
        raise ProposerError("no such host")

    def die() -> dict[str, Any]:
        raise KeyboardInterrupt

    with Calls(path, 0) as calls, pytest.raises(ProposerError):
        calls.ask("one?", fail)
    with Calls(path, 0) as calls, pytest.raises(KeyboardInterrupt):
        calls.ask("one?", die)
    with Calls(path, 0) as calls:
        assert calls.counts == Counts(2, 0, 1)
        assert calls.counts.lost == 1
        calls.ask("one?", say("1"))
        assert calls.counts == Counts(3, 1, 1)
    assert lost_calls(tmp_path) == 1


@pytest.mark.parametrize("cut", range(1, 60, 7))
def test_a_line_cut_short_is_dropped(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "calls.jsonl"
    with Calls(path, 0) as calls:
        calls.ask("one?", say("1"))
        calls.ask("two?", say("2"))
    text = path.read_bytes()
    path.write_bytes(text[:-cut])
    with Calls(path, 0) as calls:
        calls.ask("one?", never)
        assert calls.ask("two?", say("2 again")) == {"text": "2 again"}
    with Calls(path, 0) as calls:
        assert [calls.ask(q, never)["text"] for q in ("one?", "two?")] == ["1", "2 again"]


def test_other_settings_put_answers_aside(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calls.jsonl"
    with Calls(path, {"seed": 1}) as calls:
        calls.ask("one?", say("1"))
    before = path.read_bytes()
    with Calls(path, {"seed": 2}) as calls:
        assert calls.ask("one?", say("other")) == {"text": "other"}
    (aside,) = tmp_path.glob("calls.jsonl.*")
    assert aside.read_bytes() == before
    assert "settings have changed" in capsys.readouterr().err


def test_other_questions_turn_off_from_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "calls.jsonl"
    with Calls(path, 0) as calls:
        for question in ("one?", "two?", "three?"):
            calls.ask(question, say(question))
    before = path.read_bytes()
    with Calls(path, 0) as calls:
        calls.ask("one?", never)
        assert calls.ask("zwei?", say("2"))["text"] == "2"
        assert calls.ask("three?", say("3"))["text"] == "3"
    (aside,) = tmp_path.glob("calls.jsonl.*")
    assert aside.read_bytes() == before
    assert "from call 1 on other questions" in capsys.readouterr().err
    with Calls(path, 0) as calls:
        assert [calls.ask(q, never)["text"] for q in ("one?", "zwei?", "three?")] == ["one?", "2", "3"]


@pytest.mark.parametrize(
    "line", [b"{", b"[]", b'{"call": 5, "answer": {}}', b'{"call": 1}', b'{"call": 1, "answer": 3}']
)
def test_a_corrupt_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "calls.jsonl"
    with Calls(path, 0) as calls:
        calls.ask("one?", say("1"))
    path.write_bytes(path.read_bytes() + line + b"\n")
    with pytest.raises(TableError, match=r"line 4 is corrupt; delete the file"):
        Calls(path, 0)


def test_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LlomeError, match="choose another output"):
        Calls(tmp_path / "file" / "calls.jsonl", 0)


def start(folder: Path) -> int:
    """Work in a process of its own; its number."""
    folder.mkdir(exist_ok=True)
    process = os.fork()
    if process == 0:
        try:
            work(folder)
        finally:
            os._exit(0 if (folder / "outcome.json").exists() else 1)
    return process


def test_a_loop_that_is_killed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    os.waitpid(start(whole), 0)
    once, log = asked(whole / "log"), broken / "log"
    rng, killed = random.Random(0), 0
    while killed < 8:
        process, before = start(broken), len(asked(log)) if log.exists() else 0
        while not log.exists() or len(asked(log)) == before:
            time.sleep(0.001)
        time.sleep(0.1 * rng.random())  # before, in and after an answer, or while a critic is fitted
        os.kill(process, signal.SIGKILL)
        os.waitpid(process, 0)
        killed += 1
    assert not (broken / "outcome.json").exists()
    os.waitpid(start(broken), 0)
    assert (broken / "outcome.json").read_bytes() == (whole / "outcome.json").read_bytes()
    made = asked(log)
    assert list(dict.fromkeys(made)) == once
    lines = [json.loads(line) for line in (broken / "calls.jsonl").read_text().splitlines()[1:]]
    answers = [line["call"] for line in lines if "answer" in line]
    questions = [line["call"] for line in lines if "question" in line]
    assert answers == list(range(len(once)))  # each answered once
    lost = len(questions) - len(answers)
    assert 0 < lost <= killed
    assert lost == lost_calls(broken)
    assert len(made) - len(once) <= lost  # what was asked twice was lost with its process, and nothing else
    assert "nonsense" in (broken / "calls.jsonl").read_text()
