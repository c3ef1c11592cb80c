"""What keeps the limits, and what is taken back so that it does."""

from __future__ import annotations

import numpy as np
import pytest
from lengths import draw_sequences, edit_distance, plain

from llome.domain import Domain
from llome.limits import keeps_limits, within_limits

FIXED = [
    {"protected": (0, 2, 3)},
    {"max_edits": 1},
    {"max_edits": 3, "protected": (5,)},
    {"max_edits": 2, "wild_type": (0, 1, 2, 3, 0, 1), "edits_from": "wild_type"},
    {"max_edits": 2, "wild_type": (0, 1, 2, 3, 0, 1)},
    {"protected": (0, 1, 2, 3, 4)},
]


@pytest.mark.parametrize("settings", FIXED)
def test_too_many_edits_are_taken_back_and_no_more_than_these(settings):
    domain = Domain(4, 6, "", **settings)
    rows, sources = draw_sequences(500, domain), draw_sequences(500, domain, seed=1)
    if domain.edits_from == "wild_type":  # its protected positions can be kept only if they are the wild type's
        sources[:] = domain.wild_type
    kept = keeps_limits(rows, sources, domain)
    assert not kept.all()
    found = within_limits(rows, sources, domain, np.random.default_rng(0))
    assert keeps_limits(found, sources, domain).all()
    np.testing.assert_array_equal(found[kept], rows[kept])
    assert ((found == rows) | (found == sources)).all()
    changed = (found != sources).sum(axis=1)
    free = (rows != sources)[:, [place for place in range(6) if place not in domain.protected]].sum(axis=1)
    np.testing.assert_array_equal(changed, np.minimum(free, domain.max_edits or 6))
    if domain.max_edits is not None and not domain.protected:
        assert len(set(map(tuple, (found != sources).tolist()))) >= 6  # which stay is drawn


def test_protected_elements_that_differ_from_the_wild_type_are_edits():
    domain = Domain(4, 4, "", protected=(0,), max_edits=1, wild_type=(0, 0, 0, 0), edits_from="wild_type")
    source = np.array([[1, 0, 0, 0]])
    found = within_limits(np.array([[2, 3, 3, 3]]), source, domain, np.random.default_rng(0))
    assert found.tolist() == [[1, 0, 0, 0]]
    assert keeps_limits(found, source, domain).all()


@pytest.mark.parametrize(
    "settings", [{"max_edits": 1}, {"max_edits": 4, "wild_type": (0, 1, 2), "edits_from": "wild_type"}]
)
def test_where_lengths_differ_edits_are_counted(settings):
    domain = Domain(4, 6, "", shortest=1, **settings)
    rows, sources = draw_sequences(300, domain), draw_sequences(300, domain, seed=1)
    sources[:100] = rows[:100]
    sources[:100, 0] = 3 - rows[:100, 0]
    from_ = [plain(row) if domain.edits_from == "parent" else list(domain.wild_type) for row in sources]
    expected = [
        edit_distance(plain(row), reference) <= domain.max_edits for row, reference in zip(rows, from_, strict=True)
    ]
    assert keeps_limits(rows, sources, domain).tolist() == expected
    assert 0 < sum(expected) < 300
    assert within_limits(rows, sources, domain, np.random.default_rng(0)) is rows
    assert keeps_limits(rows[:0], sources[:0], domain).tolist() == []
