"""Rankings compared: what each would have chosen, by hand."""

from __future__ import annotations

import csv
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from llome.reporting.analysis.rankings import compare_rankings
from llome.reporting.comparison.rankings import choice_cells, choice_csv, find_choices
from llome.reporting.findings import UNKNOWN


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


def facts(oracle: float, random: float, **rankings: float) -> dict[str, Any]:
    return {
        "selection": {"mean_oracle": oracle, "mean_random": random, "best_oracle": 2 * oracle, "best_random": oracle},
        "rankings": {
            name: {"mean": mean, "best": 1.5 * mean, "feasible": 0.5, "rank_correlation": 0.25}
            for name, mean in rankings.items()
        },
    }


def test_what_rankings_recover_over_rounds_and_replicates_by_hand() -> None:
    """By the surrogate, replicate 0: .3 + .5 - .4 of 1.2 - .4 is .5; replicate 1: .3 - .2 of .6 - .2 is .25."""
    analyses = {
        (0, "sft1"): facts(0.4, 0.2, likelihood=0.2, surrogate=0.3, leon=0.4),
        (0, "sft2"): facts(0.8, 0.2, likelihood=0.2, surrogate=0.5, leon=0.8),
        (1, "sft1"): facts(0.6, 0.2, likelihood=0.2, surrogate=0.3, leon=0.6),
        (1, "sft2"): {"selection": facts(0.0, 0.0)["selection"]},  # analysed without a surrogate
    }
    variants = [SimpleNamespace(name="short", analyses=analyses), SimpleNamespace(name="bare", analyses={})]
    found = {c.ranking: c for c in find_choices(cast(Any, variants))}
    assert [c.share.mean for c in found.values()] == pytest.approx([0.0, 0.375, 1.0, 1.0, 0.0])
    assert found["surrogate"].share.two_se == pytest.approx(0.25)  # of .5 and .25
    assert found["surrogate"].mean.mean == pytest.approx((0.4 + 0.3) / 2)
    assert found["random"].best.mean == pytest.approx((0.6 + 0.6) / 2)
    header, row = choice_cells(list(found.values()))
    assert header == ["proposals of", "by likelihood", "by the surrogate", "by LEON"]
    assert row[2] == "0.375 ± 0.250 (rank correlation 0.25)"
    rows = list(csv.DictReader(choice_csv(list(found.values())).splitlines()))
    assert [(r["variant"], r["ranking"], r["feasible"]) for r in rows] == [
        ("short", "by likelihood", "0.5"),
        ("short", "by the surrogate", "0.5"),
        ("short", "by LEON", "0.5"),
        ("short", "by the oracle", ""),
        ("short", "at random", ""),
    ]
    assert float(rows[1]["share"]) == pytest.approx(0.375)


def test_nothing_to_recover_is_no_share() -> None:
    variant = SimpleNamespace(name="flat", analyses={(0, "sft1"): facts(0.2, 0.2, likelihood=0.2)})
    likely, surrogate, *others = find_choices(cast(Any, [variant]))
    assert likely.share is None
    assert likely.mean.mean == pytest.approx(0.2)
    assert surrogate.mean is None
    assert choice_cells([likely, surrogate, *others])[1] == [
        "flat",
        f"{UNKNOWN} (rank correlation 0.25)",
        UNKNOWN,
        UNKNOWN,
    ]
