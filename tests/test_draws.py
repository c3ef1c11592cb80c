"""Keyed draws: uniform, independent of order and shape, and the published splitmix64."""

import numpy as np

from llome.draws import row_keys, uniforms


def test_splitmix64_reference_stream():
    # First outputs of splitmix64 seeded with 1234567, as printed with the reference C code (prng.di.unimi.it).
    expected = np.array([6457827717110365317, 3203168211198807973, 9817491932198370423], dtype=np.uint64)
    drawn = uniforms(np.array([1234567], dtype=np.uint64), 3)
    np.testing.assert_array_equal(drawn[0], (expected >> np.uint64(11)).astype(np.float64) * 2.0**-53)


def test_uniform_and_uncorrelated():
    drawn = uniforms(row_keys(3, np.arange(2000)), 50)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    assert abs(drawn.mean() - 0.5) < 4 * np.sqrt(1 / 12 / drawn.size)
    counts, _ = np.histogram(drawn, bins=100, range=(0, 1))
    assert ((counts - 1000) ** 2 / 1000).sum() < 99 + 5 * np.sqrt(2 * 99)  # chi-square, five sigma
    assert abs(np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1]) < 0.1
    assert abs(np.corrcoef(drawn[:-1, 0], drawn[1:, 0])[0, 1]) < 0.1


def test_a_draw_depends_on_its_coordinates_alone():
    seeds, steps = np.arange(5)[:, None], np.arange(4)[None]
    grid = row_keys(7, seeds, steps)
    assert grid.shape == (5, 4)
    assert grid[3, 2] == row_keys(7, 3, 2)[0]
    assert (
        len(
            np.unique(
                np.concatenate([grid.ravel(), row_keys(8, seeds, steps).ravel(), row_keys(7, steps.T, seeds.T).ravel()])
            )
        )
        > 40
    )
    np.testing.assert_array_equal(uniforms(grid, 9)[..., :4], uniforms(grid, 4))
