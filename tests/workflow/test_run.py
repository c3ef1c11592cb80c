"""The tiny experiment under Snakemake: run, run again, changed and broken; test_run_killed.py kills it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import yaml

from llome.provenance import read_json

from .conftest import Clone, artefacts, forget, times

pytestmark = pytest.mark.slow
STAGES_OF_A_ROUND = ("train", "refine", "filter", "label", "summarize")


def test_a_run_makes_everything_and_says_what_it_does(finished: tuple[Clone, str]) -> None:
    clone, said = finished
    results = clone.folder / "results" / "tiny"
    rounds = [Path(line).parent.name for line in (results / "r0/chains/sft2.txt").read_text().splitlines()]
    assert rounds in (["sft1"], ["sft1", "sft2"])
    for history in rounds:
        assert {p.name for p in (results / "r0" / history / "benchmarks").iterdir()} == {
            f"{stage}.tsv" for stage in ("train", "refine", "filter", "label")
        }
        for name in ("proposals.parquet", "selected.parquet", "labeled.parquet", "summary.json", "model/llome.json"):
            assert (results / "r0" / history / name).is_file()
        seconds = read_json(results / "r0" / history / "summary.json")["seconds"]
        assert set(seconds) == {"train", "refine", "filter", "label"}
        assert all(value > 0 for value in seconds.values())
        assert f"r0 {history}: training" in said
    assert (results / "report/report.html").stat().st_size > 10_000
    assert "results/tiny/report/report.html" in said
    assert not list(results.rglob("*.journal"))


def test_the_number_of_cores_changes_nothing(copy: Clone) -> None:
    expected = artefacts(copy)
    forget(copy, "base")
    run = copy.snakemake("--cores", "1")
    assert run.returncode == 0, run.stdout + run.stderr
    assert artefacts(copy) == expected


def test_the_same_command_again_does_nothing(copy: Clone) -> None:
    before = times(copy)
    run = copy.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    assert "Nothing to be done" in run.stderr
    assert times(copy) == before


def test_clocks_that_differ_make_nothing_again(copy: Clone) -> None:
    """Every other table seems to have been made five minutes after what was made from it."""
    replicate = copy.folder / "results/tiny/r0"
    later = time.time() + 300
    for name in ("seed/labeled.parquet", "sft1/model/llome.json", "sft1/proposals.parquet", "sft1/selected.parquet"):
        os.utime(replicate / name, (later, later))
    assert copy.plan() == {}


@pytest.mark.parametrize(
    ("file", "rules"),
    [
        ("configs/refine/tiny.yaml", {"refine", "filter", "label", "summarize", "chain", "report"}),
        ("configs/filter/tiny.yaml", {"filter", "label", "summarize", "chain", "report"}),
        ("configs/train/sft_tiny.yaml", {*STAGES_OF_A_ROUND, "chain", "report"}),
        ("configs/base/tiny.yaml", {"base", *STAGES_OF_A_ROUND, "chain", "report"}),
        ("configs/seed/tiny.yaml", {"seed", "baseline", "base", *STAGES_OF_A_ROUND, "chain", "report"}),
        ("configs/oracles/tiny.yaml", {"oracle", "seed", "baseline", "base", *STAGES_OF_A_ROUND, "chain", "report"}),
    ],
)
def test_a_changed_setting_reruns_what_depends_on_it(copy: Clone, file: str, rules: set[str]) -> None:
    path = copy.folder / file
    path.write_text(path.read_text() + "# changed\n")
    assert set(copy.plan()) == rules


def test_a_changed_experiment_runs_what_is_new(copy: Clone) -> None:
    path = copy.folder / "configs/experiments/tiny.yaml"
    settings = yaml.safe_load(path.read_text())
    path.write_text(yaml.safe_dump({**settings, "replicates": 2}))
    rules = {"experiment", "report", "chain", "seed", "base", "baseline", *STAGES_OF_A_ROUND}
    assert copy.plan() == dict.fromkeys(rules, 1)
    path.write_text(yaml.safe_dump(settings))
    assert copy.plan() == {}


def test_a_mistake_in_a_stage_is_shown_in_its_words(copy: Clone) -> None:
    path = copy.folder / "configs/refine/tiny.yaml"
    path.write_text(path.read_text().replace("num_seeds", "num_seed"))
    before = artefacts(copy)
    run = copy.snakemake()
    assert run.returncode == 1
    said = run.stdout + run.stderr
    assert (
        "llome refine: error: unknown setting 'num_seed' in configs/refine/tiny.yaml, did you mean 'num_seeds'?" in said
    )
    assert "Traceback" not in said
    kept = artefacts(copy)
    assert {name: before[name] for name in kept} == kept


def test_a_search_feeds_the_rounds(root: Path, tmp_path: Path) -> None:
    clone = Clone.make(root, tmp_path / "searched")
    base = clone.folder / "configs/base/tiny.yaml"
    base.write_text(yaml.safe_dump(yaml.safe_load(base.read_text()) | {"warmup_steps": 300}))  # or no output is valid
    settings = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())
    settings |= {"name": "searched", "schedules": [[{"sft": 1}]], "tune": {"sft": "configs/tune/tiny.yaml"}}
    (clone.folder / "searched.yaml").write_text(yaml.safe_dump(settings))
    grid = {"model.init_args.optimizer.init_args.lr": [1.0e-9, 5.0e-3]}  # the first learns nothing
    (clone.folder / "configs/tune/tiny.yaml").write_text(yaml.safe_dump({"grid": grid, "min_valid": 0.0}))
    run = clone.snakemake(config="searched.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    results = clone.folder / "results/searched"
    points = [read_json(results / f"tune/sft/p00{n}/model/llome.json")["facts"]["val_loss"] for n in (1, 2)]
    assert points[0] != points[1]
    best = min((0, 1), key=points.__getitem__)
    chosen = yaml.safe_load((results / "tune/sft/values.yaml").read_text())
    assert chosen == {"model": {"init_args": {"optimizer": {"init_args": {"lr": [1.0e-9, 5.0e-3][best]}}}}}
    card = read_json(results / "r0/sft1/model/llome.json")
    assert card["settings"]["model"]["init_args"]["optimizer"]["init_args"]["lr"] == [1.0e-9, 5.0e-3][best]
    assert card["facts"]["val_loss"] == pytest.approx(points[best], rel=1e-4)  # same seed, split and settings
    assert clone.plan("tune", config="searched.yaml") == {}
