"""The tiny experiment on a real SLURM: as on this machine alone, whatever befalls its jobs."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from workflow.conftest import Clone, artefacts, processes

from llome.policy.causal_lm import load_policy

from .slurm import Cluster

pytestmark = pytest.mark.slow
PROFILE = "configs/profiles/slurm/config.yaml"
HURRY = {"latency-wait": 10, "slurm-init-seconds-before-status-checks": 3, "jobs": 8}


def rewrite(path: Path, **changes: object) -> None:
    path.write_text(yaml.safe_dump({**yaml.safe_load(path.read_text()), **changes}))


def make_clone(root: Path, folder: Path) -> Clone:
    """The tiny experiment in shards, with training and refinement long enough to be caught in the middle."""
    clone = Clone.make(root, folder)
    train = clone.folder / "configs/train/sft_tiny.yaml"
    trainer = yaml.safe_load(train.read_text())["trainer"] | {"max_epochs": 40, "limit_train_batches": 1.0}
    rewrite(train, trainer=trainer | {"check_val_every_n_epoch": 10})
    rewrite(clone.folder / "configs/refine/tiny.yaml", iterations=12)
    rewrite(clone.folder / "configs/experiments/tiny.yaml", shards={"refine": 2, "label": 2})
    return clone


@pytest.fixture(scope="module")
def local(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    """The run on this machine alone."""
    clone = make_clone(root, tmp_path_factory.mktemp("local") / "a clone")
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    return clone


class Submitted:
    """A run whose stages are jobs of the cluster."""

    def __init__(self, clone: Clone, cluster: Cluster, *args: str, **profile: object) -> None:
        self.clone, self.cluster = clone, cluster
        settings = yaml.safe_load((clone.folder / PROFILE).read_text())
        logs = str(clone.folder.parent / "logs")  # scontrol's words are read by the spaces between them
        rewrite(
            clone.folder / PROFILE,
            **HURRY,
            **{"slurm-logdir": logs},
            **{key: {**settings[key], **profile[key]} for key in profile},
        )
        self.since = max((int(job["JobId"]) for job in cluster.jobs() if "JobId" in job), default=0)
        command = [sys.executable, "-m", "snakemake", "--workflow-profile", "configs/profiles/slurm"]
        self.log = clone.folder / "slurm.log"
        with self.log.open("w") as file:
            self.process = subprocess.Popen(
                [*command, "--configfile", "configs/experiments/tiny.yaml", *args],
                cwd=clone.folder,
                env=clone.environment,
                stdout=file,
                stderr=file,
            )

    def jobs(self, rule: str, *wildcards: str) -> list[dict[str, str]]:
        """This run's jobs of a rule, in the order of their submission; the wildcards are part of the name of their logs."""
        mine = [job for job in self.cluster.jobs() if int(job.get("JobId", 0)) > self.since]
        found = [
            job for job in mine if f"/rule_{rule}/" in job["StdOut"] and all(w in job["StdOut"] for w in wildcards)
        ]
        return sorted(found, key=lambda job: int(job["JobId"]))

    def wait(self, what: str, condition: Callable[[], object], seconds: float = 600) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"{what}: never seen\n{self.log.read_text()}")
            time.sleep(0.05)

    def end(self, seconds: float = 900) -> str:
        """Everything that was printed, once the run has ended."""
        try:
            self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"the run does not end\n{self.log.read_text()}")
        return self.log.read_text()

    def running(self, rule: str, *wildcards: str) -> str | None:
        """The number of the rule's job that runs."""
        return next((job["JobId"] for job in self.jobs(rule, *wildcards) if job["JobState"] == "RUNNING"), None)

    def cancel(self, rule: str, *wildcards: str) -> None:
        self.wait(f"a running job of {rule}", lambda: self.running(rule, *wildcards))
        subprocess.run(["scancel", str(self.running(rule, *wildcards))], check=True)


@pytest.fixture(scope="module")
def submitted(cluster: Cluster, root: Path, tmp_path_factory: pytest.TempPathFactory) -> Submitted:
    """A run on the cluster, whose jobs were cancelled in training and in refinement, and which was warned before a time limit."""
    clone = make_clone(root, tmp_path_factory.mktemp("submitted") / "a clone")
    replicate = clone.folder / "results/tiny/r0"
    run = Submitted(
        clone,
        cluster,
        **{
            "default-resources": {"slurm_extra": "'--signal=USR1@90'"},
            "set-resources": {
                "train": {"runtime": 3, "slurm_partition": "cpu"},
                "refine": {"slurm_partition": "gpu", "gpu": 1, "gpu_model": "a100"},
            },
        },
    )
    run.wait("a state of training", lambda: list(replicate.glob("sft1/.scratch/model-*/last.ckpt")))
    run.cancel("train", "sft1")
    run.wait("an iteration", lambda: list(replicate.glob("sft1/shards/.scratch/refine-*/iteration-0.npz")))
    run.cancel("refine", "sft1")
    run.wait("a state of training", lambda: list(replicate.glob("sft2/.scratch/model-*/last.ckpt")))
    for process in processes(clone, "train"):
        process.suspend()  # as if its steps took long
    # The warning comes 90 seconds before the end of three minutes, or up to a minute earlier: SLURM promises no more.
    run.wait("the warning", lambda: warned(run.jobs("train", "sft2")))
    for process in processes(clone, "train"):
        process.resume()
    run.end()
    return run


