"""What children are made of, and that runs are redrawn over seen transitions, each path where there is one."""

import numpy as np

from llome.surrogate.variation import Pool, children, redraw_runs

V, L = 5, 12


def test_children_have_their_parents_ancestors():
    sources = np.arange(30)[:, None].repeat(L, axis=1).astype(np.int16)
    pool, only = Pool(np.random.default_rng(0).integers(0, V, (30, L)).astype(np.int16), sources), np.zeros(30)
    only[[4, 7]] = 0.5
    kids = children(pool, only, 2000, seen=np.ones((V, V), dtype=bool), rng=np.random.default_rng(0))
    assert len(kids) == 2000
    assert set(kids.sources[:, 0].tolist()) == {4, 7}


def test_a_part_is_moved_rotated_and_redrawn():
    """A sequence without repeats shows what was done to it."""
    rows = np.arange(8, dtype=np.int16)[None]
    kids = children(
        Pool(rows, rows), np.ones(1), 20000, seen=np.ones((8, 8), dtype=bool), rng=np.random.default_rng(0)
    ).sequences
    found = {tuple(kid) for kid in kids.tolist()}
    assert (0, 2, 3, 4, 1, 5, 6, 7) in found  # an element deleted, the rest moves up, and inserted again
    assert (0, 4, 1, 2, 3, 5, 6, 7) in found
    assert (0, 1, 0, 1, 2, 3, 6, 7) in found  # four elements copied two places on
    assert (0, 1, 2, 3, 4, 5, 6, 0) in found  # one redrawn
    changed = (kids != rows).sum(axis=1)
    assert changed.max() == 8
    assert 0.05 < (changed == 0).mean() < 0.12  # parts of the only parent, put back where they were


def test_runs_are_redrawn_over_seen_transitions():
    rng = np.random.default_rng(0)
    seen = rng.random((V, V)) < 0.4
    seen[np.arange(V), (np.arange(V) + 1) % V] = True  # a cycle, so that every element has one behind it
    rows = np.empty((20_000, L), dtype=np.int16)
    rows[:, 0] = rng.integers(0, V, len(rows))
    for place in range(1, L):
        rows[:, place] = np.where(seen[rows[:, place - 1]], rng.random((len(rows), V)), -1).argmax(axis=1)
    assert not seen.all()
    found = redraw_runs(rows, seen, rng)
    assert seen[found[:, :-1], found[:, 1:]].all()
    changed = found != rows
    first, last = changed.argmax(axis=1), L - 1 - changed[:, ::-1].argmax(axis=1)
    lengths = (last - first + 1)[changed.any(axis=1)]
    assert lengths.min() == 1
    assert lengths.max() == L // 2
    assert changed.any(axis=0).all()  # both ends too


def test_every_path_is_drawn_and_nothing_else():
    """All feasible sequences of six elements that differ from the first in a run of at most three."""
    seen = np.zeros((5, 5), dtype=bool)
    seen[[0, 0, 0, 1, 1, 2, 2, 3, 3], [1, 2, 4, 3, 2, 3, 1, 0, 3]] = True  # 4 leads nowhere
    row = np.array([3, 0, 1, 3, 0, 2], dtype=np.int16)
    found = {tuple(kid) for kid in redraw_runs(np.tile(row, (5000, 1)), seen, np.random.default_rng(0)).tolist()}
    every = np.stack(np.unravel_index(np.arange(5**6), (5,) * 6), axis=1)
    changed = every != row
    span = np.where(changed.any(axis=1), 6 - changed.argmax(axis=1) - changed[:, ::-1].argmax(axis=1), 0)
    expected = every[seen[every[:, :-1], every[:, 1:]].all(axis=1) & (span <= 3)]
    assert found == set(map(tuple, expected.tolist()))
    assert len(found) > 20
