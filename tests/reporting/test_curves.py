from __future__ import annotations

import numpy as np
import pytest

from llome.domain import Domain
from llome.reporting.curves import (
    Steps,
    average_rounds,
    average_steps,
    best_so_far,
    first_above,
    mean_and_error,
    zero_infeasible,
)
from llome.tables import Labeled, Meta

INFEASIBLE = -np.inf


def labeled(scores: list[float], queries: list[int], spent: int, start: int = 0) -> Labeled:
    n = len(scores)
    sequence = np.array([np.base_repr(start + i, 5).zfill(3) for i in range(n)])
    return Labeled(
        Meta(Domain(5, 3, "oracle"), spent=spent),
        np.array([[int(c) for c in s] for s in sequence], dtype=np.int16).reshape(n, 3),
        np.array(scores, dtype=np.float64),
        np.array(queries, dtype=np.int64),
        np.ones(n, dtype=np.int32),
        np.array(["ga"] * n, dtype=object),
    )


def test_best_so_far_counts_repeats_or_numbers_distinct_sequences() -> None:
    # 10 calls, 4 different sequences; the rows of a table come in any order
    seed = labeled([0.25, INFEASIBLE, 0.5, 0.25], [3, 0, 7, 4], spent=10)
    later = labeled([0.4, 0.9], [10, 11], spent=12, start=4)
    counted = best_so_far([seed, later], distinct=False)
    assert (counted.x.tolist(), counted.y.tolist(), counted.end) == ([1, 4, 8, 12], [0.0, 0.25, 0.5, 0.9], 12)
    distinct = best_so_far([seed, later], distinct=True)
    assert (distinct.x.tolist(), distinct.y.tolist(), distinct.end) == ([1, 2, 4, 6], [0.0, 0.25, 0.5, 0.9], 6)


def test_a_curve_says_nothing_before_its_start_or_beyond_its_end_unless_final() -> None:
    curve = Steps(np.array([2, 5]), np.array([0.1, 1.0]), 6)
    np.testing.assert_array_equal(curve.at(np.array([1, 2, 4.9, 5, 6, 7])), [np.nan, 0.1, 0.1, 1.0, 1.0, np.nan])
    assert Steps(curve.x, curve.y, 6, final=True).at(100.0) == 1.0


def test_mean_of_curves_covers_what_all_cover() -> None:
    a = Steps(np.array([1, 3]), np.array([0.0, 0.4]), 6)
    b = Steps(np.array([1, 4]), np.array([0.2, 0.6]), 5)
    band = average_steps([a, b])
    assert band.x.tolist() == [1, 3, 4, 5]
    np.testing.assert_allclose(band.mean, [0.1, 0.3, 0.5, 0.5])
    # two values at distance .2: standard deviation .1 sqrt 2, standard error .1
    np.testing.assert_allclose(band.two_se, [0.2, 0.2, 0.2, 0.2])


def test_a_replicate_that_found_the_optimum_holds_it_in_the_mean() -> None:
    solved = Steps(np.array([1, 3]), np.array([0.0, 1.0]), 3, final=True)
    going = Steps(np.array([1, 8]), np.array([0.0, 0.5]), 8)
    band = average_steps([solved, going])
    assert band.x.tolist() == [1, 3, 8]
    np.testing.assert_allclose(band.mean, [0.0, 0.5, 0.75])
    assert average_steps([solved, Steps(solved.x, solved.y, 9, final=True)]).x[-1] == 9


def test_rounds_average_over_the_replicates_that_have_them() -> None:
    band = average_rounds([(np.array([10, 20]), np.array([0.5, 0.3])), (np.array([12]), np.array([0.7]))])
    assert band.x.tolist() == [11, 20]
    np.testing.assert_allclose(band.mean, [0.6, 0.3])
    np.testing.assert_allclose(band.two_se, [0.2, np.nan])


def test_first_above() -> None:
    band = average_steps([Steps(np.array([1, 5, 9]), np.array([0.0, 0.25, 0.5]), 10)])
    assert first_above(band, 0.25) == 9
    assert first_above(band, 0.5) is None


def test_mean_and_error() -> None:
    mean, error = mean_and_error(zero_infeasible(np.array([INFEASIBLE, 0.5, 1.0])))
    assert mean == pytest.approx(0.5)
    assert error == pytest.approx(0.5 / np.sqrt(3))
    assert mean_and_error(np.array([0.5])) == (0.5, None)
    assert mean_and_error(np.array([])) == (None, None)
