"""Means by bin with their errors, in a form that rounds can be pooled from: the paper's Figs. 6 and 12 take all rounds together.

A standard error is that of a mean (ddof 1), as if the sequences were independent; twice it is the paper's band, which it calls two
standard errors in Fig. 6 and a 95 % interval in Fig. 12. For a share p of n it is sqrt(p (1 - p) / (n - 1)), and 0 where all agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llome.distances import distances, longer
from llome.domain import Domain

DISTANCES = np.array([[0.0, 0.0], *([i / 20, (i + 1) / 20] for i in range(20))])
"""(21, 2) lower (left out) and upper ends of the bins of a distance as a share of the length; the first holds copies alone."""
LIKELIHOODS = np.array([[i / 10, (i + 1) / 10] for i in range(10)])
"""(10, 2) lower and upper (left out) ends of the bins of a mean token likelihood; the last holds 1 as well."""


@dataclass(frozen=True)
class Means:
    """The mean of a number in each of B bins."""

    count: np.ndarray
    """(B,) int64 sequences."""
    mean: np.ndarray
    """(B,) float64, NaN where there is none."""
    se: np.ndarray
    """(B,) float64, the standard error of the mean; NaN where there are fewer than two."""


def distance_bins(sequence: np.ndarray, source: np.ndarray, domain: Domain) -> np.ndarray:
    """(N,) bin in `DISTANCES` of each edit from `source` (N, L) to `sequence` (N, L), exact: nothing is rounded at an edge.

    The distance is Hamming's as a share of the length; where lengths differ, the edit distance as a share of the longer's.
    """
    return -(-distances(sequence, source, domain) * (len(DISTANCES) - 1) // longer(sequence, source))


def likelihood_bins(logp_mean: np.ndarray) -> np.ndarray:
    """(N,) bin in `LIKELIHOODS` of each mean log-probability a token (N,), in nats."""
    last = len(LIKELIHOODS) - 1
    return np.minimum(np.exp(logp_mean) * len(LIKELIHOODS), last).astype(np.int64)


def bin_means(bins: np.ndarray, values: np.ndarray, number: int) -> Means:
    """Means of `values` (N,) over those of each of `number` bins; `bins` (N,) says where each value belongs."""
    count = np.bincount(bins, minlength=number)
    mean = _divide(np.bincount(bins, values, number), count)
    squares = np.bincount(bins, (values - mean[bins]) ** 2, number)
    return Means(count, mean, np.sqrt(_divide(squares, count * (count - 1))))


def pool_means(parts: Sequence[Means]) -> Means:
    """The means over the sequences of all parts together, as if they had been binned at once."""
    counts, means, errors = (np.stack([getattr(part, name) for part in parts]) for name in ("count", "mean", "se"))
    count = counts.sum(axis=0)
    mean = _divide(np.nansum(counts * means, axis=0), count)
    squares = np.nansum(counts * (counts - 1) * errors**2, axis=0) + np.nansum(counts * (means - mean) ** 2, axis=0)
    return Means(count, mean, np.sqrt(_divide(squares, count * (count - 1))))


def as_json(edges: np.ndarray, **means: Means) -> dict[str, list[Any]]:
    """Bins as columns: their ends, the count, and by its name each mean with its error; null where there is none."""
    columns: dict[str, list[Any]] = {"low": edges[:, 0].tolist(), "high": edges[:, 1].tolist()}
    for name, found in means.items():
        columns |= {"count": found.count.tolist(), name: _known(found.mean), f"se_{name}": _known(found.se)}
    return columns


def from_json(columns: dict[str, list[Any]], name: str) -> Means:
    """One mean of `as_json`."""
    mean, se = (np.array(columns[key], dtype=np.float64) for key in (name, f"se_{name}"))
    return Means(np.array(columns["count"], dtype=np.int64), mean, se)


def _divide(sums: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """`sums` / `counts`, NaN where there are none."""
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)


def _known(values: np.ndarray) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]
