"""The tiny experiment under Snakemake, killed at every stage and resumed."""

from __future__ import annotations

import os
import signal
import subprocess
import time

import psutil
import pytest

from .conftest import Clone, artefacts, forget, processes, times

pytestmark = pytest.mark.slow


def start_and_kill(clone: Clone, stage: str, sign: str, *, workflow: bool = False) -> None:
    """Start the run, and kill `stage` (or Snakemake) once it runs and a file like `sign` (if any) tells how far it is."""
    with open(clone.folder / "killed.log", "w") as log:
        run = subprocess.Popen(clone.command(), cwd=clone.folder, env=clone.environment, stdout=log, stderr=log)
        try:
            found: list[psutil.Process] = []
            while not found and run.poll() is None:
                found = list(processes(clone, stage))
            while found and sign and found[0].is_running() and not list((clone.folder / "results/tiny/r0").glob(sign)):
                time.sleep(0.002)
            if not found or not found[0].is_running():
                pytest.fail(f"{stage} was not caught: {(clone.folder / 'killed.log').read_text()}")
            os.kill(run.pid if workflow else found[0].pid, signal.SIGKILL)
            run.wait(timeout=60)
        finally:
            run.kill()
            run.wait()


@pytest.mark.parametrize(
    ("stage", "sign", "since"),
    [
        ("seed", "seed/.seed.journal", "seed"),
        ("base", "base/.scratch/*", "base"),
        ("train", "sft1/.scratch/model-*/last.ckpt", "sft1"),
        ("train", "", "train"),
        ("refine", "*/.scratch/refine-*/iteration-0.npz", "refine"),
        ("filter", "", "filter"),
        ("label", "", "label"),
        ("label", "*/.labeled.journal", "label"),
    ],
)
def test_a_killed_stage_is_resumed_to_the_same_bytes(copy: Clone, stage: str, sign: str, since: str) -> None:
    """As far as what it makes; that the same bytes lead to the same end, two other tests show."""
    expected = artefacts(copy)
    target = forget(copy, since)
    start_and_kill(copy, stage, sign)
    assert not (copy.folder / target).exists()
    run = copy.snakemake("--", target)
    assert run.returncode == 0, run.stdout + run.stderr
    assert (copy.folder / target).is_file()
    found = artefacts(copy)
    assert found == {name: expected[name] for name in found}


def test_a_killed_workflow_takes_its_stage_along_and_is_resumed(copy: Clone) -> None:
    expected, before = artefacts(copy), times(copy)
    forget(copy, "sft1")
    start_and_kill(copy, "train", "sft1/.scratch/model-*/last.ckpt", workflow=True)
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline and list(processes(copy, "train")):
        time.sleep(0.1)
    assert not list(processes(copy, "train"))
    run = copy.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    assert artefacts(copy) == expected
    now = times(copy)
    for finished_before in (
        "seed/labeled.parquet",
        "ga/labeled.parquet",
        "base/model/model.safetensors",
    ):
        path = str(copy.folder / "results/tiny/r0" / finished_before)
        assert now[path] == before[path]
