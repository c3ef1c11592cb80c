"""`llome leon run`: the task that ships, with a scripted proposer and with a model behind a server; its files, mistakes and resumption."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from llome import cli

LEON = Path(__file__).parent.parent / "leon"
QUICK = {"budget": 32, "batch": 8, "refit": 4, "critic_fit": {"steps": 20}}


@pytest.fixture(autouse=True)
def helpers(at_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The scripted proposer and the server of tests/leon."""
    monkeypatch.setattr(sys, "path", [*sys.path, str(LEON)])
    monkeypatch.delenv("LLOME_WORKFLOW_PID", raising=False)


def task(folder: Path, **changes: Any) -> Path:
    """The task that ships, its settings small, with these keys changed (None: taken away)."""
    given = yaml.safe_load(Path("configs/leon/enzyme.yaml").read_text())
    given |= {"settings": QUICK, "surrogate": {"steps": 50, "members": 2}}
    given["proposer"] = {"name": "python", "function": "scripted:Scripted"}
    given = {key: value for key, value in (given | changes).items() if value is not None}
    (folder / "task.yaml").write_text(yaml.safe_dump(given, sort_keys=False))
    return folder / "task.yaml"


def run(config: Path, out: Path, *more: str) -> int:
    return cli.main(["leon", "run", "--config", str(config), "--out", str(out), *more])


def rows(out: Path) -> list[dict[str, str]]:
    with open(out / "designs.csv", newline="") as file:
        return list(csv.DictReader(file))


def files(out: Path) -> dict[str, bytes]:
    return {
        name: (out / name).read_bytes() for name in ("designs.csv", "history.jsonl", "summary.json", "knowledge.md")
    }


