"""The plan of a run with variants, rivals and searches: which jobs, and the commands they have always been."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llome.experiment import load_experiments

from .conftest import Clone
from .plans import POLICY, ROUND, commands, write_experiment


def test_without_variants_the_commands_are_what_they_have_always_been(clone: Clone, root: Path) -> None:
    """Paths, settings and random seeds of the tiny experiment, as they were before there were variants."""
    every = ["results/tiny/r0/sft2/summary.json", "results/tiny/r0/ga/labeled.parquet"]
    found = {
        line for targets in ([], every) for line in commands(clone, *targets, config="configs/experiments/tiny.yaml")
    }
    assert "\n".join(sorted(found)) + "\n" == (root / "tests/golden/tiny_commands.txt").read_text()


def test_variants_run_side_by_side_each_as_the_experiment_that_it_is(clone: Clone) -> None:
    several = {
        "replicates": 1,
        "schedules": [[{"sft": 1}], [{"sft": 3}]],
        "rivals": {"other": "configs/seed/tiny.yaml"},
    }
    variants = {"a": {"replicates": 2}, "b": several}
    config = write_experiment(clone, variants=variants, rivals={"tuned": "configs/seed/ga_tuned.yaml"})
    plan = clone.plan(config=config)
    both = dict.fromkeys(["report", "experiment", "oracle"], 2)
    compared = dict.fromkeys(["all", "comparison", "experiments"], 1)
    assert plan == {
        **compared,
        **both,
        "chain": 4,
        "rival": 4,
        **dict.fromkeys(["seed", "baseline", "base", *ROUND], 3),
    }
    # the parts of one
    assert clone.plan("results/tiny/a/r1/ga-tuned/labeled.parquet", config=config) == {"oracle": 1, "rival": 1}
    one = clone.plan("results/tiny/b/report/report.html", config=config)
    assert one == {
        "chain": 2,
        "rival": 2,
        **dict.fromkeys(["report", "experiment", "oracle", "seed", "baseline", "base", *ROUND], 1),
    }


def test_a_variant_is_run_as_the_same_experiment_without_variants_would_be(clone: Clone) -> None:
    marge = {
        "train": {"marge": "configs/train/marge_tiny.yaml"},
        "schedules": [[{"sft": 1}, {"marge": 1}]],
        "budget": 500,
    }
    variants = {"plain": {}, "marge": {**marge, "random_seed": 3, "train_on": "all"}}
    settings = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())
    for name, last in (("plain", "sft2"), ("marge", "sft1-marge1")):
        found = []
        alone = {**settings, **variants[name], "train": {**settings["train"], **variants[name].get("train", {})}}
        for folder, changes in ((f"tiny/{name}", {"variants": variants}), ("tiny", alone)):
            targets = [f"results/{folder}/r0/{last}/summary.json", f"results/{folder}/r0/ga/labeled.parquet"]
            lines = commands(clone, *targets, config=write_experiment(clone, **changes))
            found.append(sorted(line.replace(f"results/{folder}/", "") for line in lines))
        assert len(found[0]) == 14
        assert found[0] == found[1]


def test_the_experiment_that_a_variant_wrote_down_is_run_in_its_folder(clone: Clone) -> None:
    config = write_experiment(clone, variant="a")
    once = ("report", "chain", "experiment", "oracle", "seed", "baseline", "base")
    assert clone.plan(config=config) == dict.fromkeys([*once, *ROUND], 1)
    assert clone.plan("results/tiny/a/r0/seed/labeled.parquet", config=config) == {"oracle": 1, "seed": 1}


def test_rivals_run_from_scratch_as_far_as_the_baseline(clone: Clone) -> None:
    config = write_experiment(
        clone, baseline=300, rivals={"small": "configs/seed/tiny.yaml", "large": "configs/seed/ga.yaml"}
    )
    (baseline,) = (
        line for line in commands(clone, "results/tiny/r0/ga/labeled.parquet", config=config) if "resume" in line
    )
    assert "--rounds 8 " in baseline  # of 40
    targets = [f"results/tiny/r0/ga-{name}/labeled.parquet" for name in ("small", "large")]
    lines = [line for line in commands(clone, *targets, config=config) if "llome seed" in line]
    small, large = sorted(lines, key=lambda line: "ga-large" in line)
    assert "--config configs/seed/tiny.yaml " in small
    assert "--rounds 8 " in small
    assert "--config configs/seed/ga.yaml " in large
    assert "--rounds 1 " in large  # of 1,000
    assert "--resume_from" not in small + large
    assert len({line.split("--random_seed ")[1].split()[0] for line in (baseline, small, large)}) == 3


def test_the_genetic_algorithm_alone(clone: Clone) -> None:
    config = write_experiment(
        clone, without=POLICY, schedules=[], baseline=400, replicates=2, rivals={"tuned": "configs/seed/tiny.yaml"}
    )
    once = dict.fromkeys(["report", "experiment", "oracle"], 1)
    assert clone.plan(config=config) == {**once, "seed": 2, "baseline": 2, "rival": 2}


def test_the_functions_of_variants_are_counted_where_the_genetic_algorithm_is_alone(clone: Clone) -> None:
    long = {"oracle": "configs/oracles/ehr_v32_l128_c4_k4_q4.yaml"}
    config = write_experiment(clone, without=POLICY, schedules=[], baseline=400, variants={"a": {}, "b": long})
    compared = dict.fromkeys(["all", "comparison", "experiments"], 1)
    assert clone.plan(config=config) == {
        **compared,
        **dict.fromkeys(["report", "experiment", "oracle", "seed", "baseline", "count"], 2),
    }
    assert clone.plan("results/tiny/b/counts.json", config=config) == {"oracle": 1, "count": 1}


def test_the_variants_are_written_down_as_they_are_run(clone: Clone, monkeypatch: pytest.MonkeyPatch) -> None:
    few = {"filter": "configs/filter/tiny.yaml", "budget": 500, "rivals": {"tuned": "configs/seed/tiny.yaml"}}
    config = write_experiment(clone, threads=1, variants={"a": {}, "b": few})
    run = clone.snakemake("--", "results/tiny/experiment.yaml", config=config)
    assert run.returncode == 0, run.stdout + run.stderr
    monkeypatch.chdir(clone.folder)
    assert load_experiments("results/tiny/experiment.yaml") == load_experiments(config)


def test_searches_of_every_variant(clone: Clone) -> None:
    config = write_experiment(
        clone,
        variants={"a": {"tune": {"sft": "configs/tune/tiny.yaml"}}, "b": {"tune": {"sft": "configs/tune/sft.yaml"}}},
    )
    plan = clone.plan("tune", config=config)
    points = 2 + 12
    assert plan == {
        "tune": 1,
        "point": points,
        "try_point": points,
        **dict.fromkeys(["choose", "oracle", "seed", "base"], 2),
    }
