"""Rounds are named by their history, and everything else about a round is computed from that name."""

from __future__ import annotations

from pathlib import Path

import pytest

from llome import paths
from llome.errors import ConfigError


@pytest.mark.parametrize(
    ("history", "parent", "objective", "number"),
    [
        ("sft1", "seed", "sft", 1),
        ("sft2", "sft1", "sft", 2),
        ("sft10", "sft9", "sft", 10),
        ("sft1-marge1", "sft1", "marge", 2),
        ("sft2-marge9", "sft2-marge8", "marge", 11),
        ("sft1-marge2-sft1", "sft1-marge2", "sft", 4),
    ],
)
def test_parent_objective_and_number(history: str, parent: str, objective: str, number: int) -> None:
    assert paths.parent(history) == parent
    assert paths.objective(history) == objective
    assert paths.round_number(history) == number
    assert paths.format_history(paths.parse_history(history)) == history


def test_lineage_runs_from_the_first_round_to_the_last() -> None:
    assert paths.lineage("sft2-marge2") == ["sft1", "sft2", "sft2-marge1", "sft2-marge2"]
    assert paths.lineage("seed") == []
    assert paths.round_number("seed") == 0


@pytest.mark.parametrize(
    "bad", ["", "sft", "sft0", "sft01", "1sft", "SFT1", "sft1_marge1", "sft1-", "sft-1", "sft1-sft2", "../sft1"]
)
def test_other_names_are_refused_by_name(bad: str) -> None:
    with pytest.raises(ConfigError, match="history"):
        paths.parse_history(bad)


def test_schedules_become_histories_and_equal_neighbours_merge() -> None:
    assert paths.schedule_history([{"sft": 1}, {"marge": 9}]) == "sft1-marge9"
    assert paths.schedule_history([{"sft": 2}, {"sft": 3}, {"dpo": 1}]) == "sft5-dpo1"
    with pytest.raises(ConfigError, match="empty schedule"):
        paths.schedule_history([])


def test_schedules_that_begin_alike_share_those_rounds() -> None:
    first, second = (set(paths.lineage(h)) for h in ("sft2-marge3", "sft2-dpo1"))
    assert first & second == {"sft1", "sft2"}


def test_layout() -> None:
    layout = paths.Layout("results", "demo")
    assert layout.oracle == Path("results/demo/oracle.json")
    assert layout.round(3, "sft1-marge2") == Path("results/demo/r3/sft1-marge2")
    assert layout.round("{rep}", "{history}") == Path("results/demo/r{rep}/{history}")
    assert layout.analysis(3, "sft2") == Path("results/demo/r3/sft2/analysis")
    assert layout.parent_labels(0, "sft3") == [
        Path(f"results/demo/r0/{name}/labeled.parquet") for name in ("seed", "sft1", "sft2")
    ]
    assert layout.parent_labels(0, "sft1") == [Path("results/demo/r0/seed/labeled.parquet")]


def test_layout_of_a_variant() -> None:
    layout = paths.Layout("results", "demo", "long")
    assert layout.oracle == Path("results/demo/long/oracle.json")
    assert layout.round(0, paths.rival("tuned")) == Path("results/demo/long/r0/ga-tuned")
    assert layout.round(0, "sft1") == paths.Layout("results", "demo/long").round(0, "sft1")


def test_no_round_is_named_like_a_rival() -> None:
    with pytest.raises(ConfigError, match="'ga' is not an objective and a count"):
        paths.parse_history(paths.rival("tuned2"))


@pytest.mark.parametrize(
    ("name", "own"),
    [
        *(
            (name, True)
            for name in ("report", "tune", "logs", "oracle.json", "counts.json", "experiment.yaml", "r0", "r12")
        ),
        *((name, False) for name in ("reports", "r", "r0.1", "r0b", "oracle", "f1")),
    ],
)
def test_names_that_a_run_needs_for_itself(name: str, own: bool) -> None:
    assert paths.is_own(name) == own
