"""Which scores a surrogate learns, which rows it sees how often, and how it is told what is foreseen from what is not.

Imports no Lightning, which takes seconds: whoever only asks a fitted surrogate needs none of it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from llome.provenance import derive_seed
from llome.surrogate.network import Network


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


def mean_score(network: Network, designs: np.ndarray) -> np.ndarray:
    """(N, ...) -> (N,) standardised scores, the members' mean."""
    return np.asarray(np.mean([network.answers(member, designs)[:, 0] for member in range(network.members)], axis=0))


def rank_correlation(foreseen: np.ndarray, scores: np.ndarray) -> float | None:
    """Spearman's, of two (N,); None where either stands still."""
    from torchmetrics.functional.regression import spearman_corrcoef  # a second to import

    if len(scores) < 2 or np.ptp(foreseen) == 0 or np.ptp(scores) == 0:
        return None
    return float(spearman_corrcoef(torch.from_numpy(foreseen).double(), torch.from_numpy(scores)))


def seed_of(random_seed: int, part: str) -> int:
    """The seed of one part of a fit."""
    return derive_seed(random_seed, "surrogate", part)
