"""Noise that goes by the number of an observation: how calls are split, or interrupted, changes none of it."""

from __future__ import annotations

import numpy as np


def normal(seed: int, query: int, count: int) -> np.ndarray:
    """(count,) standard normal numbers; the n-th depends on (seed, query + n) alone (a block of Philox, Box-Muller)."""
    raw = np.random.Philox(key=seed, counter=query).random_raw(4 * count).reshape(count, 4)[:, :2]
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.sqrt(-2 * np.log(uniform[:, 0])) * np.cos(2 * np.pi * uniform[:, 1])
