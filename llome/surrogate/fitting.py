"""Fitting an ensemble to labelled tables: which scores it learns, which rows it sees how often, the loop."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset
from torchmetrics.functional.regression import spearman_corrcoef

from llome.provenance import derive_seed
from llome.surrogate.network import Ensemble


@dataclass(frozen=True)
class Target:
    """How scores become what a network learns, and back. Scores that are products are learnt as logarithms, and so as sums."""

    logarithmic: bool
    """Whether no score is negative and some are above zero."""
    floor: float
    """What a score of zero counts as (nats): one below the smallest other."""
    mean: float
    scale: float
    """Mean and standard deviation that the scores are standardised by."""

    @classmethod
    def of(cls, scores: np.ndarray) -> Target:
        """The target of finite scores (N,)."""
        logarithmic = bool(scores.min() >= 0 and scores.max() > 0)
        floor = float(np.log(scores[scores > 0].min())) - 1 if logarithmic else 0.0
        raw = cls(logarithmic, floor, 0.0, 1.0).standardise(scores)
        return cls(logarithmic, floor, float(raw.mean()), float(raw.std()) or 1.0)

    def standardise(self, scores: np.ndarray) -> np.ndarray:
        """(N,) finite scores -> (N,) float64."""
        if self.logarithmic:
            scores = np.log(np.maximum(scores, np.exp(self.floor)))
        return (scores - self.mean) / self.scale


def row_weights(scores: np.ndarray, rounds: np.ndarray, errors: np.ndarray) -> np.ndarray:
    """(N,) probabilities with which rows are drawn.

    A quarter each for all rows alike, for all scores alike, for the last round and for what is not yet learnt: a search soon labels
    thousands of sequences of one score, and the few beside them that show something new say as much.

    Args:
        scores: (N,) finite.
        rounds: (N,) in the order of labelling.
        errors: (N,) of the ensemble, before this fit.
    """
    _, level, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last, squares = rounds == rounds.max(), errors**2
    unlearnt = squares / squares.sum() if squares.any() else 1 / len(scores)
    return np.asarray((1 / len(scores) + 1 / (len(counts) * counts[level]) + last / last.sum() + unlearnt) / 4)


def fit(
    ensemble: Ensemble,
    sequences: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    *,
    target: Target,
    steps: int,
    batch_size: int,
    learning_rate: float,
    random_seed: int,
) -> float:
    """Train all members at once, each on rows that it draws itself, and return the mean squared error of the last step.

    Args:
        ensemble: changed in place.
        sequences: (N, L) feasible labelled sequences.
        scores: (N,) finite.
        weights: (N,) probabilities of the rows.
        target: of the scores.
        steps: optimiser steps (AdamW), the learning rate falling to zero.
        batch_size: rows of a member a step.
        learning_rate: peak learning rate.
        random_seed: of the rows, keyed by step.
    """
    draws = _Draws(sequences, target.standardise(scores), weights, ensemble.members, steps, batch_size, random_seed)
    module = _Regression(ensemble, learning_rate, steps)
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no hardware listing, no tips
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=steps,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=r".isinstance\(treespec, LeafSpec", category=FutureWarning)
        trainer.fit(module, DataLoader(draws, batch_size=None))
    return module.error


class _Draws(IterableDataset[tuple[Tensor, Tensor]]):
    """(M, B, L) sequences and (M, B) targets of each step."""

    def __init__(
        self,
        sequences: np.ndarray,
        targets: np.ndarray,
        weights: np.ndarray,
        members: int,
        steps: int,
        batch_size: int,
        random_seed: int,
    ) -> None:
        self.sequences = torch.from_numpy(sequences.astype(np.int64))
        self.targets = torch.from_numpy(targets.astype(np.float32))
        self.edges = np.cumsum(weights)
        self.shape, self.steps, self.random_seed = (members, batch_size), steps, random_seed

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        for step in range(self.steps):
            rng = np.random.default_rng([self.random_seed, step])
            rows = np.searchsorted(self.edges, rng.random(self.shape) * self.edges[-1], side="right")
            yield self.sequences[rows], self.targets[rows]


class _Regression(LightningModule):
    def __init__(self, ensemble: Ensemble, learning_rate: float, steps: int) -> None:
        super().__init__()
        self.ensemble, self.learning_rate, self.steps = ensemble, learning_rate, steps
        self.error = float("nan")

    def training_step(self, batch: tuple[Tensor, Tensor]) -> Tensor:
        sequences, targets = batch
        errors = (self.ensemble(sequences) - targets).square().mean(dim=1)
        self.error = float(errors.detach().mean())
        return errors.sum()  # members share no weight, so each gets its own gradient

    def configure_optimizers(self) -> OptimizerLRScheduler:
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.learning_rate, weight_decay=0.01, fused=True)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=self.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def mean_score(ensemble: Ensemble, sequences: np.ndarray) -> np.ndarray:
    """(N, L) -> (N,) standardised scores, the members' mean."""
    return np.asarray(np.mean([ensemble.score(member, sequences) for member in range(ensemble.members)], axis=0))


def rank_correlation(foreseen: np.ndarray, scores: np.ndarray) -> float | None:
    """Spearman's, of two (N,); None where either stands still."""
    if len(scores) < 2 or np.ptp(foreseen) == 0 or np.ptp(scores) == 0:
        return None
    return float(spearman_corrcoef(torch.from_numpy(foreseen).double(), torch.from_numpy(scores)))


def seed_of(random_seed: int, part: str) -> int:
    """The seed of one part of a fit."""
    return derive_seed(random_seed, "surrogate", part)
