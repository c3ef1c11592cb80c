"""A process that has loaded what stages need: what its copies do is what stages do that load for themselves, and they die with those."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from surrogate_fixtures import FIT, write_labeled

from llome import warm
from llome.provenance import hash_file

LLOME = str(Path(sys.executable).parent / "llome")
pytestmark = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="only where a process can be waited for (Linux)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[psutil.Process]:
    folder = tmp_path_factory.mktemp("w")
    command = [sys.executable, "-m", "llome.cli", "--warm", str(folder / "socket")]
    process = subprocess.Popen(command, stdin=subprocess.PIPE)
    while not (folder / "socket").exists():
        assert process.poll() is None
        time.sleep(0.01)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(warm.VARIABLE, str(folder / "socket"))
        yield psutil.Process(process.pid)
    assert process.stdin is not None
    process.stdin.close()  # as when the workflow ends, however it ends
    assert process.wait(timeout=10) == 0
    assert not folder.exists()


def fit(folder: Path, out: str, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [LLOME, "surrogate", "--labeled", "seed.parquet", f"--out={out}", *FIT, *options]
    return subprocess.run(command, cwd=folder, env={**os.environ, **environment}, capture_output=True, text=True)


def hear_interrupts() -> None:
    """As a shell's jobs in the foreground do, whatever this process was started with."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(folder: Path, server: psutil.Process) -> tuple[subprocess.Popen[bytes], psutil.Process]:
    """A fit that goes on for long, and the copy that does it."""
    command = [LLOME, "surrogate", "--labeled", "seed.parquet", "--out=long", *FIT, "--first_steps=1000000"]
    with open(folder / "said.txt", "w") as said:
        stage = subprocess.Popen(command, cwd=folder, stdout=said, stderr=said, preexec_fn=hear_interrupts)
    while not server.children():
        assert stage.poll() is None, (folder / "said.txt").read_text()
        time.sleep(0.01)
    while not (folder / ".surrogate.lock").exists():
        time.sleep(0.01)
    return stage, server.children()[0]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_labeled(tmp_path / "seed.parquet", 0)
    return tmp_path


def test_a_copy_writes_and_says_what_a_stage_does(folder: Path, server: psutil.Process) -> None:
    copied = fit(folder, "copied")
    alone = fit(folder, "alone", **{warm.VARIABLE: str(folder / "nobody listens here")})
    assert copied.returncode == alone.returncode == 0, copied.stderr + alone.stderr
    assert copied.stdout.replace("copied", "alone") == alone.stdout
    for name in ("surrogate.json", "model.safetensors"):
        assert hash_file(folder / "copied" / name) == hash_file(folder / "alone" / name)
    assert not server.children()


def test_a_copy_has_the_threads_that_its_stage_asks_for() -> None:
    question = {
        "streams": [],
        "folder": "/",
        "environment": {"OMP_NUM_THREADS": "3"},
        "ignored": [],
        "words": ["llome"],
    }
    check = f"import torch; from llome import warm; warm._become({question}); print(torch.get_num_threads())"
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-c", check], env=alone, capture_output=True, text=True, check=True)
    assert run.stdout == "3\n"


def test_a_copy_ends_without_being_taken_apart() -> None:
    """What is registered for the end is done and what was said is written; of what is loaded nothing is finalised."""
    check = """if True:
        import atexit
        from llome import warm
        class Loaded:
            def __del__(self):
                print("taken apart")
        loaded = Loaded()
        atexit.register(warm._leave)
        atexit.register(print, "done at the end")
        print("said")
        """
    for end, code, said in (("", 0, ["taken apart"]), ("warm.end_with(3)", 3, [])):
        run = subprocess.run([sys.executable, "-c", f"{check}\n        {end}"], capture_output=True, text=True)
        assert run.returncode == code, run.stderr
        assert run.stdout.splitlines() == ["said", "done at the end", *said]


def test_a_mistake_is_one_line_and_its_exit_code(folder: Path, server: psutil.Process) -> None:
    run = fit(folder, "out", "--members=0")
    assert run.returncode == 2
    assert run.stderr == "llome surrogate: error: members is 0; it must be at least 1\n"


def test_a_copy_dies_with_its_stage(folder: Path, server: psutil.Process) -> None:
    stage, copy = start(folder, server)
    stage.kill()
    assert psutil.wait_procs([copy], timeout=5)[1] == []
    assert stage.wait() == -signal.SIGKILL


def test_a_stage_dies_with_its_copy(folder: Path, server: psutil.Process) -> None:
    stage, copy = start(folder, server)
    copy.kill()
    assert stage.wait(timeout=5) == -signal.SIGKILL


def test_the_ends_of_both_may_be_seen_at_once(folder: Path, server: psutil.Process) -> None:
    stage, copy = start(folder, server)
    server.suspend()
    copy.kill()
    stage.kill()
    stage.wait()
    server.resume()
    assert fit(folder, "after").returncode == 0
    assert server.status() != psutil.STATUS_ZOMBIE
    assert not server.children()


def test_an_interrupt_reaches_the_copy(folder: Path, server: psutil.Process) -> None:
    stage, copy = start(folder, server)
    stage.send_signal(signal.SIGINT)
    assert stage.wait(timeout=20) == 130
    assert (folder / "said.txt").read_text().endswith("llome surrogate: interrupted\n")
    assert not copy.is_running()


def test_what_breaks_off_in_the_middle_of_a_question_costs_nothing(folder: Path, server: psutil.Process) -> None:
    with socket.socket(socket.AF_UNIX) as half:
        half.connect(os.environ[warm.VARIABLE])
        half.send(b"\xff\xff")
    assert fit(folder, "after").returncode == 0


def test_no_stage_that_it_loads_sees_the_oracle(server: psutil.Process) -> None:
    names = repr(warm._LOADED)
    check = f"import importlib, sys; [importlib.import_module(n) for n in {names}]; print([m for m in sys.modules if 'scoring' in m])"
    run = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, check=True)
    assert run.stdout == "[]\n"
