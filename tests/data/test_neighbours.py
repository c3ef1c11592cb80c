"""Exactness, the tie-break, and independence of the block size."""

import numpy as np
import pytest

from llome.data.neighbours import find_neighbours


def clustered(total, length, states, seed=0):
    rng = np.random.default_rng(seed)
    base = rng.integers(states, size=(5, length))
    rows = base[rng.integers(5, size=total)]
    return np.where(rng.random(rows.shape) < 0.15, rng.integers(states, size=rows.shape), rows).astype(np.int16)


@pytest.mark.parametrize(
    ("total", "length", "states", "k"),
    [(40, 7, 2, 5), (300, 32, 32, 30), (200, 33, 8, 3), (150, 128, 500, 10), (2500, 16, 4, 30)],
)
def test_are_the_nearest_by_brute_force(total, length, states, k):
    sequences = clustered(total, length, states)
    indices, distances = find_neighbours(sequences, k, random_seed=3)
    all_distances = (sequences[:, None] != sequences[None]).sum(axis=2)
    np.testing.assert_array_equal(np.take_along_axis(all_distances, indices, axis=1), distances)
    np.fill_diagonal(all_distances, length + 1)
    np.testing.assert_array_equal(np.sort(all_distances, axis=1)[:, :k], distances)
    assert (indices != np.arange(total)[:, None]).all()
    assert all(len(set(row)) == k for row in indices.tolist())


def test_block_size_changes_nothing():
    sequences = clustered(700, 12, 4)
    expected = find_neighbours(sequences, 9, random_seed=2**62 + 5)
    for block in (1, 5000, 10**9):
        for got, want in zip(
            find_neighbours(sequences, 9, random_seed=2**62 + 5, block_elements=block), expected, strict=True
        ):
            np.testing.assert_array_equal(got, want)


def test_ties_are_the_stated_rule():
    sequences = np.eye(50, dtype=np.int16)  # every two rows differ in two positions: ties only
    indices, distances = find_neighbours(sequences, 4, random_seed=11)
    rng = np.random.default_rng([11, 0])
    rank = np.argsort(rng.permutation(50))
    offsets = rng.integers(0, 50, size=50)
    for row in range(50):
        priority = (rank - offsets[row]) % 50
        priority[row] = 99
        assert indices[row].tolist() == np.argsort(priority)[:4].tolist()
    assert (distances == 2).all()


def test_ties_favour_no_row_and_follow_the_seed():
    sequences = np.eye(200, dtype=np.int16)
    popularity = np.zeros(200)
    for seed in range(20):
        popularity += np.bincount(find_neighbours(sequences, 10, random_seed=seed)[0].reshape(-1), minlength=200)
    assert popularity.sum() == 20 * 200 * 10
    assert popularity.min() > 120
    assert popularity.max() < 280  # 200 expected
    one, again, other = (find_neighbours(sequences, 10, random_seed=s)[0] for s in (1, 1, 2))
    assert (one == again).all()
    assert (one != other).any()


def test_few_rows():
    sequences = np.array([[0, 1], [0, 2], [3, 3]])
    indices, distances = find_neighbours(sequences, 30, random_seed=0)
    assert indices.shape == (3, 2)
    assert indices[2].tolist() != []
    assert distances.tolist() == [[1, 2], [1, 2], [2, 2]]
    assert find_neighbours(sequences[:1], 30, random_seed=0)[0].shape == (1, 0)