def test_the_task_that_ships(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    scripted = {"name": "python", "function": "scripted:Scripted", "arguments": {"log": str(log)}}
    config = task(tmp_path, proposer=scripted, prices={"input": 1, "output": 10})
    assert run(config, out) == 0
    table, summary = rows(out), json.loads((out / "summary.json").read_text())
    assert "6 contexts, 24 calls, 192 queries, 0.00 for tokens" in capsys.readouterr().out
    assert [row["context"] for row in table] == [f"n{i}" for i in range(6)]
    history = [json.loads(line) for line in (out / "history.jsonl").read_text().splitlines()]
    assert len(history) == 192
    for row in table:
        own = [p for p in history if p["context"] == row["context"]]
        best = max(own, key=lambda p: p["worth"])
        assert float(row["score"]) == pytest.approx(best["score"])
        assert [float(row["temperature"]), float(row["ph"]), row["salt"]] == list(best["design"].values())
        assert (row["queries"], row["calls"], row["stopped"]) == ("32", "4", "the budget of queries is spent")
        assert float(row["cost"]) == pytest.approx((4 * 100 + 32 * 10) / 1e6)
        assert 0 <= float(row["outcome"]) <= 85 * 1.1
    assert (summary["contexts"], summary["calls"], summary["queries"], summary["malformed"]) == (6, 24, 192, 0)
    assert summary["cost"] == pytest.approx(6 * 720 / 1e6)
    assert summary["outcome"]["count"] == 6
    assert summary["outcome"]["mean"] == pytest.approx(sum(float(r["outcome"]) for r in table) / 6)
    assert summary["surrogate"]["rows"] < 240
    knowledge = (out / "knowledge.md").read_text()
    assert "## enzyme_notes.md\n# Notes on the variants" in knowledge
    assert "MgCl2,1.1" in knowledge
    prompt = json.loads((next((out / "calls").glob("0000-*")).read_text()).splitlines()[1])["question"]["messages"][1][
        "content"
    ]
    for part in (
        "Choose the conditions",
        "- melting: ",
        "- host: yeast",
        "MgCl2,1.1",
        '"ph": a number from 5 to 9 in steps of 0.1',
    ):
        assert part in prompt
    before, asked = files(out), log.read_text()
    (out / "contexts" / "0003.json").unlink()  # its calls are in the journal
    (out / "contexts" / "0004.json").unlink()
    journal = next((out / "calls").glob("0004-*"))
    journal.write_bytes(journal.read_bytes()[:-10])  # its last answer was cut off
    assert run(config, out) == 0
    assert files(out) == before
    assert "1 calls more were lost in runs that were stopped" in capsys.readouterr().out
    assert log.read_text().splitlines() == [*asked.splitlines(), asked.splitlines()[4 * 5 - 1]]
    assert not any(str(tmp_path) in text.decode() for name, text in before.items() if name != "knowledge.md")


def test_more_budget_goes_on_from_what_was_answered(tmp_path: Path) -> None:
    log, out = tmp_path / "log", tmp_path / "out"
    scripted = {"name": "python", "function": "scripted:Scripted", "arguments": {"log": str(log)}}
    assert run(task(tmp_path, proposer=scripted, evaluate=None), out) == 0
    more = QUICK | {"budget": 48, "certainty": True, "patience": 9}
    assert run(task(tmp_path, proposer=scripted, evaluate=None, settings=more), out) == 0
    assert len(log.read_text().split()) == 6 * 6
    assert {row["queries"] for row in rows(out)} == {"48"}
    assert "outcome" not in rows(out)[0]


def test_a_model_behind_a_server_that_looks_things_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from chat_server import Chat, call_tools, fail, say

    monkeypatch.setenv("THE_KEY", "sk-0123456789")
    designs = json.dumps([{"temperature": 45, "ph": 7.0, "salt": "MgCl2"}, {"temperature": 95, "ph": 7, "salt": "KCl"}])
    look = ("look_up", '{"file": "enzyme_salts.csv", "column": "salt", "value": "MgCl2"}')
    with Chat(call_tools(look), say("Use MgCl2 (enzyme_salts.csv)."), otherwise=say(designs)) as chat:
        server = {"name": "server", "model": "m", "base_url": chat.url, "key": "THE_KEY", "retries": 0, "backoff": 0.01}
        config = task(tmp_path, proposer=server, settings={"budget": 3, "batch": 2, "critic": False})
        assert run(config, tmp_path / "out") == 0
        summary = json.loads((tmp_path / "out" / "summary.json").read_text())
        assert (tmp_path / "out" / "knowledge.md").read_text() == "Use MgCl2 (enzyme_salts.csv).\n"
        assert summary["calls"] == len(chat.requests) == 2 + 6 * 3
        assert summary["tokens_in"] == 20 * 11
        assert summary["notes"] == {"answer": 18, "mu is 1": 18}
        assert "Use MgCl2 (enzyme_salts.csv)." in chat.requests[-1][2]["messages"][1]["content"]
        assert run(config, tmp_path / "out") == 0
        assert len(chat.requests) == 20
        chat.acts = [fail(401)]
        config = task(
            tmp_path, proposer=server | {"temperature": 0.5}, settings={"budget": 3, "batch": 2, "critic": False}
        )
        assert run(config, tmp_path / "out") == 2
        for file in (tmp_path / "out").rglob("*.*"):
            assert "sk-0123456789" not in file.read_text()


def test_nothing_usable_is_no_design(tmp_path: Path) -> None:
    scripted = {"name": "python", "function": "scripted:Scripted", "arguments": {"nonsense": 1}}
    assert run(task(tmp_path, proposer=scripted), tmp_path / "out") == 0
    table, summary = rows(tmp_path / "out"), json.loads((tmp_path / "out" / "summary.json").read_text())
    assert {(row["temperature"], row["score"], row["outcome"]) for row in table} == {("", "", "")}
    assert summary["without_design"] == 6
    assert summary["outcome"] == {"count": 0, "mean": None}
    assert summary["stopped"] == {"3 batches in a row held no usable design": 6}


def test_an_evaluation_from_a_table(tmp_path: Path) -> None:
    (tmp_path / "measured.csv").write_text(
        "id,temperature,ph,salt,yield\nn0,45,7.0,MgCl2,60.5\nn1,45.0,7,MgCl2,7\nn2,46,7,MgCl2,1\n"
    )
    answers = [json.dumps([{"temperature": 45, "ph": 7, "salt": "MgCl2"}])] * 6
    scripted = {"name": "python", "function": "scripted:Scripted", "arguments": {"answers": answers}}
    known = {"table": str(tmp_path / "measured.csv"), "id": "id", "column": "yield"}
    settings = {"budget": 1, "critic": False}
    assert run(task(tmp_path, proposer=scripted, evaluate=known, settings=settings), tmp_path / "out") == 0
    assert [row["outcome"] for row in rows(tmp_path / "out")] == ["60.5", "7", "", "", "", ""]


SOURCE = yaml.safe_load((Path(__file__).parent.parent.parent / "configs/leon/enzyme.yaml").read_text())["source"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"design": {"x": {"low": 1}}}, "design: x: the key 'high' is missing"),
        ({"design": {"x": {"low": 0, "high": 1}}}, "enzyme_runs.csv has no column 'x'"),
        ({"settings": {"budgt": 3}}, "settings: unknown key 'budgt', did you mean 'budget'?"),
        ({"surrogate": {"step": 3}}, "surrogate: unknown key 'step', did you mean 'steps'?"),
        ({"proposer": {"name": "serve"}}, "proposer: name 'serve' is unknown, did you mean 'server'?"),
        ({"proposer": {"name": "server", "model": "m", "key": "NO_SUCH_KEY"}}, "the environment variable NO_SUCH_KEY"),
        ({"proposer": {"name": "python", "function": "scripted:Nobody"}}, "scripted:Nobody cannot be had"),
        ({"context": {"table": "configs/leon/enzyme_variants.csv"}}, "context: the key 'id' is missing"),
        ({"context": {"table": "configs/leon/enzyme_variants.csv", "id": "host"}}, "the id 'yeast' comes twice"),
        ({"context": {"table": "nothing.csv", "id": "host"}}, "nothing.csv does not exist"),
        ({"source": SOURCE | {"outcome": "yield"}}, "enzyme_runs.csv has no column 'yield'"),
        ({"source": SOURCE | {"outcome": "salt"}}, "salt is 'none', expected a number"),
        ({"source": SOURCE | {"features": ["host"]}}, "enzyme_runs.csv has no column 'host'"),
        ({"source": SOURCE | {"features": "melting"}}, "source: features is 'melting'; give a list of names"),
        ({"source": SOURCE | {"maximize": 1}}, "maximize is 1, expected true or false"),
        ({"source": SOURCE | {"design": {"phh": "ph"}}}, "source: design: unknown key 'phh', did you mean 'ph'?"),
        ({"knowledge": {"files": ["no.md"]}}, "knowledge: no.md cannot be read"),
        ({"knowledge": {"files": "no.md"}}, "knowledge: files is 'no.md'; give a list of names"),
        ({"evaluate": {"function": "no_such:thing"}}, "evaluate: function: no_such:thing cannot be had"),
        ({"evaluate": {"table": "x.csv"}}, "evaluate: the key 'id' is missing"),
        ({"prices": {"input": 1}}, "prices: the key 'output' is missing"),
        ({"prices": {"input": -1, "output": 1}}, "prices: input is -1"),
    ],
)
def test_mistakes_are_found_before_anything_is_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any], said: str
) -> None:
    assert run(task(tmp_path, **changes), tmp_path / "out") == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.startswith("llome leon run: error: ")
    assert not (tmp_path / "out" / "calls").exists()


