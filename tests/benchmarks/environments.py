"""Environments of the peers that cannot live in ours: pytorch-holo needs NumPy below 2, TRL brings a dozen packages.

Each is a virtual environment in the repository's root, made on the first `make bench` from pinned versions, with ours of torch. Where one
cannot be made (no network, say) its rows say so and the others go on.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

PEERS = Path(__file__).parent / "peers"
ROOT = PEERS.parent.parent.parent
Allowed = Literal["make", "use", "nothing"]
"""What may be done with the peers' environments."""


class NotMeasuredError(Exception):
    """A peer cannot be measured here; the message is one line that says why."""


@functools.cache
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
    print(f"making {folder.name} from {PEERS.name}/{peer}.txt (minutes)", file=sys.stderr, flush=True)
    shutil.rmtree(folder, ignore_errors=True)
    _run([sys.executable, "-m", "venv", str(folder)], f"{folder.name} cannot be made")
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r", str(PEERS / f"{peer}.txt")]
    _run([str(python), *install], f"{folder.name} cannot be made")
    stamp.write_text(wanted)
    return python


def run_peer(peer: str, script: str, *, given: Path, rounds: int, case: str, allowed: Allowed) -> dict[str, Any]:
    """Run a peer's script and return the last line it prints, `seconds` and more.

    Raises NotMeasuredError where its environment is missing or the script fails.
    """
    python = python_of(peer, allowed)
    command = [str(python), str(PEERS / script), "--input", str(given), "--rounds", str(rounds), "--case", case]
    out = _run(command, f"{script} failed")
    answer: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return answer


def _run(command: list[str], what: str) -> str:
    """Standard output of a command that knows nothing of our environment. Raises NotMeasuredError with its last words."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(command, env={**own, "WANDB_MODE": "disabled"}, capture_output=True, text=True)
    if done.returncode:
        words = [line.strip() for line in (done.stderr + done.stdout).splitlines() if line.strip()]
        raise NotMeasuredError(f"{what}: {words[-1][:200] if words else f'exit code {done.returncode}'}")
    return done.stdout
