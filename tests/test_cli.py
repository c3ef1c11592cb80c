"""The command line: quick to answer, and one plain line for a user's mistake."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llome import cli
from llome.errors import LlomeError

LLOME = Path(sys.executable).with_name("llome")
CALLS: list[dict[str, Any]] = []


def demo_stage(
    *, labeled: list[Path], out: Path, k: int = 3, share: float | None = None, temperatures: tuple[float, ...] = (1.0,)
) -> None:
    """Do what a stage does.

    Args:
        labeled: tables to read
        out: table to write
        k: how many
        share: of what
        temperatures: of sampling
    """
    CALLS.append({"labeled": labeled, "out": out, "k": k, "share": share, "temperatures": temperatures})
    if k == 13:
        raise LlomeError("k is 13:\n  choose another k")
    if k == 14:
        raise KeyboardInterrupt
    if k == 15:
        raise ZeroDivisionError("a bug")
    if k == 16:
        Path("/dev/full").write_text("a table")
    if k == 17:
        pq.write_table(pa.table({"score": [1.0]}), "/dev/full")


@pytest.fixture(autouse=True)
def stage(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("stage_of_this_test")
    module.demo_stage = demo_stage  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(cli.STAGES, "demo", (module.__name__, "demo_stage", "do what a stage does"))
    monkeypatch.delenv("LLOME_WORKFLOW_PID", raising=False)
    CALLS.clear()


def run(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    code = cli.main(list(args))
    out, err = capsys.readouterr()
    return code, out, err


def test_arguments_reach_the_stage_with_their_types(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "demo", "--labeled", "a b.parquet", "3", "--out", "o", "--k", "5", "--share", "0.5")[0] == 0
    expected = {
        "labeled": [Path("a b.parquet"), Path("3")],
        "out": Path("o"),
        "k": 5,
        "share": 0.5,
        "temperatures": (1.0,),
    }
    assert [expected] == CALLS


def test_settings_come_from_a_yaml_and_the_line_wins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "stage.yaml"
    config.write_text("k: 5\nshare: 0.25\nlabeled: [x.parquet]\ntemperatures: [0.5, 1]\n")
    assert run(capsys, "demo", "--config", str(config), "--out", "o", "--k", "6", "--labeled", "y.parquet") == (
        0,
        "",
        "",
    )
    assert [
        {"labeled": [Path("y.parquet")], "out": Path("o"), "k": 6, "share": 0.25, "temperatures": (0.5, 1.0)}
    ] == CALLS


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["nope"], "llome: error: there is no stage 'nope'; `llome --help` lists them"),
        (["sed"], "llome: error: there is no stage 'sed', did you mean 'seed'?; `llome --help` lists them"),
        (
            ["demo", "--labeled", "a", "--ot", "o"],
            "llome demo: error: unknown option '--ot', did you mean '--out'?; `llome demo --help` lists them",
        ),
        (["demo", "--labeled", "a"], "llome demo: error: the following arguments are required: out"),
        (
            ["demo", "--labeled", "a", "--out", "o", "--k", "many"],
            "llome demo: error: --k: Expected an int. Got value: many",
        ),
        (["demo", "--config", "no.yaml"], "llome demo: error: --config: File does not exist: 'no.yaml'"),
        (["demo", "--labeled", "a", "--out", "o", "--k", "13"], "llome demo: error: k is 13: choose another k"),
    ],
)
def test_a_mistake_is_one_line(
    args: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, err = run(capsys, *args)
    assert (code, out, err.replace(f"{tmp_path}/", "")) == (2, "", message + "\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kk: 5\n", "unknown setting 'kk' in stage.yaml, did you mean 'k'?; `llome demo --help` lists them"),
        ("k: [5\n", "stage.yaml is no valid YAML: while parsing"),
        ("k: five\n", "--k: Expected an int. Got value: five"),
    ],
)
def test_a_mistake_in_a_yaml_is_one_line(
    text: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("stage.yaml").write_text(text)
    code, out, err = run(capsys, "demo", "--labeled", "a", "--out", "o", "--config", "stage.yaml")
    assert (code, out) == (2, "")
    assert err.startswith(f"llome demo: error: {message}")
    assert err.count("\n") == 1
    assert not CALLS


@pytest.mark.parametrize("place", [0, 1, 3])
def test_debug_shows_the_traceback_wherever_it_stands(place: int, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["demo", "--k", "13", "--labeled", "a", "--out", "o"]
    code, _, err = run(capsys, *args[:place], "--debug", *args[place:])
    assert code == 2
    assert "Traceback" in err
    assert 'raise LlomeError("k is 13' in err


def test_an_interrupt_and_a_bug(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(capsys, "demo", "--labeled", "a", "--out", "o", "--k", "14") == (130, "", "llome demo: interrupted\n")
    with pytest.raises(ZeroDivisionError):
        cli.main(["demo", "--labeled", "a", "--out", "o", "--k", "15"])


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no disk that is always full")
@pytest.mark.parametrize("k", ["16", "17"])
def test_a_full_disk_is_one_line(k: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "demo", "--labeled", "a", "--out", "o", "--k", k)
    assert code == 2
    assert err.startswith("llome demo: error: the disk is full")
    assert err.count("\n") == 1


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for args in ([], ["--help"], ["-h"]):
        code, out, err = run(capsys, *args)
        assert (code, err) == (0, "")
        for name in cli.STAGES:
            assert f"\n  {name} " in out
    assert run(capsys, "--version") == (0, "llome 0.1.0\n", "")
    code, out, _ = run(capsys, "demo", "--help")
    assert code == 0
    for word in ("--labeled", "--share", "how many", "--config"):
        assert word in out


def test_stages_of_two_words(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(cli.STAGES, "many demo", cli.STAGES["demo"])
    for args in (["many"], ["many", "--help"]):
        code, out, err = run(capsys, *args)
        assert (code, err) == (0, "")
        assert "\n  many demo  do what a stage does" in out
        assert "\n  train " not in out
    code, out, _ = run(capsys, "many", "demo", "--help")
    assert code == 0
    assert "usage: llome many demo [--config" in out
    code, _, err = run(capsys, "many", "dem", "--k", "3")
    assert code == 2
    assert err == "llome: error: there is no stage 'many dem', did you mean 'many demo'?; `llome --help` lists them\n"


def seconds(*args: str) -> float:
    start = time.perf_counter()
    done = subprocess.run([LLOME, *args], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--help" in done.stdout or "--config" in done.stdout
    return time.perf_counter() - start


@pytest.mark.parametrize("args", [["--help"], *([*name.split(), "--help"] for name in cli.STAGES)], ids="-".join)
def test_help_answers_within_a_second(args: list[str]) -> None:
    assert any(seconds(*args) < 1.0 for _ in range(10))  # another test may have the processor


STUB = """
import sys, time
from types import ModuleType
from llome import cli

def work():
    print("working", flush=True)
    time.sleep(60)

module = ModuleType("stub")
module.work = work
sys.modules["stub"] = module
cli.STAGES["stub"] = ("stub", "work", "wait")
sys.exit(cli.main(["stub"]))
"""


def test_a_stage_ends_with_the_workflow_that_started_it() -> None:
    workflow = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    environment = {**os.environ, "LLOME_WORKFLOW_PID": str(workflow.pid)}
    stage = subprocess.Popen([sys.executable, "-c", STUB], env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert stage.stdout is not None
        assert stage.stdout.readline() == "working\n"
        time.sleep(0.7)
        assert stage.poll() is None
        workflow.send_signal(signal.SIGKILL)
        workflow.wait()
        assert stage.wait(timeout=5) == 1
    finally:
        for process in (workflow, stage):
            process.kill()
            process.communicate()
