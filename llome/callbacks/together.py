"""Processes of one training end together: with one line, the exit code of the mistake, and nobody left waiting for the others.

Where Lightning starts the other processes of a machine itself, its own observer kills the first process with the rest when one has
failed, whatever the reason was, and at any moment of its ending. Here the first process looks after them: what it cannot go on from
ends them too, and what ended one of them ends it with the same exit code. A mistake that all processes see is told by the first; the
others wait a moment to be ended before they tell of theirs.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
import time
from collections.abc import Iterator

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher
from lightning.pytorch.utilities import rank_zero_only

from llome.errors import LlomeError

PATIENCE = 5.0
"""Seconds that a process other than the first waits to be ended by it."""


class TogetherCallback(Callback):
    """Looks after the processes that Lightning has started from this one."""

    def __init__(self) -> None:
        """Nothing is started yet."""
        self._others: list[subprocess.Popen[bytes]] = []

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take them over from Lightning's observer, which stops when it has none to observe."""
        launcher = trainer.strategy.launcher
        if isinstance(launcher, _SubprocessScriptLauncher) and launcher.procs:
            self._others = list(launcher.procs)
            launcher.procs.clear()
            threading.Thread(target=self._watch, daemon=True).start()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """End the others; a lost connection is no reason of its own, so first wait for the end of the process that has one."""
        if self._others and not isinstance(exception, (LlomeError, KeyboardInterrupt)):
            time.sleep(2 * PATIENCE)  # meanwhile `_watch` ends this process, where another has failed
        others, self._others = self._others, []
        _kill(others)

    def _watch(self) -> None:
        while self._others:
            failed = [process.returncode for process in self._others if process.poll()]
            if failed and self._others:  # and not because this process ends them
                _kill(self._others)
                os._exit(failed[0] if failed[0] > 0 else 1)
            time.sleep(0.2)


def _kill(processes: list[subprocess.Popen[bytes]]) -> None:
    for process in processes:
        process.kill()  # one that waits for another in a collective hears nothing less
        process.wait()


@contextlib.contextmanager
def last_to_speak() -> Iterator[None]:
    """Let the first process tell of a mistake that all see: the others wait to be ended, and tell of theirs if nobody does."""
    try:
        yield
    except LlomeError:
        if not is_first():
            time.sleep(PATIENCE)
        raise


def is_first() -> bool:
    """Whether this is the first process of all nodes, as far as the environment tells before there is a trainer."""
    return rank_zero_only.rank == 0 and os.environ.get("NODE_RANK", "0") == "0"  # type: ignore[attr-defined]


@contextlib.contextmanager
def led_by_this_process() -> Iterator[None]:
    """Let the processes that are started inside the block end when this one does, however it ends: `llome` follows that variable."""
    before = os.environ.get("LLOME_WORKFLOW_PID")
    os.environ["LLOME_WORKFLOW_PID"] = str(os.getpid())
    try:
        yield
    finally:
        del os.environ["LLOME_WORKFLOW_PID"]
        if before is not None:
            os.environ["LLOME_WORKFLOW_PID"] = before
