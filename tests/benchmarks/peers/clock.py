"""One protocol for every timing, ours and peers': a call that warms up, then `rounds` timed ones. Standard library only.

A peer's script imports it from its own folder and prints what it found as lines of JSON; nothing is printed while the clock runs.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any


def repeat(function: Callable[[], Any], rounds: int) -> list[float]:
    """Seconds of each of `rounds` calls, after one call that is not counted."""
    function()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - start)
    return seconds


class Chunks:
    """Mean seconds a step over chunks of steps, the first chunk (start-up, warm-up) left out."""

    def __init__(self, size: int) -> None:
        self._size, self._steps, self._since = size, 0, time.perf_counter()
        self._seconds: list[float] = []

    def step(self) -> None:
        """A step has ended."""
        self._steps += 1
        if self._steps % self._size == 0:
            now = time.perf_counter()
            self._seconds.append((now - self._since) / self._size)
            self._since = now

    @property
    def seconds(self) -> list[float]:
        """One number a chunk."""
        return self._seconds[1:]


def busy_share(seconds: float = 0.5) -> float | None:
    """Share of all cores' time that other processes take, over a moment in which this one sleeps; None where Linux does not say."""
    try:
        before = _ticks()
        time.sleep(seconds)
        busy, total = (after - b for after, b in zip(_ticks(), before, strict=True))
    except OSError:
        return None
    return busy / max(total, 1)


def _ticks() -> tuple[int, int]:
    """(busy, all) ticks of all cores since the machine started."""
    with open("/proc/stat") as status:
        ticks = [int(word) for word in status.readline().split()[1:9]]
    return sum(ticks) - ticks[3] - ticks[4], sum(ticks)


def peak_memory() -> int:
    """Most bytes this process has held in memory.

    Linux hands a child its parent's `ru_maxrss`, so the process's own high-water mark comes first.
    """
    try:
        with open("/proc/self/status") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        import resource

        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024


def report(seconds: Sequence[float], **more: Any) -> None:
    """Print the timings, and what else is known, as a line of JSON: the last line of a peer's script."""
    print(json.dumps({"seconds": list(seconds), **more}), flush=True)


def arguments() -> argparse.Namespace:
    """The command line of every peer's script: `--input FILE.npz`, `--rounds N`, and what is `--case`."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--input", required=True)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--case", default="")
    return parser.parse_args()