def test_too_few_labels_and_all_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = Path(SOURCE["table"]).read_text().splitlines()
    for text, said in {
        "\n".join(lines[:11]): "has 10 labels; a surrogate needs 20 at least",
        "\n".join([lines[0], *(f"{line.rpartition(',')[0]},5" for line in lines[1:])]): "all outcomes in",
    }.items():
        (tmp_path / "runs.csv").write_text(text + "\n")
        assert run(task(tmp_path, source=SOURCE | {"table": str(tmp_path / "runs.csv")}), tmp_path / "out") == 2
        assert said in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_killed_ends_in_the_same_bytes(tmp_path: Path) -> None:
    """kill -9 at random moments of the command, six times; nothing that was answered is asked for again."""
    rng, killed = random.Random(1), 0
    log, whole, broken = tmp_path / "log", tmp_path / "whole", tmp_path / "broken"
    arguments = {"log": str(log), "seconds": 0.05, "nonsense": 5}
    config = task(tmp_path, proposer={"name": "python", "function": "scripted:Scripted", "arguments": arguments})
    assert run(config, whole) == 0
    once = log.read_text().split()
    log.unlink()
    command = [sys.executable, "-m", "llome.cli", "leon", "run", "--config", str(config), "--out", str(broken)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    while killed < 6 and not (broken / "summary.json").exists():
        process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        before = len(log.read_text()) if log.exists() else 0
        while process.poll() is None and not (log.exists() and len(log.read_text()) > before):
            time.sleep(0.005)
        time.sleep(0.3 * rng.random())
        process.kill()
        process.wait()
        killed += 1
    assert run(config, broken) == 0
    assert files(broken) == files(whole)
    made = log.read_text().split()
    assert sorted(set(made)) == sorted(once)
    assert 0 <= len(made) - len(once) <= killed
    assert killed > 3
