"""What children are made of, and that runs are redrawn over seen transitions, each path where there is one."""

import numpy as np

from llome.surrogate.variation import Pool, children, fill, move_elements, redraw_runs

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


def test_what_is_free_is_filled_with_every_path_and_nothing_else():
    rng = np.random.default_rng(0)
    seen = np.zeros((4, 4), dtype=bool)
    seen[[0, 0, 1, 1, 2, 3, 3], [1, 2, 3, 0, 3, 0, 3]] = True
    row, free = np.array([0, 1, 3, 3, 0], dtype=np.int16), np.array([False, True, False, True, True])
    filled, found = fill(np.tile(row, (2000, 1)), np.tile(free, (2000, 1)), seen, rng)
    assert found.all()
    every = np.stack(np.unravel_index(np.arange(4**5), (4,) * 5), axis=1)
    expected = every[seen[every[:, :-1], every[:, 1:]].all(axis=1) & (every == row)[:, ~free].all(axis=1)]
    assert set(map(tuple, filled.tolist())) == set(map(tuple, expected.tolist()))
    blocked = np.array(
        [[0, 1, 2, 3, 0]], dtype=np.int16
    )  # nothing leads from 0 to 2 in two steps but 1, and not 1 to 2
    assert not fill(blocked, np.array([[False, True, False, False, False]]), seen, rng)[1].any()


def test_elements_are_moved_through_the_gaps_of_others():
    """Two patterns in each other's gaps, 1 _ 1 and 2 _ 2 _ 2: all that matters keeps its element, and the two come apart."""
    rng = np.random.default_rng(0)
    row = np.array([0, 0, 0, 1, 2, 1, 2, 0, 2, 0, 0, 0], dtype=np.int16)
    rows = np.tile(row, (20_000, 1))
    found, matters = move_elements(rows, rows > 0, np.ones((3, 3), dtype=bool), rng)
    moved = (matters != (rows > 0)).any(axis=1)
    assert 0.05 < moved.mean() < 0.9
    assert (found[~moved] == row).all()
    for value, elements in ((1, 2), (2, 3)):
        assert ((found == value) & matters).sum(axis=1).tolist() == [elements] * len(rows)
    first, second = ([tuple(np.flatnonzero((r == v) & m)) for r, m in zip(found, matters, strict=True)] for v in (1, 2))
    pairs = set(zip(first, second, strict=True))
    assert ((1, 3), (4, 6, 8)) in pairs  # the first two places on, the second where it was
    assert ((3, 5), (7, 9, 11)) in pairs


def test_moves_keep_to_seen_transitions():
    rng = np.random.default_rng(0)
    seen = rng.random((V, V)) < 0.5
    seen[np.arange(V), (np.arange(V) + 1) % V] = True
    rows = np.empty((3000, L), dtype=np.int16)
    rows[:, 0] = rng.integers(0, V, len(rows))
    for place in range(1, L):
        rows[:, place] = np.where(seen[rows[:, place - 1]], rng.random((len(rows), V)), -1).argmax(axis=1)
    matters = rng.random(rows.shape) < 0.3
    found, kept = move_elements(rows, matters, seen, rng)
    assert seen[found[:, :-1], found[:, 1:]].all()
    assert (kept.sum(axis=1) == matters.sum(axis=1)).all()
    assert (found != rows).any(axis=1).mean() > 0.05


def test_elements_are_copied_to_where_nothing_matters_and_one_is_redrawn():
    """1 2 2 1 at the first places: its copies stand behind it, three in four elements as they were, and it stays."""
    rng = np.random.default_rng(0)
    row = np.array([1, 2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0], dtype=np.int16)
    rows = np.tile(row, (20_000, 1))
    found, matters = move_elements(rows, rows > 0, np.ones((3, 3), dtype=bool), rng, copy=True)
    assert (found[:, :4] == row[:4]).all()
    assert matters[:, :4].all()
    whole = matters[:, 4:].sum(axis=1) == 3  # a copy of all four, one of which is to be anything
    assert 0.1 < whole.mean() < 0.4
    copies = {(tuple(r), tuple(m)) for r, m in zip(found[whole, 4:].tolist(), matters[whole, 4:].tolist(), strict=True)}
    held = {tuple(r if m else None for r, m in zip(*pair, strict=True)) for pair in copies}
    assert (1, None, 2, 1, None, None, None, None) in held
    assert (None, None, None, None, None, 2, 2, 1) in held
    assert not (matters & (found == 0)).any()


def test_nothing_is_moved_where_there_is_no_room_or_nothing_matters():
    rows = np.tile(np.arange(L, dtype=np.int16) % 3, (200, 1))
    for matters in (np.ones(rows.shape, dtype=bool), np.zeros(rows.shape, dtype=bool)):
        for copy in (False, True):
            found, kept = move_elements(rows, matters, np.ones((3, 3), dtype=bool), np.random.default_rng(0), copy=copy)
            assert (kept.sum(axis=1) == matters.sum(axis=1)).all()
            if copy or not matters.any():
                assert (found == rows).all()
