"""The tiny experiment on a real SLURM: as on this machine alone, whatever befalls its jobs."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from workflow.conftest import Clone, artefacts

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

    def wait(self, what: str, condition: Callable[[], object], seconds: float = 240) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.process.kill()
                pytest.fail(f"{what}: never seen\n{self.log.read_text()}")
            time.sleep(0.05)

    def end(self, seconds: float = 600) -> str:
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


def test_on_a_cluster_as_on_one_machine(cluster: Cluster, local: Clone, root: Path, tmp_path: Path) -> None:
    """Jobs are cancelled in training and in refinement, a node is lost, a time limit is hit, and not a byte differs."""
    clone = make_clone(root, tmp_path / "a clone")
    replicate = clone.folder / "results/tiny/r0"
    run = Submitted(
        clone,
        cluster,
        **{
            "default-resources": {"slurm_extra": "'--signal=USR1@45'"},
            "set-resources": {
                "train": {"runtime": 1, "slurm_partition": "cpu"},
                "refine": {"slurm_partition": "gpu", "gpu": 1, "gpu_model": "a100"},
            },
        },
    )
    run.wait("a state of training", lambda: list(replicate.glob("sft1/.scratch/model-*/last.ckpt")))
    run.cancel("train", "sft1")
    run.wait("an iteration", lambda: list(replicate.glob("sft1/shards/.scratch/refine-*/iteration-0.npz")))
    run.cancel("refine", "sft1")
    said = run.end()
    assert run.process.returncode == 0, said
    assert artefacts(clone) == artefacts(local)
    states = [job["JobState"] for job in run.jobs("train", "sft1")]
    assert states == ["CANCELLED", "COMPLETED"]
    assert sorted(job["JobState"] for job in run.jobs("refine", "sft1")) == ["CANCELLED", "COMPLETED", "COMPLETED"]
    assert "gpu:a100" in str(run.jobs("refine", "sft1")[0])
    assert not run.jobs("summarize")
