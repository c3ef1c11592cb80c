"""The plan of a run: which jobs, how often, and how fast it is drawn up. No stage is run here."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llome.experiment import load_experiments
from llome.provenance import exclusive

from .conftest import Clone

HISTORIES = ["sft10", "sft1-marge9", "sft1-dpo9", "sft2-marge8", "sft5-dpo5"]
POLICY = ("base", "train", "refine", "filter")
ROUND = ("train", "refine", "filter", "label", "summarize")
FACTS = {"regret": 0.5, "counted": 10, "labeled": 5}


def write_experiment(clone: Clone, *, without: tuple[str, ...] = (), **changes: object) -> str:
    settings = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())
    kept = {key: value for key, value in settings.items() if key not in without}
    (clone.folder / "experiment.yaml").write_text(yaml.safe_dump({**kept, **changes}))
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


def commands(clone: Clone, *targets: str, config: str) -> list[str]:
    """The shell commands that a run would start, sorted; each ends with its log."""
    run = clone.snakemake("--dry-run", "--printshellcmds", "--", *targets, config=config)
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.findall(r"^Shell command: (.*?(?:2>&1|\.log))$", run.stdout + run.stderr, re.MULTILINE | re.DOTALL)
    return sorted(line.lstrip() for line in found)


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
