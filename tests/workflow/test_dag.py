"""The plan of a run: which jobs, how often, and how fast it is drawn up. Nothing is run here."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from .conftest import Clone

HISTORIES = ["sft10", "sft1-marge9", "sft1-dpo9", "sft2-marge8", "sft5-dpo5"]


def write_experiment(clone: Clone, **changes: object) -> str:
    settings = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())
    (clone.folder / "experiment.yaml").write_text(yaml.safe_dump({**settings, **changes}))
    return "experiment.yaml"


def write_big_experiment(clone: Clone) -> str:
    train = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())["train"]["sft"]
    return write_experiment(
        clone,
        name="big",
        replicates=5,
        train={"sft": train, "marge": train, "dpo": train},
        schedules=[
            [{"sft": 10}],
            [{"sft": 1}, {"marge": 9}],
            [{"sft": 1}, {"dpo": 9}],
            [{"sft": 2}, {"marge": 8}],
            [{"sft": 5}, {"dpo": 5}],
        ],
    )


def test_the_plan_of_the_tiny_experiment_reaches_its_first_checkpoint(clone: Clone) -> None:
    once = ("report", "chain", "experiment", "oracle", "seed", "baseline", "base")
    round_ = ("train", "refine", "filter", "label", "summarize")
    assert clone.plan() == dict.fromkeys([*once, *round_], 1)


def test_the_plan_of_a_chain_without_its_checkpoints(clone: Clone) -> None:
    plan = clone.plan("results/tiny/r0/sft2/summary.json")
    assert plan == {"oracle": 1, "seed": 1, "base": 1, "train": 2, "refine": 2, "filter": 2, "label": 2, "summarize": 2}


def test_shared_rounds_are_run_once(clone: Clone) -> None:
    config = write_big_experiment(clone)
    one = clone.plan(*(f"results/big/r0/{history}/summary.json" for history in HISTORIES), config=config)
    # sft1..10 once; marge after sft1 9, dpo after sft1 9, marge after sft2 8, dpo after sft5 5
    assert one["train"] == one["label"] == one["summarize"] == 10 + 9 + 9 + 8 + 5
    assert (one["oracle"], one["seed"], one["base"]) == (1, 1, 1)


@pytest.mark.parametrize(("train_on", "tables"), [("last", ["sft1"]), ("all", ["seed", "sft1"])])
def test_a_round_trains_on_what_the_experiment_says(clone: Clone, train_on: str, tables: list[str]) -> None:
    config = write_experiment(clone, train_on=train_on)
    done = clone.snakemake(
        "--dry-run", "--printshellcmds", "--", "results/tiny/r0/sft2/model/llome.json", config=config
    )
    (line,) = [
        line for line in (done.stdout + done.stderr).splitlines() if "llome train" in line and "sft2/model" in line
    ]
    given = line.split("--labeled ")[1].split(" --out")[0].split()
    assert given == [f"results/tiny/r0/{name}/labeled.parquet" for name in tables]


def test_a_search_comes_before_the_objective_that_needs_it(clone: Clone) -> None:
    train = {"sft": "configs/train/sft_tiny.yaml", "marge": "configs/train/marge_tiny.yaml"}
    changes = {
        "train": {**train, "control": train["marge"]},
        "schedules": [[{"sft": 1}, {"marge": 1}], [{"sft": 1}, {"control": 1}]],
        "tune": {"marge": "configs/tune/tiny.yaml", "control": "marge"},
    }
    config = write_experiment(clone, **changes)
    search = {"point": 2, "try_point": 2, "choose": 1, "oracle": 1, "seed": 1, "base": 1, "train": 1}
    assert clone.plan("tune", config=config) == {"tune": 1, **search}
    for history in ("sft1-marge1", "sft1-control1"):
        plan = clone.plan(f"results/tiny/r0/{history}/model/llome.json", config=config)
        assert plan == {**search, "train": 2, **dict.fromkeys(["refine", "filter", "label"], 1)}
    assert "choose" not in clone.plan("results/tiny/r0/sft1/model/llome.json", config=config)


def test_chains_run_side_by_side(clone: Clone) -> None:
    plan = clone.plan(config=write_big_experiment(clone))
    assert plan == {
        "report": 1,
        "experiment": 1,
        "oracle": 1,
        "chain": 25,
        **dict.fromkeys(["seed", "baseline", "base", "train", "refine", "filter", "label", "summarize"], 5),
    }


def test_a_large_plan_is_drawn_up_in_seconds(clone: Clone) -> None:
    config = write_big_experiment(clone)
    targets = [f"results/big/r{rep}/{history}/summary.json" for rep in range(5) for history in HISTORIES]
    start = time.perf_counter()
    plan = clone.plan(*targets, config=config)
    assert time.perf_counter() - start < 10
    assert plan["train"] == 5 * 41


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedules": []}, "base: schedules is empty, so the genetic algorithm runs alone"),
        ({"budget": 1}, "budget: 1 counted evaluations do not pay for the seeds"),
        ({"replicate": 1}, "unknown key 'replicate', did you mean 'replicates'?"),
        (
            {"oracle": "configs/oracles/tin.yaml"},
            "there is no file configs/oracles/tin.yaml, did you mean 'tiny.yaml'?",
        ),
    ],
)
def test_a_bad_experiment_is_one_line_before_anything_runs(
    clone: Clone, changes: dict[str, object], message: str
) -> None:
    run = clone.snakemake(config=write_experiment(clone, **changes))
    assert run.returncode == 2
    (line,) = (line for line in run.stderr.splitlines() if not line.startswith("Using workflow specific profile"))
    assert line.startswith(f"error: {clone.folder}/experiment.yaml: ")
    assert message in line
    assert not (clone.folder / "results").exists()


def test_no_experiment_is_one_line(clone: Clone) -> None:
    command = [sys.executable, "-m", "snakemake", "--cores", "1"]
    run = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert "error: no experiment given; add --configfile configs/experiments/demo.yaml" in run.stderr


def test_snakemake_and_snakefmt_have_no_complaint(clone: Clone, root: Path) -> None:
    run = clone.snakemake("--lint")
    assert run.returncode == 0, run.stdout + run.stderr
    files = ["Snakefile", *map(str, Path("rules").glob("*.smk"))]
    snakefmt = [Path(sys.executable).with_name("snakefmt"), "--check", "Snakefile", "rules"]
    run = subprocess.run(snakefmt, cwd=root, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    for file in files:
        assert len((root / file).read_text().splitlines()) < 200
