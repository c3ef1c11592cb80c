"""Edited copies where lengths differ: all kinds of edits at the asked rate, and lengths that the problem has."""

from __future__ import annotations

import numpy as np
import pytest
from lengths import draw_sequences

from llome.data.copies import copies_with_edits
from llome.distances import edit_distances, sequence_lengths
from llome.domain import Domain


@pytest.mark.parametrize("shortest", [1, 8, 19])
def test_copies_keep_to_the_lengths_and_differ_by_a_few_edits(shortest):
    domain = Domain(20, 20, "", shortest=shortest)
    sequences = draw_sequences(200, domain)
    everything, examples = copies_with_edits(sequences, 5000, domain=domain, edit_rate=0.08, random_seed=3)
    np.testing.assert_array_equal(everything[:200], sequences)
    sources, copies = everything[examples.sources], everything[examples.targets[:, 0]]
    lengths = sequence_lengths(copies)
    assert ((lengths >= shortest) & (lengths <= 20)).all()
    np.testing.assert_array_equal(copies >= 0, np.arange(20) < lengths[:, None])
    assert copies.max() < 20
    apart = edit_distances(sources, copies)
    expected = (
        0.08 * sequence_lengths(sources).mean() * (1 - 0.5 / 20)
    )  # half are redrawn, one in 20 of these as they were
    assert apart.mean() == pytest.approx(expected, rel=0.05)
    again = copies_with_edits(sequences, 5000, domain=domain, edit_rate=0.08, random_seed=3)[0]
    np.testing.assert_array_equal(again, everything)
    fewer = copies_with_edits(sequences, 300, domain=domain, edit_rate=0.08, random_seed=3)[0]
    np.testing.assert_array_equal(fewer, everything[:500])  # keyed by pair


def test_insertions_come_at_both_ends_and_nothing_is_edited_at_rate_0():
    domain = Domain(4, 9, "", shortest=1)
    sequences = np.array([[1, 1, 1, 1, 1, -1, -1, -1, -1]])
    everything, examples = copies_with_edits(sequences, 4000, domain=domain, edit_rate=0.1, random_seed=0)
    copies = everything[examples.targets[:, 0]]
    lengths = sequence_lengths(copies)
    assert set(lengths.tolist()) >= {3, 4, 5, 6, 7}
    longer = copies[(lengths == 6) & ((copies == 1).sum(axis=1) == 5)]
    assert {int((row[:6] != 1).argmax()) for row in longer} == {0, 1, 2, 3, 4, 5}
    assert lengths.mean() == pytest.approx(5, abs=0.05)  # as many out as in
    same = copies_with_edits(sequences, 10, domain=domain, edit_rate=0.0, random_seed=0)[0]
    assert (same == sequences).all()
    redrawn = copies_with_edits(sequences, 100, domain=domain, edit_rate=1.0, random_seed=0)[0]
    assert ((redrawn >= 0).sum(axis=1) >= 1).all()
