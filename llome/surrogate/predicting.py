"""What a fitted surrogate says of designs it has not seen: a score, how far off that may be, and how likely the design is feasible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llome.surrogate.network import Network
from llome.surrogate.targets import Target


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
