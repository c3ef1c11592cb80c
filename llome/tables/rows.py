"""Rows of sequences and scores: which are equal, which are best, and what counts as the lowest."""

from __future__ import annotations

import numpy as np


def row_keys(sequences: np.ndarray) -> np.ndarray:
    """(N, L) integers -> (N,) opaque keys that compare as the rows do; for unique, isin and the like."""
    rows = np.ascontiguousarray(sequences, dtype=">u2")
    return rows.view(np.dtype((np.void, rows.shape[1] * 2))).reshape(-1)


def lowest_value(scores: np.ndarray) -> float:
    """What an infeasible sequence counts as: 0 (below Eq. 9), or the lowest of the (N,) scores, should that lie below 0."""
    return float(scores[np.isfinite(scores)].min(initial=0.0))


def best_rows(score: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """Rows of the `count` best scores, best first; equal ones in the order of their labelling."""
    return np.lexsort((query, -score))[:count]
