"""Debian's packages, where a test needs programs that are not there: one worker at a time, for apt has one lock."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from pathlib import Path


def install(*packages: str) -> str | None:
    """Install packages; what went wrong, if anything. As root, on a machine that has apt-get."""
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    with open(Path(tempfile.gettempdir()) / "llome-tests-apt.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
            run = subprocess.run(["apt-get", *command], env=environment, capture_output=True, text=True, check=False)
            if run.returncode:
                return f"{' and '.join(packages)} cannot be installed: {run.stderr.strip().splitlines()[-1:]}"
    return None
