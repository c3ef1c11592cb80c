"""Where a killed training goes on, and the best policy so far.

Two files in a scratch folder that is no output of the stage: `last.ckpt`, everything needed to continue, and `best.ckpt`, the
weights with the lowest validation loss. Of a policy that is spread over processes each is a folder, to which every process writes its
share. Lightning's own ModelCheckpoint also saves on the last batch of an epoch and on the last step
of the run, where a restart skips the validation that should follow; here a checkpoint that falls due there waits for the next step,
so that whatever is restarted runs its remaining steps and validations as if nothing had happened.
"""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from llome.callbacks.checkpoints import found, put, read_checkpoint
from llome.errors import ConfigError, LlomeError


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
        path = found(self.folder / "last.ckpt") if self.folder is not None else None
        return path if path is not None and path.exists() else None

    def check(self, module: LightningModule) -> None:
        """Refuse files that this run cannot go on from: cut short, foreign, or of another run. Raises LlomeError."""
        if self.last is None:
            return
        assert self.folder is not None
        callbacks = self._read("last.ckpt", module).get("callbacks")
        state = callbacks.get(self.state_key) if isinstance(callbacks, dict) else None
        if not isinstance(state, dict) or state.get("run") != self.folder.name:
            raise self._refusal("last.ckpt", "it was not written by this run")
        if state["best_step"]:
            self._read("best.ckpt", module)

    def _read(self, name: str, module: LightningModule) -> dict[str, Any]:
        """A checkpoint whose weights have the module's names and shapes, memory-mapped."""
        assert self.folder is not None
        try:
            state, shapes = read_checkpoint(found(self.folder / name))
        except FileNotFoundError as err:
            raise self._refusal(name, "it is missing") from err
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError) as err:
            raise self._refusal(name, "it is cut short or no checkpoint") from err
        except (TypeError, KeyError, IndexError, AttributeError) as err:
            raise self._refusal(name, "it is no checkpoint of a training") from err
        if shapes != {key: value.shape for key, value in module.state_dict().items()}:
            raise self._refusal(name, "its weights are those of another policy")
        return state

    def _refusal(self, name: str, reason: str) -> LlomeError:
        assert self.folder is not None
        return LlomeError(
            f"cannot go on from {self.folder / name}: {reason}; delete the folder {self.folder} and run the same command again: it"
            " trains anew"
        )

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count from where the run starts."""
        self._saved_step = trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save when due."""
        if trainer.global_step - self._saved_step >= self.every_n_steps:
            self.save_if_possible(trainer, batch_idx)

    def save_if_possible(self, trainer: Trainer, batch_idx: int) -> bool:
        """Save after a step unless a validation or the end of an epoch follows it, or nothing is kept; whether it was."""
        done = batch_idx + 1
        interval = trainer.val_check_batch
        validates = interval is not None and interval != float("inf") and done % interval == 0
        if self.folder is None or done >= trainer.num_training_batches or validates:
            return False
        if trainer.global_step == trainer.max_steps:
            return False
        self._save(trainer, "last.ckpt", weights_only=False)
        self._saved_step = trainer.global_step
        return True

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
        if trainer.is_global_zero:
            shutil.rmtree(part, ignore_errors=True)
        trainer.save_checkpoint(part, weights_only=weights_only)
        if trainer.is_global_zero:
            put(part, self.folder / name)

    def state_dict(self) -> dict[str, Any]:
        """The last and the best validation, and whose they are: the folder is named by settings, data and parent."""
        run = self.folder.name if self.folder is not None else None
        return {"run": run, "best_loss": self.best_loss, "best_step": self.best_step, "validation": self.validation}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """As before the interruption."""
        self.best_loss, self.best_step = state_dict["best_loss"], state_dict["best_step"]
        self.validation = state_dict["validation"]
