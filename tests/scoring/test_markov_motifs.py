"""The parts of an Ehrlich function, by properties that the paper states."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from llome.errors import OracleError
from llome.scoring import markov, motifs


@pytest.mark.parametrize("size", [3, 4, 5, 8, 20, 33])
def test_transition_matrix(size):
    matrix = markov.draw_transition_matrix(size, torch.Generator().manual_seed(size)).numpy()
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-6)
    assert (np.diag(matrix) > 0).all()
    band = 2 * markov.bandwidth(size) + 1
    allowed = (matrix > 0).sum(axis=1)
    assert ((allowed == min(band, size)) | (allowed == band + 1)).all()
    assert markov.is_irreducible(matrix)


def test_stationary_distribution():
    matrix = markov.draw_transition_matrix(16, torch.Generator().manual_seed(0))
    found = markov.stationary_distribution(matrix).numpy().astype(np.float64)
    expected = np.linalg.matrix_power(matrix.numpy().astype(np.float64), 400)[0]
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_chain_follows_the_matrix():
    matrix = torch.tensor([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    start = markov.stationary_distribution(matrix)
    chain = markov.sample_chain(matrix, start, 6000, torch.Generator().manual_seed(1))
    counts = np.zeros((3, 3))
    np.add.at(counts, (chain[:-1], chain[1:]), 1)
    np.testing.assert_allclose(counts / counts.sum(axis=1, keepdims=True), matrix.numpy(), atol=0.04)
    assert (counts[matrix.numpy() == 0] == 0).all()
    np.testing.assert_allclose(np.bincount(chain) / 6000, start.numpy(), atol=0.04)


def test_no_stationary_distribution():
    with pytest.raises(OracleError, match="3 states has no stationary"):
        markov.stationary_distribution(torch.full((3, 3), torch.nan))


def test_irreducible():
    assert not markov.is_irreducible(np.array([[1.0, 0.0], [0.5, 0.5]]))
    ring = np.eye(9) * 0.5 + np.roll(np.eye(9), 1, axis=1) * 0.5  # the far side is 8 steps away
    assert markov.is_irreducible(ring)


def test_forbidden():
    forbidden = np.array([[False, True], [False, False]])
    columns = np.array([[0, 0, 1], [0, 1, 0], [1, 1, 0], [1, 0, 0]], dtype=np.uint8).T
    np.testing.assert_array_equal(markov.has_forbidden(columns, forbidden), [True, True, False, False])


def test_spacings_share_the_slack():
    generator = torch.Generator().manual_seed(0)
    drawn = np.array([motifs.draw_spacing(4, 10, generator) for _ in range(300)])
    assert drawn.min() >= 1
    assert (drawn.sum(axis=1) <= 3 + 10).all()
    assert (drawn.sum(axis=1) >= 3 + 8).all()  # each of three roundings loses less than one
    np.testing.assert_allclose(drawn.mean(axis=0), drawn.mean(), atol=0.3)
    assert motifs.draw_spacing(2, 5, generator).tolist() == [6]


def test_responses():
    np.testing.assert_allclose(motifs.responses(4, 4, 0.0), [0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(motifs.responses(4, 2, 0.0), [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(motifs.responses(4, 3, 0.0), [0, 0, 0.5, 0.5, 1])
    np.testing.assert_allclose(motifs.responses(4, 4, 0.5), [0, 0.25 * 0.90625, 0.5 * 0.875, 0.75 * 0.90625, 1])


def test_best_matches_and_placing():
    columns = np.array([[1, 9, 2, 1, 3, 2], [9, 9, 9, 9, 9, 9], [9, 9, 9, 9, 1, 9]], dtype=np.uint8).T
    found = motifs.best_matches(columns, np.array([1, 2], dtype=np.uint8), np.array([0, 2]))
    assert found.tolist() == [2, 0, 0]  # a 1 at position 4 would need position 6
    placed = motifs.place_end_to_end(np.array([[0, 3], [1, 2]]), np.array([[3], [3]]), 8)
    assert placed.tolist() == [0, 0, 0, 3, 1, 1, 1, 2]  # the paper's example, Eqs. 14-16


def test_long_motifs_do_not_overflow():
    motif = np.ones(300, dtype=np.uint8)
    assert motifs.best_matches(np.ones((300, 1), dtype=np.uint8), motif, np.arange(300)).tolist() == [300]
