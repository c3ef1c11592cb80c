"""Equivalence classes of proposals: those that are as good as the same design, and what share of the proposals each holds.

How often a class was proposed is what tells how sure its author is (llome.leon.certainty), so proposals are counted with their repeats.
"""

from __future__ import annotations

import numpy as np

from llome.errors import ConfigError
from llome.tables import row_keys


def equal_rows(sequences: np.ndarray) -> np.ndarray:
    """(N, L) integers -> (N,) int64 class of each: equal rows are one class, numbered in the order of their first."""
    _, first, inverse = np.unique(row_keys(sequences), return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def near_rows(sequences: np.ndarray, radius: int) -> np.ndarray:
    """(N, L) integers -> (N,) int64 class of each: within `radius` substitutions of the row that founded the class.

    Rows found classes in their order, so what comes first (the likeliest, the best) is a centre; a row joins the first class that it is
    near to. Radius 0 is `equal_rows`. Memory is N x L; time N x L x classes.
    """
    if radius < 0:
        raise ConfigError(f"the radius of a class is {radius}; it must be at least 0")
    distinct = equal_rows(sequences)
    if radius == 0:
        return distinct
    _, rows = np.unique(distinct, return_index=True)
    unique = sequences[rows]
    found = np.full(len(unique), -1, dtype=np.int64)
    classes = 0
    while (free := np.flatnonzero(found < 0)).size:
        near = (unique[free] != unique[free[0]]).sum(axis=1) <= radius
        found[free[near]] = classes
        classes += 1
    return found[distinct]


def near_points(points: np.ndarray, classes: int, *, random_seed: int) -> np.ndarray:
    """(N, D) designs -> (N,) int64 class of each, by k-means with at most `classes` centres (fewer where fewer points differ)."""
    from sklearn.cluster import KMeans

    if classes < 1:
        raise ConfigError(f"the number of classes is {classes}; it must be at least 1")
    different = len(np.unique(points, axis=0))
    means = KMeans(min(classes, different), n_init=4, random_state=random_seed % 2**32)
    return np.asarray(means.fit_predict(np.asarray(points, dtype=np.float64)), dtype=np.int64)


def occupancy(classes: np.ndarray) -> np.ndarray:
    """(N,) classes 0..K-1 -> (K,) int64 how many proposals each holds, all of them above 0."""
    return np.bincount(classes)


def best_of(values: np.ndarray, classes: np.ndarray) -> np.ndarray:
    """(N,) values of proposals -> (K,) the best of each class: what stands for it (Lemma 4.2)."""
    best = np.full(int(classes.max(initial=-1)) + 1, -np.inf)
    np.maximum.at(best, classes, values)
    return best
