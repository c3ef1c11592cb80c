"""The two multipliers: mu, how sure the author of the proposals is, and lambda, what it costs to leave what is known.

The best distribution over classes under both constraints is proportional to exp(mu (f_hat + lambda c*)) of each class's best design
(Lemma 4.3). So the logarithm of how often a class was proposed, against what its best is worth, has slope mu: flat where the author prefers
nothing, steep where it proposes what is good. lambda is the multiplier of W1 <= W0 and climbs the dual: it rises while proposals are
further from the source than W0, and falls to 0 where they are nearer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from llome.errors import ConfigError


@dataclass(frozen=True)
class Certainty:
    """An estimate of mu."""

    mu: float
    """0 or more; 1 where it could not be estimated, so that a score is what it is without it."""
    classes: int
    """Classes it was estimated from."""
    reason: str = ""
    """Why it could not be estimated; empty where it was."""


def estimate_certainty(values: np.ndarray, counts: np.ndarray) -> Certainty:
    """mu by regression of log occupancy on the values of the classes' best, each class as trusted as often as it was seen.

    The logarithm of a count n has a variance of about 1 / n, so least squares are weighted by n. A negative slope, an author that proposes
    the worse the more often, is no certainty: 0.

    Args:
        values: (K,) f_hat + lambda c* of each class's best design.
        counts: (K,) proposals in it; classes without any say nothing and are left out.

    Raises:
        ConfigError: a value is not finite.
    """
    seen = counts > 0
    values, counts = np.asarray(values, dtype=np.float64)[seen], np.asarray(counts, dtype=np.float64)[seen]
    if not np.isfinite(values).all():
        raise ConfigError(
            f"class {int((~np.isfinite(values)).argmax())} is worth {values[~np.isfinite(values)][0]}; values are finite"
        )
    if len(values) < 2:
        return Certainty(1.0, len(values), "there is one class only" if len(values) else "nothing was proposed")
    if np.ptp(values) <= 1e-12 * max(1.0, float(np.abs(values).max())):
        return Certainty(1.0, len(values), "all classes are worth the same")
    x = values - np.average(values, weights=counts)
    y = np.log(counts)
    slope = float((counts * x * (y - np.average(y, weights=counts))).sum() / (counts * x * x).sum())
    return Certainty(max(slope, 0.0), len(values))


def next_lambda(now: float, distance: float, bound: float, step: float) -> float:
    """lambda after one step up the dual: max(0, lambda - step (W0 - W1)).

    Args:
        now: lambda, 0 or more.
        distance: W1 between source and proposals; where it is not finite (a critic that diverged), lambda stays.
        bound: W0.
        step: of the ascent.
    """
    if now < 0 or step <= 0 or bound < 0:
        raise ConfigError(f"lambda is {now}, W0 {bound} and the step {step}; none is negative, and the step is above 0")
    return max(0.0, now - step * (bound - distance)) if math.isfinite(distance) else now


@dataclass(frozen=True)
class Parts:
    """What the score of each proposal is made of, (N,) each."""

    predicted: np.ndarray
    """f_hat."""
    source: np.ndarray
    """c*."""
    mu: float
    lambda_: float

    @property
    def worth(self) -> np.ndarray:
        """f_hat + lambda c*."""
        return self.predicted + self.lambda_ * self.source

    @property
    def score(self) -> np.ndarray:
        """mu (f_hat + lambda c*): scores of one batch are ordered as `worth` is; mu makes those of several comparable."""
        return self.mu * self.worth
