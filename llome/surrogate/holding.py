"""Which labels a fit does not see: whole clusters.

Designs that are labelled one after the other are alike, so a fit is not judged on rows drawn at random, whose neighbours it has seen.
Half of what is held out says when to stop and how far the members' spread is an error; the other half, which nothing was chosen by, says
how good the ranks and the errors are (llome.surrogate.predicting).
"""

from __future__ import annotations

import numpy as np

from llome.provenance import derive_seed

CELLS = 40
"""Clusters that labels are split into before some are held out."""
MOST_HELD_OUT = 4000
"""Rows held out are no more than these."""
LEAST_ROWS = 50
"""Rows with a score, below which none is held out."""


def cells(rows: np.ndarray, *, random_seed: int) -> np.ndarray:
    """(N, D) designs -> (N,) int64 cluster of each: the nearest of some rows drawn at random (integers: by substitutions)."""
    rng = np.random.default_rng(derive_seed(random_seed, "surrogate", "cells"))
    centres = np.unique(rows[rng.choice(len(rows), size=min(CELLS, len(rows)), replace=False)], axis=0)
    integers = np.issubdtype(rows.dtype, np.integer)
    nearest, least = np.zeros(len(rows), dtype=np.int64), np.full(len(rows), np.inf)
    for number, centre in enumerate(centres):  # 40 at most
        apart = (rows != centre).sum(axis=1) if integers else np.square(rows - centre).sum(axis=1)
        closer = apart < least
        nearest[closer], least[closer] = number, apart[closer]
    return nearest


def hold_out(
    groups: np.ndarray, scores: np.ndarray, share: float, *, random_seed: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rows to fit to, rows to stop and calibrate by, rows to judge by; no group has rows in two of them.

    Args:
        groups: (N,) cluster of each row.
        scores: (N,), -inf infeasible.
        share: of the rows to hold out, in (0, 1); none are where fewer than `LEAST_ROWS` have a score or no group can be spared.
        random_seed: of the order in which groups are drawn.
    """
    everything, none = np.arange(len(groups)), np.empty(0, dtype=np.int64)
    finite = np.isfinite(scores)
    rng = np.random.default_rng(derive_seed(random_seed, "surrogate", "held out"))
    names, sizes = np.unique(groups, return_counts=True)
    held: tuple[list[int], list[int]] = ([], [])
    rows = [0, 0]
    wanted = min(share * len(groups), MOST_HELD_OUT) / 2
    for pick in rng.permutation(len(names)):
        side = int(rows[1] < rows[0])
        if rows[side] + sizes[pick] <= 1.5 * wanted and rows[side] < wanted:
            held[side].append(names[pick])
            rows[side] += int(sizes[pick])
    stop, judge = (np.flatnonzero(np.isin(groups, side)) for side in held)
    kept = np.flatnonzero(~np.isin(groups, held[0] + held[1]))
    enough = finite.sum() >= LEAST_ROWS and min(finite[stop].sum(), finite[judge].sum()) >= 5
    if not enough or not finite[kept].any():
        return everything, none, none
    return kept, stop, judge
