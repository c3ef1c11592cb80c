"""The plan of a run: which jobs, how often, and how fast it is drawn up. No stage is run here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from llome.provenance import exclusive

from .conftest import Clone
from .plans import FACTS, HISTORIES, ROUND, commands, write_big_experiment, write_experiment


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


def test_the_rounds_that_were_run_are_analysed_and_no_others(clone: Clone) -> None:
    """Two of five rounds have been run: the second found the optimum."""
    config = write_experiment(clone, schedules=[[{"sft": 5}]], analyze=True)
    clone.pretend({"sft1": FACTS, "sft2": {**FACTS, "regret": 0.0}})
    assert clone.plan(config=config) == {"experiment": 1, "analyze": 2, "chain": 1, "report": 1}
    config = write_experiment(clone, schedules=[[{"sft": 5}]])
    assert clone.plan(config=config) == {"experiment": 1, "chain": 1, "report": 1}


def test_no_round_follows_the_one_that_used_up_the_hours(clone: Clone) -> None:
    """The seeds took 600 s, a round takes 1,500 s: 3,600 s after two of five."""
    seconds = {"train": 900.0, "refine": 500.0, "filter": 60.0, "label": 40.0}
    clone.pretend({history: {**FACTS, "seconds": seconds} for history in ("sft1", "sft2")})
    benchmark = clone.folder / "results/tiny/r0/seed/benchmarks/seed.tsv"
    benchmark.parent.mkdir()
    benchmark.write_text("s\th:m:s\n600.0\t0:10:00\n")
    rest = {"experiment": 1, "chain": 1, "report": 1}
    for hours, rounds in ((None, 1), (1.01, 1), (1, 0)):
        config = write_experiment(clone, schedules=[[{"sft": 5}]], hours=hours)
        assert clone.plan(config=config) == rest | dict.fromkeys(ROUND if rounds else (), 1)


def test_chains_run_side_by_side(clone: Clone) -> None:
    plan = clone.plan(config=write_big_experiment(clone))
    assert plan == {
        "report": 1,
        "experiment": 1,
        "oracle": 1,
        "chain": 25,
        **dict.fromkeys(["seed", "baseline", "base", "train", "refine", "filter", "label", "summarize"], 5),
    }


def test_shards_are_jobs_of_their_own_and_their_table_is_joined(clone: Clone) -> None:
    config = write_experiment(clone, shards={"refine": 3, "label": 2})
    one = "results/tiny/r0/sft1/summary.json"
    plan = clone.plan(one, config=config)
    assert plan == {
        **dict.fromkeys(["oracle", "seed", "base", "train", "filter", "summarize"], 1),
        "refine": 3,
        "label": 2,
        "gather_proposals": 1,
        "gather_labeled": 1,
    }
    lines = commands(clone, one, config=config)
    parts = [line for line in lines if "--shard" in line]
    assert [re.findall(r"^ ?llome (\w+) .* --shard (\S+) .*--out \S+/(\S+)", line)[0] for line in parts] == [
        *(("label", f"{n}/2", f"labeled-{n}of2.parquet") for n in (1, 2)),
        *(("refine", f"{n}/3", f"proposals-{n}of3.parquet") for n in (1, 2, 3)),
    ]


def spent() -> float:
    """Seconds that processes started from here have computed: another test may have a processor, too."""
    times = os.times()
    return times.children_user + times.children_system


def test_a_large_plan_is_drawn_up_in_seconds(clone: Clone) -> None:
    config = write_big_experiment(clone)
    targets = [f"results/big/r{rep}/{history}/summary.json" for rep in range(5) for history in HISTORIES]
    before = spent()
    plan = clone.plan(*targets, config=config)
    assert spent() - before < 10
    assert plan["train"] == 5 * 41


def test_a_large_plan_of_variants_is_drawn_up_in_seconds(clone: Clone) -> None:
    config = write_experiment(clone, replicates=5, schedules=[[{"sft": 40}]], variants={f"f{n}": {} for n in range(6)})
    before = spent()
    plan = clone.plan(config=config)
    assert spent() - before < 20
    assert (plan["report"], plan["chain"], plan["train"]) == (6, 30, 30)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schedules": []}, "base: schedules is empty, so the genetic algorithm runs alone"),
        (
            {"variants": {"a": {}, "report": {}}},
            "variants.report: a run keeps files of its own under the name 'report'",
        ),
        (
            {"variants": {"a": {"seed": "configs/seed/tin.yaml"}}},
            "variants.a: seed: there is no file configs/seed/tin.yaml",
        ),
        ({"budget": 1}, "budget: 1 counted evaluations do not pay for the seeds"),
        ({"hours": 0}, "hours: 0 is too small, expected more than 0"),
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


def test_the_profile_of_a_cluster_plans_and_an_unknown_key_of_it_is_named(clone: Clone) -> None:
    profile = clone.folder / "configs/profiles/slurm"
    command = [sys.executable, "-m", "snakemake", "--workflow-profile", str(profile), "--dry-run", "--configfile"]
    command.append("configs/experiments/tiny.yaml")
    run = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    (profile / "config.yaml").write_text((profile / "config.yaml").read_text() + "slurm-partitions: cpu\n")
    run = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True)
    assert run.returncode == 2
    assert "unrecognized arguments: --slurm-partitions=cpu" in run.stderr


def test_a_job_on_a_node_knows_who_makes_its_inputs(clone: Clone) -> None:
    """It plans itself alone and takes files for granted that no rule makes: two rules must not offer one file."""
    clone.pretend({"sft1": FACTS})
    job = ["--mode", "remote", "--force", "--allowed-rules", "base", "--target-jobs", "base:rep=0,run=tiny"]
    run = clone.snakemake("--dry-run", *job)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize(
    ("right", "wrong", "said"),
    [
        ("  train:", "  trian:", "trian: there is no 'trian', did you mean 'train'?"),
        (
            "    slurm_partition: gpu",
            "    slurm_partitions: gpu",
            "train: there is no 'slurm_partitions', did you mean",
        ),
        ("  slurm_partition: cpu", "  slurm_partiton: cpu", "default-resources: there is no 'slurm_partiton', did you"),
        ("    # gpu_model: a100", "    gpus: 2", "train: there is no 'gpus', did you mean 'gpu'?"),
        ("    # gpu_model: a100", "    lsf_queue: long", ""),  # another scheduler's
    ],
)
def test_a_misspelt_resource_of_a_profile_is_named(clone: Clone, right: str, wrong: str, said: str) -> None:
    profile = clone.folder / "configs/profiles/slurm/config.yaml"
    assert right in profile.read_text()
    profile.write_text(profile.read_text().replace(right, wrong, 1))
    run = clone.snakemake("--workflow-profile", str(profile.parent), "--dry-run")
    assert run.returncode == (2 if said else 0), run.stdout + run.stderr
    if said:
        assert "error: the profile sets resources of " in run.stderr
        assert said in run.stderr


def test_two_runs_at_once_in_one_folder_are_refused(clone: Clone) -> None:
    with exclusive(clone.folder / "results/tiny", ".run.lock"):
        run = clone.snakemake()
        assert run.returncode == 2
        assert "another snakemake is at work on results/tiny; wait for it to end" in run.stderr
        assert clone.plan()  # a dry run is none
    assert not (clone.folder / "results/tiny/oracle.json").exists()
