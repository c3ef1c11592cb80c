"""Random numbers keyed by row: the draw at (row, position) depends on nothing but the row's key and the position.

Batch size, order, shards and interruptions therefore change no draw. The generator is splitmix64 (Steele, Lea and Flood 2014,
"Fast splittable pseudorandom number generators"), used as a hash of a counter.
"""

from __future__ import annotations

import numpy as np

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(values: np.ndarray) -> np.ndarray:
    """The finaliser of splitmix64, elementwise on uint64."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def row_keys(random_seed: int, *coordinates: np.ndarray | int) -> np.ndarray:
    """uint64 key of each row from its coordinates (seed number, temperature number, iteration, sample, ...), broadcast together."""
    key = _mix(np.array([random_seed % 2**64], dtype=np.uint64) + _GOLDEN)
    for coordinate in coordinates:
        key = _mix((key ^ np.asarray(coordinate).astype(np.uint64)) + _GOLDEN)
    return key


def uniforms(keys: np.ndarray, num_positions: int) -> np.ndarray:
    """Keys of any shape (...) -> (..., num_positions) float64, uniform on [0, 1) with 53 bits."""
    with np.errstate(over="ignore"):
        counters = np.arange(1, num_positions + 1, dtype=np.uint64) * _GOLDEN
        return (_mix(keys[..., None] + counters) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def normals(pairs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, 2) uniforms -> two (N,) float64 of independent standard normals (Box and Muller 1958)."""
    radius = np.sqrt(-2 * np.log1p(-pairs[:, 0]))
    return radius * np.cos(2 * np.pi * pairs[:, 1]), radius * np.sin(2 * np.pi * pairs[:, 1])
