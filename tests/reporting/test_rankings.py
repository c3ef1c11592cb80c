"""Rankings compared: what each would have chosen, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from llome.reporting.analysis.rankings import compare_rankings


def test_choices_and_tenths_by_hand() -> None:
    scores = np.array([0.0, 0.2, 0.4, -np.inf, 0.8, 1.0, 0.1, 0.3, 0.5, 0.7])
    perfect = np.where(np.isfinite(scores), scores, -1.0)
    found = compare_rankings({"perfect": perfect, "reversed": -perfect}, scores, 3)
    assert found["perfect"]["best"] == 1.0
    assert found["perfect"]["mean"] == pytest.approx((1.0 + 0.8 + 0.7) / 3)
    assert found["perfect"]["feasible"] == 1.0
    assert found["perfect"]["rank_correlation"] == pytest.approx(1.0)
    assert found["perfect"]["tenths"] == pytest.approx([0.0, 0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.7, 0.8, 1.0])
    assert found["reversed"]["best"] == pytest.approx(0.1)
    assert found["reversed"]["mean"] == pytest.approx(0.1 / 3)  # the infeasible one counts as 0
    assert found["reversed"]["feasible"] == pytest.approx(2 / 3)
    assert found["reversed"]["rank_correlation"] == pytest.approx(-1.0)


def test_fewer_proposals_than_tenths_and_none_at_all() -> None:
    few = compare_rankings({"a": np.array([1.0, 2.0])}, np.array([0.5, 0.25]), 5)["a"]
    assert (few["best"], few["mean"]) == (0.5, 0.375)
    assert [t for t in few["tenths"] if t is not None] == [0.5, 0.25]
    none = compare_rankings({"a": np.empty(0)}, np.empty(0), 5)["a"]
    assert none == {"best": None, "mean": None, "feasible": None, "rank_correlation": None, "tenths": [None] * 10}
