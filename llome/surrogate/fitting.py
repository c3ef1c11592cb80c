"""Fitting an ensemble to labelled rows: the draws, the loss, the loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset

from llome.surrogate.network import Network
from llome.surrogate.targets import Target

LOOKS = 20
"""How often a fit looks at what is held out."""
APART = 30
"""Steps at least between two looks, whatever their number: a look is as much work as several steps."""
PATIENCE = 5
"""Looks without gain after which it stops."""


@dataclass(frozen=True)
class HeldOut:
    """What a fit does not see, so that it stops where these are foreseen best."""

    designs: np.ndarray
    scores: np.ndarray
    """(N,), -inf infeasible."""


def fit(
    network: Network,
    designs: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    *,
    target: Target,
    steps: int,
    batch_size: int,
    learning_rate: float,
    random_seed: int,
    held_out: HeldOut | None = None,
) -> float:
    """Train all members at once, each on rows that it draws itself, and return the mean squared error of the last step.

    Scores are learnt from feasible rows alone; a network of two outputs learns from all rows which are feasible (cross-entropy).

    Args:
        network: changed in place.
        designs: (N, ...) labelled sequences or vectors; those of a network of one output are feasible.
        scores: (N,), -inf infeasible.
        weights: (N,) with which rows are drawn, of any sum.
        target: of the scores.
        steps: optimiser steps (AdamW), the learning rate falling to zero; the most of them, where some are held out.
        batch_size: rows of a member a step.
        learning_rate: peak learning rate.
        random_seed: of the rows, keyed by step.
        held_out: the weights kept are those that foresee these best, not the last ones.
    """
    network.begin(designs, np.isfinite(scores))
    draws = _Draws(
        network.as_inputs(designs), _targets(scores, target), weights, network.members, steps, batch_size, random_seed
    )
    module = _Regression(network, learning_rate, steps)
    best = None if held_out is None else _Best(held_out, target, max(APART, steps // LOOKS))
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no hardware listing, no tips
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
        callbacks=[] if best is None else [best],
    )
    with warnings.catch_warnings(), _deterministic():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=r".isinstance\(treespec, LeafSpec", category=FutureWarning)
        trainer.fit(module, DataLoader(draws, batch_size=None))
    if best is not None:
        network.load_state_dict(best.weights)
    return module.error


@contextmanager
def _deterministic() -> Iterator[None]:
    """On several threads the gradient of a lookup adds up in another order each time, unless torch is told not to.

    It costs nothing where torch does not also fill all memory that it is about to write to.
    """
    memory: Any = torch.utils.deterministic  # a module whose setting is a property
    before = torch.are_deterministic_algorithms_enabled(), memory.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    memory.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0])
        memory.fill_uninitialized_memory = before[1]


def _targets(scores: np.ndarray, target: Target) -> np.ndarray:
    """(N,) scores -> (N,) standardised, NaN where infeasible."""
    return np.where(np.isfinite(scores), target.standardise(scores), np.nan)


def _losses(values: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Answers (..., B, outputs) and targets (..., B) -> (...,) squared error of the scores, and (...,) the whole loss."""
    targets = targets.expand(values.shape[:-1])
    feasible = targets.isfinite()
    errors = torch.where(feasible, values[..., 0] - targets.nan_to_num(), 0).square().mean(dim=-1)
    if values.shape[-1] == 1:
        return errors, errors
    surprise = F.binary_cross_entropy_with_logits(values[..., 1], feasible.to(values.dtype), reduction="none")
    return errors, errors + surprise.mean(dim=-1)


class _Draws(IterableDataset[tuple[Tensor, Tensor]]):
    """(M, B, ...) designs and (M, B) targets of each step."""

    def __init__(
        self,
        designs: Tensor,
        targets: np.ndarray,
        weights: np.ndarray,
        members: int,
        steps: int,
        batch_size: int,
        random_seed: int,
    ) -> None:
        self.designs = designs
        self.targets = torch.from_numpy(targets.astype(np.float32))
        self.edges = np.cumsum(weights)
        self.shape, self.steps, self.random_seed = (members, batch_size), steps, random_seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(self.steps):
            rng = np.random.default_rng([self.random_seed, step])
            rows = np.searchsorted(self.edges, rng.random(self.shape) * self.edges[-1], side="right")
            yield self.designs[rows], self.targets[rows]


class _Regression(LightningModule):
    def __init__(self, network: Network, learning_rate: float, steps: int) -> None:
        super().__init__()
        self.network, self.learning_rate, self.steps = network, learning_rate, steps
        self.error = float("nan")

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        designs, targets = batch
        errors, losses = _losses(self.network(designs), targets)
        self.error = float(errors.detach().mean())
        return losses.sum()  # members share no weight, so each gets its own gradient

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class _Best(Callback):
    """Keeps the weights that foresee best what is held out, and stops the fit where they have not got better for a while."""

    def __init__(self, held_out: HeldOut, target: Target, every: int) -> None:
        self.held_out, self.every = held_out, every
        self.targets = torch.from_numpy(_targets(held_out.scores, target).astype(np.float32))
        self.least, self.idle = float("inf"), 0
        self.weights: dict[str, Tensor] = {}

    def on_train_batch_end(self, trainer: Trainer, pl_module: LightningModule, *_: object) -> None:
        if trainer.global_step % self.every and trainer.global_step != trainer.max_steps:
            return
        assert isinstance(pl_module, _Regression)
        network = pl_module.network
        answers = [
            torch.from_numpy(network.answers(member, self.held_out.designs)) for member in range(network.members)
        ]
        loss = float(_losses(torch.stack(answers), self.targets)[1].mean())
        if loss < self.least or not self.weights:
            self.least, self.idle = loss, 0
            self.weights = {name: weight.clone() for name, weight in network.state_dict().items()}
        else:
            self.idle += 1
            trainer.should_stop = self.idle >= PATIENCE
