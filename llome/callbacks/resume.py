"""Where a killed training goes on, and the best policy so far.

Two files in a scratch folder that is no output of the stage: `last.ckpt`, everything needed to continue, and `best.ckpt`, the
weights with the lowest validation loss. Lightning's own ModelCheckpoint also saves on the last batch of an epoch and on the last step
of the run, where a restart skips the validation that should follow; here a checkpoint that falls due there waits for the next step,
so that whatever is restarted runs its remaining steps and validations as if nothing had happened.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from llome.errors import ConfigError


class ResumeCallback(Checkpoint):
    """Keeps `last.ckpt` and `best.ckpt`."""

    def __init__(self, every_n_steps: int = 50) -> None:
        """The stage sets `folder` before training; without one nothing is kept.

        Args:
            every_n_steps: optimiser steps between two states to resume from.
        """
        if every_n_steps < 1:
            raise ConfigError(f"checkpoint.every_n_steps is {every_n_steps}; choose at least 1")
        self.every_n_steps = every_n_steps
        self.folder: Path | None = None
        self.best_loss = float("inf")
        self.best_step = 0
        self.validation: dict[str, float] = {}
        """Everything logged as `val/...` by the last validation."""
        self._saved_step = 0

    @property
    def last(self) -> Path | None:
        """The state to resume from, if there is one."""
        path = self.folder / "last.ckpt" if self.folder is not None else None
        return path if path is not None and path.is_file() else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where the run starts."""
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when due, except right before a validation or the end of an epoch."""
        if self.folder is None or trainer.global_step - self._saved_step < self.every_n_steps:
            return
        done = batch_idx + 1
        interval = trainer.val_check_batch
        validates = interval is not None and interval != float("inf") and done % interval == 0
        if done < trainer.num_training_batches and not validates and trainer.global_step != trainer.max_steps:
            self._save(trainer, "last.ckpt", weights_only=False)
            self._saved_step = trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Keep the weights if none were better; after the last step the policy itself is there to be exported."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if trainer.sanity_checking or "val/loss" not in metrics:
            return
        self.validation = metrics
        if not metrics["val/loss"] < self.best_loss:
            return
        self.best_loss, self.best_step = metrics["val/loss"], trainer.global_step
        if self.folder is not None and trainer.global_step < trainer.estimated_stepping_batches:
            self._save(trainer, "best.ckpt", weights_only=True)

    def _save(self, trainer: Trainer, name: str, *, weights_only: bool) -> None:
        """Write beside the file and rename: what Lightning calls atomic is a copy where the temporary folder is another disk."""
        assert self.folder is not None
        part = self.folder / f"{name}.part"
        trainer.save_checkpoint(part, weights_only=weights_only)
        if trainer.is_global_zero:
            os.replace(part, self.folder / name)

    def state_dict(self) -> dict[str, Any]:
        """The last and the best validation."""
        return {"best_loss": self.best_loss, "best_step": self.best_step, "validation": self.validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As before the interruption."""
        self.best_loss, self.best_step = state_dict["best_loss"], state_dict["best_step"]
        self.validation = state_dict["validation"]
