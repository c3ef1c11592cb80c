"""Environments of the peers that cannot live in ours: pytorch-holo needs NumPy below 2, TRL brings a dozen packages.

Each is a virtual environment in the repository's root, made on the first `make bench` from pinned versions, with ours of torch. Where one
cannot be made (no network, say) its rows say so and the others go on.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

PEERS = Path(__file__).parent / "peers"
ROOT = PEERS.parent.parent.parent
Allowed = Literal["make", "use", "nothing"]
"""What may be done with the peers' environments."""


class NotMeasuredError(Exception):
    """A peer cannot be measured here; the message is one line that says why."""


_failed: dict[str, str] = {}  # tried once a run


def python_of(peer: str, allowed: Allowed) -> Path:
    """The Python of a peer's environment.

    Args:
        peer: holo or trl.
        allowed: make it where it is not there, or of other versions; use it where it is there; do nothing.

    Raises:
        NotMeasuredError: it is not there, or cannot be made.
    """
    folder, wanted = ROOT / f".venv-bench-{peer}", (PEERS / f"{peer}.txt").read_text()
    stamp, python = folder / ".set-up", folder / "bin" / "python"
    if allowed == "nothing":
        raise NotMeasuredError("peers are for make bench, or --slow")
    if stamp.is_file() and stamp.read_text() == wanted:
        return python
    if allowed == "use":
        raise NotMeasuredError(f"{folder.name} is not there; make bench makes it")
    if peer in _failed:
        raise NotMeasuredError(_failed[peer])
    shutil.rmtree(folder, ignore_errors=True)
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PEERS / f"{peer}.txt")]
    try:
        _run([sys.executable, "-m", "venv", str(folder)], f"{folder.name} cannot be made")
        _run([str(python), *install], f"{folder.name} cannot be made")
    except NotMeasuredError as err:
        _failed[peer] = str(err)
        raise
    stamp.write_text(wanted)
    return python


def run_peer(
    peer: str, script: str, *, given: Path, rounds: int, case: str, threads: Iterable[int], allowed: Allowed
) -> dict[str, Any]:
    """Run a peer's script once for each number of threads; the last line it prints (`seconds` and more) of its fastest run.

    Raises NotMeasuredError where its environment is missing or the script fails.
    """
    python = python_of(peer, allowed)
    command = [str(python), str(PEERS / script), "--input", str(given), "--rounds", str(rounds), "--case", case]
    answers: list[dict[str, Any]] = []
    for count in threads:
        out = _run(command, f"{script} failed", OMP_NUM_THREADS=str(count), MKL_NUM_THREADS=str(count))
        answers.append(json.loads(out.strip().splitlines()[-1]) | {"threads": count})
    return min(answers, key=lambda answer: min(answer["seconds"]))


def _run(command: list[str], what: str, **more: str) -> str:
    """Standard output of a command that knows nothing of our environment. Raises NotMeasuredError with its last words."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, env={**own, **more, "WANDB_MODE": "disabled"}, capture_output=True, text=True)
    if done.returncode:
        words = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise NotMeasuredError(f"{what}: {words[-1][:200] if words else f'exit code {done.returncode}'}")
    return done.stdout
