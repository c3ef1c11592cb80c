"""A finished training becomes Hugging Face directories: the last policy and the best one (lowest validation loss).

A training that is one point of a search leaves its facts alone, and leaves them even where it diverged: that is its result.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch import Callback, LightningModule, Trainer

from llome.callbacks.checkpoints import found
from llome.callbacks.resume import ResumeCallback
from llome.data.datamodule import PropEnDataModule
from llome.errors import DivergedError
from llome.modules.base import PolicyModule
from llome.modules.base.sharding import read_weights, whole_weights
from llome.policy.causal_lm import PolicyCard, save_card, save_policy

_VALIDATED = ("loss", "perplexity", "token_accuracy", "parsed", "right_length", "in_range", "valid", "novel")


class ExportCallback(Callback):
    """Writes `out` when training has ended well, and the other policy beside it as `{out}-best` or `{out}-last`."""

    def __init__(
        self, out: Path, which: Literal["last", "best", "facts"], *, parent: str, data: str, settings: dict[str, Any]
    ) -> None:
        """Note what the cards say.

        Args:
            out: directory of the chosen policy.
            which: the policy that is chosen; facts: none, and `out` holds the card alone.
            parent: hash of the parent policy.
            data: hash of the labelled tables.
            settings: resolved settings of the training.
        """
        self.out, self.which = out, which
        self.parent, self.data, self.settings = parent, data, settings

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Export both; without a validation there is only the last policy. The first process writes."""
        assert isinstance(pl_module, PolicyModule)
        last = whole_weights(pl_module.policy) if self.which != "facts" else {}
        if not trainer.is_global_zero:
            return
        resume = next(callback for callback in trainer.callbacks if isinstance(callback, ResumeCallback))  # type: ignore[attr-defined]
        card = self._card(trainer, pl_module, resume)
        if self.which == "facts":
            save_card(self.out, card)
            return
        directories = {
            "last": self.out.with_name(f"{self.out.name}-last"),
            "best": self.out.with_name(f"{self.out.name}-best"),
        }
        directories[self.which if resume.best_step else "last"] = self.out
        for name in ("last", "best") if resume.best_step else ("last",):
            weights = last
            if name == "best" and resume.best_step < trainer.global_step:
                assert resume.folder is not None
                weights = read_weights(found(resume.folder / "best.ckpt"), last)
            exported = replace(card, facts=card.facts | {"exported": name})
            save_policy(directories[name], pl_module.exported(weights), pl_module.tokenizer, exported)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Of a search's point that diverged: the message, and no losses."""
        if self.which == "facts" and isinstance(exception, DivergedError) and trainer.is_global_zero:
            assert isinstance(pl_module, PolicyModule)
            card = self._card(trainer, pl_module, ResumeCallback())
            save_card(self.out, replace(card, facts=card.facts | {"train_loss": None, "failed": str(exception)}))

    def _card(self, trainer: Trainer, module: PolicyModule, resume: ResumeCallback) -> PolicyCard:
        return PolicyCard(
            objective=module.objective,
            domain=module.card.domain,
            parent=self.parent,
            data=self.data,
            settings=self.settings,
            facts=self._facts(trainer, module, resume),
        )

    def _facts(self, trainer: Trainer, module: PolicyModule, resume: ResumeCallback) -> dict[str, Any]:
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PropEnDataModule)
        return {
            "kind": data.kind,
            "labeled": len(data.sequences),
            "train_examples": len(data.train_rows),
            "val_examples": len(data.val_rows),
            "steps": trainer.global_step,
            "best_step": resume.best_step or None,
            "best_val_loss": resume.best_loss if resume.best_step else None,
            "train_loss": module.step_loss,
            **{"val_loss" if name == "loss" else name: resume.validation.get(f"val/{name}") for name in _VALIDATED},
        }
