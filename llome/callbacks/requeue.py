"""A cluster's warning that time is nearly up: write down where training is, and go back into the queue.

SLURM sends SIGUSR1 a while before a job's limit when it was asked to (sbatch --signal=USR1@120). Lightning answers it by saving wherever
training happens to be, in the middle of a step as well, and by going on until it is killed. Here the state is saved after the
step, at the next place that a resumed run ends in the same bytes from (llome.callbacks.resume), and nothing is computed after it. Outside
SLURM the signal saves, and training goes on.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from types import FrameType
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from llome.callbacks.resume import ResumeCallback

_PATIENCE = 600.0  # seconds in which SLURM, once it has put the job back, ends this process


class RequeueCallback(Callback):
    """Saves and requeues on SIGUSR1."""

    def __init__(self, resume: ResumeCallback) -> None:
        """Note what saves."""
        self.resume = resume
        self._asked = False
        self._before: Any = signal.SIG_DFL

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the signal over; Lightning leaves one alone that has a handler."""
        self._before = signal.signal(signal.SIGUSR1, self._ask)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give it back."""
        signal.signal(signal.SIGUSR1, self._before)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Give it back."""
        signal.signal(signal.SIGUSR1, self._before)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Once any process was warned, all save after the same step; then the first one requeues the job."""
        asked = self._asked
        if trainer.world_size > 1:
            flag = torch.tensor(float(asked), device=pl_module.device)
            asked = bool(trainer.strategy.reduce(flag, reduce_op="max"))
        if not asked or not self.resume.save_if_possible(trainer, batch_idx):
            return
        self._asked = False
        job = os.environ.get("SLURM_JOB_ID", "")
        if trainer.is_global_zero:
            print(f"llome train: saved after step {trainer.global_step}, as SIGUSR1 asked", file=sys.stderr, flush=True)
            if re.fullmatch(r"\d+", job) and _requeue(job):
                time.sleep(_PATIENCE)


def _requeue(job: str) -> bool:
    """Whether SLURM took the job back into its queue; it ends this process soon after."""
    try:
        run = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
    except OSError as err:
        print(f"llome train: cannot call scontrol ({err.strerror}); going on", file=sys.stderr)
        return False
    if run.returncode:
        print(f"llome train: SLURM does not requeue job {job} ({run.stderr.strip()}); going on", file=sys.stderr)
    return run.returncode == 0
