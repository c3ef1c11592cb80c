"""Gradient ascent on a surrogate: what a method without prior knowledge and without constraints makes of it.

It goes up wherever the surrogate does, so where that is wrong it ends in designs that only look good: the baseline of the paper's table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from llome.errors import ConfigError
from llome.provenance import derive_seed


@dataclass(frozen=True)
class Found:
    """What an optimiser of a surrogate ended with."""

    design: np.ndarray
    """(D,) float64, within the bounds: the best by the surrogate of all that were asked."""
    value: float
    """What the surrogate says of it."""
    queries: int
    """Designs that the surrogate was asked."""


def gradient_ascent(
    gradient: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    low: np.ndarray,
    high: np.ndarray,
    *,
    queries: int,
    random_seed: int,
    starts: int = 16,
    step: float = 0.05,
) -> Found:
    """Climb from several random designs at once, with Adam (Kingma and Ba, arXiv 1412.6980), and keep within the bounds.

    Args:
        gradient: (N, D) designs -> (N,) values and (N, D) their gradients.
        low: (D,) lower bounds.
        high: (D,) upper bounds.
        queries: most designs that the surrogate is asked; as many steps are made as that allows.
        random_seed: of the starts.
        starts: how many there are; fewer where there are fewer queries.
        step: of Adam, as a share of the distance between the bounds.

    Raises:
        ConfigError: bounds that hold nothing, no query, or a surrogate whose values are not finite.
    """
    low, high = _bounds(low, high)
    if queries < 1 or starts < 1 or not step > 0:
        raise ConfigError(f"queries is {queries}, starts {starts} and step {step}; all must be above 0")
    starts = min(starts, queries)
    wide = high - low
    places = np.random.default_rng(derive_seed(random_seed, "ascent")).random((starts, len(low)))
    first, second = np.zeros_like(places), np.zeros_like(places)
    best, best_value = low, -np.inf
    steps = queries // starts
    for number in range(1, steps + 1):
        designs = low + wide * places
        values, slopes = gradient(designs)
        if not (np.isfinite(values).all() and np.isfinite(slopes).all()):
            raise ConfigError("the surrogate answers with values that are not finite; fit it again with other settings")
        if values.max() > best_value:
            best, best_value = designs[values.argmax()], float(values.max())
        slopes = slopes * wide  # of the unit box
        first = 0.9 * first + 0.1 * slopes
        second = 0.999 * second + 0.001 * slopes**2
        climb = (first / (1 - 0.9**number)) / (np.sqrt(second / (1 - 0.999**number)) + 1e-12)
        places = np.clip(places + step * (1 - (number - 1) / steps) * climb, 0, 1)
    return Found(best, best_value, steps * starts)


def _bounds(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64. Raises ConfigError where they hold no design."""
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if low.shape != high.shape or low.ndim != 1 or not (low < high).all():
        raise ConfigError(
            f"the bounds {low.tolist()} and {high.tolist()} hold no design; each low must be below its high"
        )
    return low, high
