"""The benchmarks themselves: every row's code runs at toy size (nothing is timed), and the table reads what it leaves."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from workflow.conftest import Clone

from llome.experiment import check_experiments

from . import (
    bench_ceilings,
    bench_examples,
    bench_neighbours,
    bench_sampling,
    bench_scoring,
    bench_startup,
    bench_training,
)
from .growth import Panel, Sizes
from .growth import main as measure_growth
from .measure import Measure
from .ranking import ROOT, laptop
from .ranking import main as measure_ranking
from .sizes import TOY
from .table import main

pytestmark = pytest.mark.filterwarnings("ignore")

# Each bench function is a test here, by the name of test_...; peers run with --slow, where their environments are.
for _module in (
    bench_ceilings,
    bench_examples,
    bench_neighbours,
    bench_sampling,
    bench_scoring,
    bench_startup,
    bench_training,
):
    for _name, _function in list(vars(_module).items()):
        if _name.startswith("bench_"):
            _slow = _function is bench_startup.bench_refine_on_a_tiny_input  # the import of torch, once more
            globals()[_name.replace("bench_", "test_", 1)] = pytest.mark.slow(_function) if _slow else _function


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """What pytest-benchmark would write of four rows."""
    rows = []

    def add(seconds: list[float], **row: Any) -> Measure:
        measure = Measure(None, TOY, tmp_path)
        measure.ours(function=lambda: None, **row)
        rows.append({"stats": {"data": seconds}, "extra_info": measure.info})
        return measure

    add([0.5, 1.0], path="yardstick", asked="nothing", work=1e9, unit="FLOP").info["ceiling"] = "product"
    fast = add([2.0, 0.1], path="fast", floor=4, aim=10, work=50, unit="tokens", flops=1e8)
    fast.peer("slow one", [0.2, 0.3], scale=2.0, remark="half of it measured")
    add([70.0], path="late", asked="seconds", floor=60, aim=20)
    lost = add([1.0], path="lost", floor=4)
    assert lost.peer_script("gone", "holo", "nothing.py", given={"settings": {}}) is None
    file = tmp_path / "record.json"
    info = {"cpu": {"brand_raw": "A processor", "count": 2}, "python_version": "3.11.0", "node": "name-of-a-machine"}
    file.write_text(json.dumps({"machine_info": info, "datetime": "2026-01-01", "benchmarks": rows}))
    return file


def test_the_table_of_a_record(record: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(str(record), str(tmp_path / "bench.json"))
    _, fast, late, lost = (written := json.loads((tmp_path / "bench.json").read_text()))["rows"]
    assert fast["ratio"] == pytest.approx(4)
    assert fast["share"] == {"product": pytest.approx(0.5)}
    assert [row["met"] for row in (fast, late, lost)] == ["floor", "below", ""]
    assert "make bench" in lost["peer"]["not_measured"]
    assert "node" not in written["machine"]
    shown = capsys.readouterr().out
    assert "fast       500 tokens/s" in shown
    assert "half of it measured" in shown
    assert "not measured" in shown


def test_growth_is_measured_written_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    toy = Sizes(
        seeds=(1, 2),
        length=(16, 20),
        width=(16, 32),
        neighbours=(40, 60),
        oracle_length=(32, 40),
        motifs=(1, 2),
        refined=(1, 16),
        scored=50,
        repeats=1,
    )
    measure_growth(str(tmp_path / "growth.csv"), str(tmp_path / "growth.svg"), toy)
    with open(tmp_path / "growth.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 12
    assert all(float(row["seconds"]) > 0 for row in rows)
    assert (tmp_path / "growth.svg").read_text().count("exponent") == 6
    assert capsys.readouterr().out.count("exponent") == 6


def test_an_exponent_is_that_of_the_last_three_points() -> None:
    assert Panel("p", "n", "2", [1, 10, 20, 40], [9.0, 1.0, 4.0, 16.0]).exponent == pytest.approx(2.0)


@pytest.mark.slow
def test_a_ranking_is_measured_in_pairs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Clone.make(ROOT, tmp_path / "clone").folder
    ranked = yaml.safe_load((folder / "configs/experiments/tiny_ranked.yaml").read_text()) | {"analyze": False}
    alike = {key: value for key, value in ranked.items() if key != "surrogate"}
    plain = alike | {"refine": "configs/refine/tiny.yaml", "filter": "configs/filter/tiny.yaml"}
    measure_ranking(str(tmp_path / "cost.csv"), "2", {"likelihood": plain, "leon": ranked}, folder)
    with open(tmp_path / "cost.csv", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    for row in rows:
        assert row["likelihood"] > 0
        assert row["share"] == pytest.approx(1 - row["likelihood"] / row["leon"], abs=2e-3)
    assert [row["pair"] for row in rows] == [1, 2]
    assert "two standard errors" in capsys.readouterr().out


def test_what_a_ranking_is_measured_on_differs_in_the_ranking_alone() -> None:
    likelihood, leon = laptop().values()
    assert {key for key in leon if leon[key] != likelihood.get(key)} == {"variant", "refine", "surrogate", "filter"}
    for settings in (likelihood, leon):
        assert check_experiments(settings, "ranking.yaml")
    assert "leon" in leon["refine"]
    assert "leon" in leon["filter"]
