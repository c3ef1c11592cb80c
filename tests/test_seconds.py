"""Hours of work are sums over files: seeds, base policy and rounds, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from llome import provenance
from llome.errors import TableError
from llome.experiment import Experiment
from llome.seconds import benchmark_seconds, chain_seconds, round_seconds


def write_benchmark(path: Path, *seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("s\th:m:s\tmax_rss\n" + "".join(f"{s}\t0:00:01\t-\n" for s in seconds))


@pytest.fixture
def replicate(tmp_path: Path) -> Path:
    """Seeds 100 s, base 200 s, sft1 1,000 s, its marge1 500 s and marge2 400 s; a baseline and a sft2 that are others' concern."""
    for name, file, seconds in (("seed", "seed", 100.0), ("base", "base", 200.0), ("ga", "seed", 9_000.0)):
        write_benchmark(tmp_path / name / "benchmarks" / f"{file}.tsv", seconds)
    for history, parts in {
        "sft1": {"train": 900.0, "refine": 90.0, "filter": 6.0, "label": 4.0},
        "sft2": {"train": 9_000.0},
        "sft1-marge1": {"train": 400.0, "surrogate": 100.0},
        "sft1-marge2": {"train": 400.0},
    }.items():
        summary = {"seconds": parts, "regret": 0.5, "counted": 10, "labeled": 3}
        provenance.write_json(tmp_path / history / "summary.json", summary)
    return tmp_path


def test_the_last_run_of_a_stage_counts(tmp_path: Path) -> None:
    write_benchmark(tmp_path / "train.tsv", 7.5, 2.25)
    assert benchmark_seconds(tmp_path / "train.tsv") == 2.25
    assert benchmark_seconds(tmp_path / "nowhere.tsv") is None
    (tmp_path / "train.tsv").write_text("s\n-\n")
    with pytest.raises(TableError, match=r"train\.tsv is no Snakemake benchmark .*; delete it"):
        benchmark_seconds(tmp_path / "train.tsv")


def test_a_chain_counts_what_came_before_it_and_nothing_else(replicate: Path) -> None:
    found = [chain_seconds(replicate / history) for history in ("sft1", "sft1-marge1", "sft1-marge2", "sft2")]
    assert found == [1_300.0, 1_800.0, 2_200.0, 10_300.0]


def test_the_stages_that_only_some_rounds_have_count_where_they_are() -> None:
    parts = {"train": 8.0, "refine": 4.0, "filter": 2.0, "label": 1.0}
    assert round_seconds({"seconds": parts}) == 15.0
    assert round_seconds({"seconds": {**parts, "surrogate": 0.5}}) == 15.5
    assert round_seconds({"seconds": {"train": 8.0, "surrogate": 0.5}}) is None
    assert round_seconds({}) is None


def test_what_left_no_record_counts_as_none(replicate: Path) -> None:
    (replicate / "base/benchmarks/base.tsv").unlink()
    provenance.write_json(replicate / "sft1" / "summary.json", {"regret": 0.5})
    assert chain_seconds(replicate / "sft1-marge1") == 600.0


def test_a_chain_ends_with_the_round_that_uses_up_its_hours(replicate: Path) -> None:
    def ends(hours: float | None) -> list[bool]:
        experiment = Experiment(name="x", oracle="o", seed="s", schedules=[[{"sft": 1}, {"marge": 9}]], hours=hours)
        return [experiment.ends_with(replicate / h / "summary.json") for h in ("sft1", "sft1-marge1", "sft1-marge2")]

    assert ends(None) == ends(1) == [False, False, False]
    assert ends(0.5) == [False, True, True]  # 1,800 s: the very end
    assert ends(0.51) == [False, False, True]
    assert ends(0.1) == [True, True, True]  # the seeds and the base policy alone come to .083


def test_jobs_that_share_a_stage_are_summed_and_those_of_another_split_are_left_out(tmp_path: Path) -> None:
    import os

    for i, (name, seconds) in enumerate(
        {"refine-1of2": 50.0, "refine-2of2": 60.0, "refine-1of3": 1.0, "refine-2of3": 2.0, "refine-3of3": 3.5}.items()
    ):
        write_benchmark(tmp_path / f"{name}.tsv", seconds)
        os.utime(tmp_path / f"{name}.tsv", (i, i))
    assert benchmark_seconds(tmp_path / "refine.tsv") == 6.5
    write_benchmark(tmp_path / "refine.tsv", 9.0)
    assert benchmark_seconds(tmp_path / "refine.tsv") == 9.0