def warned(jobs: list[dict[str, str]]) -> bool:
    """Whether the job of the second round has been warned: it is in the queue again, or was slow for long enough."""
    return bool(jobs) and (jobs[0]["Restarts"] == "1" or jobs[0]["RunTime"] > "00:01:45")


def apart(one: Clone, other: Clone) -> dict[str, float]:
    """How far the weights of two runs are from each other, by model: rounding, or something else."""
    weights = [
        {p.relative_to(c.folder): load_file(p) for p in c.folder.rglob("model.safetensors")} for c in (one, other)
    ]
    return {
        str(path): max(float((tensor - weights[1][path][name]).abs().max()) for name, tensor in model.items())
        for path, model in weights[0].items()
        if path in weights[1]
    }


def test_a_run_on_a_cluster_ends_as_on_one_machine(submitted: Submitted, local: Clone) -> None:
    assert submitted.process.returncode == 0, submitted.log.read_text()
    assert artefacts(submitted.clone) == artefacts(local), apart(submitted.clone, local)
    assert not submitted.jobs("summarize")  # a matter of seconds, done where snakemake runs
    assert "gpu:a100" in str(submitted.jobs("refine", "sft2")[0])
    assert submitted.jobs("refine", "sft2")[0]["Partition"] == "gpu"


def test_cancelled_jobs_are_submitted_again_and_go_on(submitted: Submitted) -> None:
    assert [job["JobState"] for job in submitted.jobs("train", "sft1")] == ["CANCELLED", "COMPLETED"]
    states = [job["JobState"] for job in submitted.jobs("refine", "sft1")]
    assert sorted(states) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    log = submitted.clone.folder / "results/tiny/r0/sft1/logs/train.log"
    assert "going on from" in log.read_text()


def test_a_job_whose_time_is_nearly_up_saves_and_requeues_itself(submitted: Submitted) -> None:
    (job,) = submitted.jobs("train", "sft2")
    assert (job["JobState"], job["Restarts"]) == ("COMPLETED", "1")
    assert "going on from" in (submitted.clone.folder / "results/tiny/r0/sft2/logs/train.log").read_text()


def test_a_job_that_lacks_memory_gets_more_and_one_that_loses_its_node_runs_again(
    cluster: Cluster, root: Path, tmp_path: Path
) -> None:
    clone = make_clone(root, tmp_path / "a clone")
    model = "results/tiny/r0/base/model/llome.json"
    grows = {"base": {"mem_mb": "250 * 8 ** (attempt - 1)"}}
    run = Submitted(clone, cluster, "--", model, **{"set-resources": grows})
    run.wait("a second attempt", lambda: len(run.jobs("base")) == 2 and run.running("base"))
    node = run.jobs("base")[1]["NodeList"]
    try:
        subprocess.run(["scontrol", "update", f"nodename={node}", "state=down", "reason=test"], check=True)
        said = run.end()
    finally:
        subprocess.run(
            ["scontrol", "update", f"nodename={node}", "state=resume"], check=False
        )  # or it is back by itself
    assert run.process.returncode == 0, said
    lacking, lost = run.jobs("base")
    assert lacking["JobState"] in ("FAILED", "OUT_OF_MEMORY")
    assert "mem=250M" in lacking["TRES"]
    assert "mem=2000M" in lost["TRES"]
    assert (lost["JobState"], lost["Restarts"]) == ("COMPLETED", "1")
    assert (clone.folder / model).is_file()


def test_two_nodes_train_one_policy(submitted: Submitted, root: Path, tmp_path: Path) -> None:
    clone = submitted.clone.copy(tmp_path / "a copy")
    first = clone.folder / "results/tiny/r0/sft1"
    alone = load_policy(first / "model")
    shutil.rmtree(first)
    strategy = {"trainer": {"strategy": "ddp", "num_nodes": 1}}
    (clone.folder / "nodes.yaml").write_text(yaml.safe_dump(strategy))
    rewrite(clone.folder / "configs/experiments/tiny.yaml", strategy="nodes.yaml")
    shutil.copy(root / PROFILE, clone.folder / PROFILE)
    nodes = {
        "mpi": "srun",
        "nodes": 2,
        "tasks": 2,
        "slurm_partition": "cpu",
        "mem_mb_per_cpu": 2000,
        "cpus_per_task": 1,
    }
    launch = "'GLOO_SOCKET_IFNAME=lo srun -J train --kill-on-bad-exit --nodes=2 --ntasks-per-node=1'"
    train = {"train": {**nodes, "launch": launch}}
    run = Submitted(clone, submitted.cluster, "--", "results/tiny/r0/sft1/model/llome.json", **{"set-resources": train})
    said = run.end()
    assert run.process.returncode == 0, said
    (job,) = run.jobs("train")
    assert (job["NumNodes"], job["NumTasks"], job["JobState"]) == ("2", "2", "COMPLETED")
    together = load_policy(first / "model")
    assert together[2].facts["steps"] == alone[2].facts["steps"]
    for mine, theirs in zip(together[0].parameters(), alone[0].parameters(), strict=True):
        torch.testing.assert_close(
            mine, theirs, rtol=0, atol=2e-3
        )  # sums in another order, through 40 epochs of float32
    assert together[2].facts["val_loss"] == pytest.approx(alone[2].facts["val_loss"], rel=1e-3)
