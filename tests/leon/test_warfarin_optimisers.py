"""Gradient ascent and Bayesian optimisation where the optimum is known, and what the table makes of doses."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from llome.errors import ConfigError
from llome.leon.ascent import gradient_ascent
from llome.leon.bayesian import bayesian_optimisation, load_botorch
from llome.leon.warfarin import NOTICE
from llome.leon.warfarin.table import Doses, mean_ranks, table, table_csv, table_text
from llome.reporting.dosing import draw_dosing

LOW, HIGH = np.array([0.5, -1.0]), np.array([15.0, 1.0])


@pytest.mark.parametrize(("top", "end"), [((3.25, 0.4), (3.25, 0.4)), ((20.0, -3.0), (15.0, -1.0))])
def test_ascent_ends_at_the_top_or_at_the_bound_before_it(top: tuple[float, float], end: tuple[float, float]) -> None:
    centre, asked = np.array(top), []

    def quadratic(designs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        asked.append(designs)
        return -((designs - centre) ** 2).sum(axis=1), -2 * (designs - centre)

    found = gradient_ascent(quadratic, LOW, HIGH, queries=1000, random_seed=1)
    np.testing.assert_allclose(found.design, end, atol=0.02)
    assert found.queries == sum(map(len, asked)) == 992
    assert found.value == max(float(quadratic(designs)[0].max()) for designs in asked[:62])
    every = np.concatenate(asked)
    assert ((every >= LOW) & (every <= HIGH)).all()
    again = gradient_ascent(quadratic, LOW, HIGH, queries=1000, random_seed=1)
    np.testing.assert_array_equal(again.design, found.design)


def test_ascent_refuses_what_it_cannot_use() -> None:
    def nothing(designs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.full(len(designs), np.nan), np.zeros_like(designs)

    with pytest.raises(ConfigError, match="not finite; fit it again"):
        gradient_ascent(nothing, LOW, HIGH, queries=10, random_seed=0)
    with pytest.raises(ConfigError, match="queries is 0"):
        gradient_ascent(nothing, LOW, HIGH, queries=0, random_seed=0)
    with pytest.raises(ConfigError, match="hold no design"):
        gradient_ascent(nothing, HIGH, LOW, queries=10, random_seed=0)


def test_bayesian_optimisation_finds_a_known_optimum() -> None:
    pytest.importorskip("botorch", reason="BoTorch is not installed: pip install 'llome[bo]'", exc_type=ImportError)
    asked = []

    def quadratic(designs: np.ndarray) -> np.ndarray:
        asked.append(designs)
        return -((designs[:, 0] - 3.25) ** 2)

    one, other = (bayesian_optimisation(quadratic, LOW[:1], HIGH[:1], queries=24, random_seed=3) for _ in range(2))
    np.testing.assert_allclose(one.design, [3.25], atol=0.1)
    assert one.queries == 24
    assert [len(designs) for designs in asked[:3]] == [8, 8, 8]
    np.testing.assert_array_equal(one.design, other.design)
    with pytest.raises(ConfigError, match="two batches at least"):
        bayesian_optimisation(quadratic, LOW[:1], HIGH[:1], queries=8, random_seed=0)


def test_without_botorch_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in sys.modules if n.split(".")[0] == "botorch"] + ["botorch"]:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ConfigError, match=r"pip install 'llome\[bo\]'"):
        load_botorch()


def test_the_table_by_hand() -> None:
    best = np.array([2.0, 4.0, 6.0, 8.0])
    none = np.zeros(4, dtype=np.int64)
    far = Doses("far", best + np.array([1.0, -1.0, 3.0, 1.0]), none)
    near = Doses("near", best + np.array([0.0, -1.0, 1.0, 2.0]), none + 64)
    one, other = table([far, near], best)
    assert (one.rmse, other.rmse) == pytest.approx(((12 / 4) ** 0.5, (6 / 4) ** 0.5))
    assert one.rmse_error == pytest.approx(np.std([1, 1, 9, 1], ddof=1) / 2 / (2 * 3**0.5))
    assert (one.rank, other.rank) == (np.mean([2, 1.5, 2, 1]), np.mean([1, 1.5, 1, 2]))
    assert (one.against, other.against) == (np.mean([1, 0, 8, -3]), 0)
    assert one.against_error == pytest.approx(np.std([1, 0, 8, -3], ddof=1) / 2)
    assert (one.queries, other.queries) == (0, 64)
    np.testing.assert_array_equal(
        mean_ranks(np.array([[1.0, 2.0], [1.0, 3.0], [0.0, 3.0]])), [[2.5, 1], [2.5, 2.5], [1, 2.5]]
    )
    text = table_csv([one, other], "proposals: a script\nseed 3")
    lines = text.splitlines()
    assert lines[:3] == [f"# {NOTICE}", "# proposals: a script", "# seed 3"]
    assert lines[4].startswith("far,1.7321,")
    assert table_text([one, other]).startswith(NOTICE)
    drawn = draw_dosing([one, other], NOTICE)
    assert draw_dosing([one, other], NOTICE) == drawn
    assert "not medical advice" in drawn
