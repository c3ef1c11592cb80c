"""What a user waits for before anything happens: a stage's start, a plan of Snakemake's, the help. All are whole processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llome.cli import STAGES
from llome.experiment import Experiment, check_experiment, load_experiments

from .measure import Measure
from .peers.clock import repeat
from .problems import ROOT
from .sizes import Size


def run(measure: Measure, *command: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, env=measure.environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def bench_refine_on_a_tiny_input(measure: Measure, small_policy: tuple[Path, Path], tmp_path: Path) -> None:
    """Nearly all of it is the import of torch and transformers."""
    model, table = small_policy
    args = ["refine", "--config", "configs/refine/tiny.yaml", "--model", str(model), "--labeled", str(table)]
    args += ["--out", str(tmp_path / "proposals.parquet"), "--device", "cpu"]
    path = "llome refine, 8 seeds, whole process"
    measure.ours(
        path, lambda: run(measure, "llome.cli", *args), asked="seconds", floor=8.0, rounds=min(3, measure.size.rounds)
    )


@pytest.mark.parametrize("which", ["to the first checkpoints", "of all rounds"])
def bench_plan_of_an_experiment(measure: Measure, tmp_path: Path, which: str) -> None:
    """The dry run of a new experiment: by default as far as Snakemake sees, or asking for the last round of every chain."""
    file, targets = tmp_path / "experiment.yaml", []
    experiment = write_experiment(measure.size, file)
    if which == "of all rounds":
        targets = [
            f"results/{experiment.name}/r{replicate}/{history}/summary.json"
            for replicate in range(experiment.replicates)
            for history in experiment.histories
        ]
    size = f"{measure.size.schedule_rounds} rounds x {len(experiment.schedules)} schedules x {experiment.replicates}"
    command = ["snakemake", "--cores", "2", "--configfile", str(file), "--dry-run", "--quiet", "all", "--", *targets]
    measure.ours(
        f"snakemake --dry-run {which}, {size} replicates",
        lambda: run(measure, *command),
        asked="seconds",
        floor=10.0,
        rounds=min(3, measure.size.rounds),
    )


def bench_plan_of_variants(measure: Measure, tmp_path: Path) -> None:
    """The dry run of several runs in one file, one long chain a replicate, all of its rounds asked for."""
    size, file = measure.size, tmp_path / "experiment.yaml"
    settings = yaml.safe_load((ROOT / "configs" / "experiments" / "tiny.yaml").read_text())
    settings |= {"name": "bench", "replicates": size.replicates, "schedules": [[{"sft": size.variant_rounds}]]}
    file.write_text(yaml.safe_dump(settings | {"variants": {f"f{number}": {} for number in range(size.variants)}}))
    targets = [
        f"results/{name}/r{replicate}/sft{size.variant_rounds}/summary.json"
        for name in load_experiments(file)
        for replicate in range(size.replicates)
    ]
    command = ["snakemake", "--cores", "2", "--configfile", str(file), "--dry-run", "--quiet", "all", "--", *targets]
    measure.ours(
        f"snakemake --dry-run of {size.variants} variants x {size.replicates} replicates x {size.variant_rounds} rounds",
        lambda: run(measure, *command),
        asked="seconds",
        floor=20.0,
        rounds=min(3, size.rounds),
    )


def write_experiment(size: Size, file: Path) -> Experiment:
    """Schedules that share rounds, of every objective; what a round does is of no account here."""
    settings = yaml.safe_load((ROOT / "configs" / "experiments" / "tiny.yaml").read_text())
    rounds, sft = size.schedule_rounds, settings["train"]["sft"]
    mixed = [(1, "marge"), (1, "dpo"), (rounds // 5, "marge"), (rounds // 2, "dpo")][: size.schedules - 1]
    schedules = [[{"sft": rounds}], *([{"sft": first}, {second: rounds - first}] for first, second in mixed)]
    objectives = sorted({name for schedule in schedules for part in schedule for name in part})
    settings |= {"name": "bench", "replicates": size.replicates, "schedules": schedules}
    settings["train"] = dict.fromkeys(objectives, sft)
    file.write_text(yaml.safe_dump(settings))
    return check_experiment(settings, str(file))


def bench_help_of_every_stage(measure: Measure) -> None:
    """The slowest counts."""
    size = measure.size
    stages = STAGES if size.name == "full" else ["refine"]

    def ask(stage: str) -> list[float]:
        return repeat(lambda: run(measure, "llome.cli", *stage.split(), "--help"), min(3, size.rounds))

    def run_all() -> dict[str, list[float]]:
        return {stage: ask(stage) for stage in stages}

    seconds = measure.ours(
        "llome STAGE --help, the slowest stage",
        run_all,
        asked="seconds",
        floor=1.0,
        rounds=1,
        warm_up=False,
        seconds=lambda found: max(found.values(), key=min),
    )
    measure.remark(max(seconds, key=lambda stage: min(seconds[stage])))
