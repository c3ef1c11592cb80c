"""What a fitted surrogate says of designs it has not seen: a score, how far off that may be, and how likely the design is feasible."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from llome.surrogate.fitting import HeldOut, Target, fit, rank_correlation
from llome.surrogate.holding import hold_out
from llome.surrogate.network import Network


@dataclass(frozen=True)
class Prediction:
    """Of N designs, (N,) each, in standard deviations of the scores that the surrogate was fitted to (of logarithms, where products)."""

    mean: np.ndarray
    """Where the design is feasible."""
    spread: np.ndarray
    """Standard deviation of the error, the members' spread as calibrated."""
    feasible: np.ndarray
    """Probability in (0, 1]; 1 where the surrogate has not learnt it."""
    logarithmic: bool
    """Whether scores were learnt as logarithms."""
    floor: float
    """What a score below all others counts as."""
    scale: float
    """Nats in one standard deviation, where logarithmic."""

    @property
    def worth(self) -> np.ndarray:
        """f_hat: the score that a design is expected to have, feasible or not.

        Where scores are products this is log(p x score) = log p + log score, in standard deviations; otherwise the mean of the score
        and of the floor, weighed by p.
        """
        if self.logarithmic:
            return self.mean + np.log(self.feasible) / self.scale
        return self.feasible * self.mean + (1 - self.feasible) * self.floor


@dataclass(frozen=True)
class Calibration:
    """The variance of an error is stretch^2 x the members' variance + rest^2."""

    stretch: float = 1.0
    rest: float = 0.0

    @classmethod
    def of(cls, variances: np.ndarray, errors: np.ndarray) -> Calibration:
        """Fitted to the members' variances (N,) and the errors (N,) of their mean: least squares of the squares, neither part negative."""
        squares = errors**2
        if not len(errors):
            return cls()
        both = np.stack([variances, np.ones_like(variances)], axis=1)
        slope, level = np.linalg.lstsq(both, squares, rcond=None)[0]
        if level < 0 and variances.any():
            slope, level = float(variances @ squares / (variances @ variances)), 0.0
        if slope < 0 or level < 0:
            slope, level = 0.0, float(squares.mean())
        return cls(float(np.sqrt(slope)), float(np.sqrt(level)))

    def spread(self, variances: np.ndarray) -> np.ndarray:
        """(N,) variances of the members -> (N,) standard deviations of the error."""
        return np.asarray(np.sqrt(self.stretch**2 * variances + self.rest**2))


@dataclass(frozen=True)
class Predictor:
    """A fitted network and what makes a prediction of its answers."""

    network: Network
    target: Target
    calibration: Calibration = Calibration()
    lowest: float = 0.0
    """The lowest standardised score it was fitted to."""

    def predict(self, designs: np.ndarray) -> Prediction:
        """(N, ...) designs -> what the members foresee together."""
        members = range(self.network.members)
        answers = np.stack([self.network.answers(member, designs) for member in members]).astype(np.float64)
        feasible = np.ones(len(designs))
        if self.network.outputs > 1:
            feasible = (1 / (1 + np.exp(-np.clip(answers[..., 1], -30, 30)))).mean(axis=0)
        spread = self.calibration.spread(answers[..., 0].var(axis=0))
        mean, target = answers[..., 0].mean(axis=0), self.target
        return Prediction(mean, spread, feasible, target.logarithmic, self.lowest - 1.0, target.scale)


def fit_predictor(
    network: Network,
    designs: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    *,
    held_out: float,
    steps: int,
    batch_size: int,
    learning_rate: float,
    random_seed: int,
) -> tuple[Predictor, dict[str, float | None]]:
    """Fit a network, hold some labels out, and say how good it is on them.

    Args:
        network: changed in place.
        designs: (N, ...).
        scores: (N,), -inf infeasible; some are finite.
        weights: (N,) with which rows are drawn, of any sum.
        groups: (N,) cluster of each row; each is held out as a whole, or not at all.
        held_out: share of the rows to hold out, 0 for none.
        steps: optimiser steps, the most of them where some are held out.
        batch_size: rows of a member a step.
        learning_rate: peak learning rate.
        random_seed: of the rows held out and of those drawn.

    Returns:
        The predictor, and its facts: rows fitted to and held out, error of the last step, and those of `judge`.
    """
    target = Target.of(scores[np.isfinite(scores)])
    rows, stop, last = hold_out(groups, scores, held_out, random_seed=random_seed)
    error = fit(
        network,
        designs[rows],
        scores[rows],
        weights[rows],
        target=target,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        random_seed=random_seed,
        held_out=HeldOut(designs[stop], scores[stop]) if len(stop) else None,
    )
    standardised = target.standardise(scores)
    predictor = Predictor(network, target, lowest=float(standardised[np.isfinite(scores)].min()))
    facts: dict[str, float | None] = {"rows": len(rows), "held_out": len(stop) + len(last), "error": error}
    if len(stop):
        finite = stop[np.isfinite(scores[stop])]
        answers = np.stack([network.answers(member, designs[finite])[:, 0] for member in range(network.members)])
        errors = answers.mean(axis=0) - standardised[finite]
        predictor = replace(predictor, calibration=Calibration.of(answers.var(axis=0), errors))
        facts |= judge(predictor.predict(designs[last]), standardised[last], scores[last])
    return predictor, facts


def judge(prediction: Prediction, standardised: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """How good the ranks and the errors are on rows that nothing was chosen by.

    Args:
        prediction: of them.
        standardised: (N,) their scores as the network learns them.
        scores: (N,), -inf infeasible.

    Returns:
        Spearman's rank correlation where feasible, the area under the curve of feasibility (None where all or none are), and the share
        of errors within one and two spreads (68 % and 95 % of normal ones).
    """
    finite = np.isfinite(scores)
    off = np.abs(prediction.mean - standardised)[finite] / np.maximum(prediction.spread[finite], 1e-12)
    area = None
    if finite.any() and not finite.all():
        area = float(binary_auroc(torch.from_numpy(prediction.feasible), torch.from_numpy(finite.astype(np.int64))))
    return {
        "rank_correlation": rank_correlation(prediction.mean[finite], scores[finite]),
        "feasibility_area": area,
        "within_one_spread": float((off <= 1).mean()) if len(off) else None,
        "within_two_spreads": float((off <= 2).mean()) if len(off) else None,
    }
