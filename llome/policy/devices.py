"""Which device a stage computes on, and how stages side by side on one machine keep off each other's GPUs.

A cluster gives each job GPUs of its own. On a single machine with several, Snakemake counts them (--resources gpu=4) and does not say
which: a job that was given some, in LLOME_GPUS, claims as many that no other job has, with locks that the kernel drops when the
process ends, and sees no others.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from pathlib import Path
from typing import TextIO

from llome.errors import ConfigError, PolicyError

WANTED = "LLOME_GPUS"
"""The environment variable with the number of GPUs that this process may have; unset or 0: whatever is there."""
_claimed: list[TextIO] = []
"""Open for as long as this process lives."""


def claim_gpus() -> list[int]:
    """Make `LLOME_GPUS` free GPUs the only visible ones, before CUDA is used; their numbers, none where none were asked for or exist.

    Where fewer are free, jobs share; a machine's own scheduler is to count them. Raises ConfigError where the number is none.
    """
    text = os.environ.get(WANTED) or "0"
    if not text.isdigit():
        raise ConfigError(f"{WANTED} is {text!r}; give a number of GPUs, or leave it out")
    # Processes that this one starts, one a device, share what it has claimed.
    os.environ[WANTED] = "0"
    wanted = int(text)
    visible = _visible() if wanted else []
    if len(visible) <= wanted:
        return []
    free: list[str] = []
    for name in visible:
        if len(free) < wanted and _lock(name):
            free.append(name)
    chosen = free + [name for name in visible if name not in free][: wanted - len(free)]
    os.environ["CUDA_VISIBLE_DEVICES"] = ",".join(chosen)
    return [visible.index(name) for name in chosen]


def _visible() -> list[str]:
    """What CUDA_VISIBLE_DEVICES would say of the GPUs that can be seen."""
    import torch

    said = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = [name.strip() for name in said.split(",")] if said else []
    count = torch.cuda.device_count()  # counts without starting CUDA, which would fix what is visible
    return names[:count] if names else [str(number) for number in range(count)]


def _lock(name: str) -> bool:
    """Whether this process has the GPU now, among those of this user."""
    path = Path(tempfile.gettempdir()) / f"llome-{os.getuid()}-gpu-{name}.lock"
    file = path.open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return False
    _claimed.append(file)
    return True


def pick_device(device: str) -> str:
    """`auto` -> `cuda`, `mps` or `cpu`, whichever is there; anything else is checked. Raises PolicyError where it is not there."""
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as err:
        raise PolicyError(
            f"device {device!r} is not to be had here ({str(err).splitlines()[0]}); use auto or cpu"
        ) from err
    return device
