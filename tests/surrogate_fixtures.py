"""Labelled tables of a small problem, a fit of seconds and what judges share, for what fits or searches a surrogate."""

import numpy as np

from llome.domain import Domain
from llome.tables import Labeled, Meta

DOMAIN = Domain(6, 8, "a" * 16)
FIT = ("--members=2", "--filters=8", "--first_steps=30", "--steps=10", "--batch_size=16")


def write_labeled(path, seed, *, domain=DOMAIN, spent=100, infeasible=False):
    rows = np.unique(np.random.default_rng(seed).integers(0, 6, (60, 8)), axis=0).astype(np.int16)
    score = (rows == 2).mean(axis=1)
    if infeasible:
        score[:] = -np.inf
    else:
        score[::7] = -np.inf
    n = len(rows)
    Labeled(
        meta=Meta(domain, spent=spent),
        sequence=rows,
        score=score,
        query=np.arange(n),
        round=np.ones(n, np.int32),
        origin=np.array(["ga"] * n, dtype=object),
    ).write(path)
    return rows


def swap_each(sequences: np.ndarray, elements: np.ndarray) -> np.ndarray:
    """(N, L) sequences -> (N * L, L), each place's element swapped for that of (N, L) `elements`."""
    length = sequences.shape[1]
    swapped = np.repeat(sequences, length, axis=0)
    swapped[np.arange(len(swapped)), np.tile(np.arange(length), len(sequences))] = elements.ravel()
    return swapped


class SwapsOneByOne:
    """What a judge that scores whole sequences says of swaps."""

    def score_swaps(self, member: int, sequences: np.ndarray, elements: np.ndarray) -> np.ndarray:
        return self.score(member, swap_each(sequences, elements)).reshape(sequences.shape)
