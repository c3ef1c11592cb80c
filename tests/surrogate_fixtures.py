"""Labelled tables of a small problem, and a fit of seconds, for what fits or searches a surrogate."""

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
