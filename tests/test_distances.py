"""Edit distances against the plain table, and which distance a setting means."""

from __future__ import annotations

import numpy as np
import pytest
from lengths import draw_sequences, edit_distance, plain

from llome.distances import (
    all_edit_distances,
    as_texts,
    choose_distance,
    distances,
    edit_distances,
    first_apart,
    longer,
)
from llome.domain import Domain
from llome.errors import ConfigError


@pytest.mark.parametrize(("states", "length", "shortest"), [(2, 9, 1), (20, 12, 8), (500, 130, 100), (32_000, 5, 1)])
def test_edit_distances_are_the_plain_tables(states: int, length: int, shortest: int) -> None:
    domain = Domain(states, length, "", shortest=shortest)
    one, other = draw_sequences(60, domain), draw_sequences(60, domain, seed=1)
    other[::3] = one[::3]
    other[::3, 0] = (one[::3, 0] + 1) % states
    expected = [edit_distance(plain(a), plain(b)) for a, b in zip(one, other, strict=True)]
    np.testing.assert_array_equal(edit_distances(one, other), expected)
    np.testing.assert_array_equal(distances(one, other, domain), expected)
    table = all_edit_distances(as_texts(one), as_texts(other))
    np.testing.assert_array_equal(np.diagonal(table), expected)
    capped = all_edit_distances(as_texts(one), as_texts(other), most=3)
    np.testing.assert_array_equal(capped, np.minimum(table, 4))
    expected = [max(len(plain(a)), len(plain(b))) for a, b in zip(one, other, strict=True)]
    np.testing.assert_array_equal(longer(one, other), expected)


def test_one_length_has_hammings() -> None:
    one, other = np.array([[0, 1, 2, 3]]), np.array([[1, 2, 3, 0]])
    assert distances(one, other, Domain(4, 4, ""))[0] == 4
    assert distances(one, other, Domain(4, 4, "", shortest=1))[0] == 2
    assert len(edit_distances(one[:0], other[:0])) == 0


def test_the_setting() -> None:
    fixed, differing = Domain(4, 4, ""), Domain(4, 4, "", shortest=2)
    assert [choose_distance(setting, fixed) for setting in (None, "hamming", "edit")] == ["hamming", "hamming", "edit"]
    assert [choose_distance(setting, differing) for setting in (None, "edit")] == ["edit", "edit"]
    with pytest.raises(ConfigError, match=r"lengths 2 to 4.*set distance to edit"):
        choose_distance("hamming", differing)


@pytest.mark.parametrize("edits", [False, True])
def test_the_first_that_keep_their_distance_are_those_of_the_definition(edits: bool) -> None:
    rows = np.random.default_rng(0).integers(0, 3, (60, 6))
    rows[30:40] = rows[:10]
    for least, count in ((1, 100), (1, 7), (2, 100), (4, 9), (7, 5)):
        expected: list[int] = []
        for row in range(len(rows)):
            if len(expected) < count and all(
                (edit_distance(plain(rows[row]), plain(rows[other])) if edits else (rows[row] != rows[other]).sum())
                >= least
                for other in expected
            ):
                expected.append(row)
        assert first_apart(rows, count, least, edits=edits).tolist() == expected
    assert first_apart(rows[:0], 3, 2, edits=edits).tolist() == []
