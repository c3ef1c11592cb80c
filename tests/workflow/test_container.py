"""Snakemake with the image: what it says when something is missing, and that every stage runs in it."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path

import pytest

from .conftest import Clone

APPTAINER = ("--software-deployment-method", "apptainer")
# Writes down how it was called, and carries the command out where it is.
STAND_IN = """#!/bin/sh
if [ "$1" = --version ]; then echo apptainer version 1.3.0; exit; fi
echo "$@" >> {calls}
while [ "$1" != -c ]; do shift; done
exec bash "$@"
"""


@pytest.fixture
def with_image(clone: Clone) -> Clone:
    (clone.folder / "containers").mkdir()
    (clone.folder / "containers/llome.sif").touch()
    return clone


def test_without_the_image_is_one_line(clone: Clone) -> None:
    run = clone.snakemake(*APPTAINER)
    assert run.returncode == 2
    assert "error: there is no image containers/llome.sif; build it with make sif" in run.stderr
    assert not (clone.folder / "results").exists()


def test_without_apptainer_snakemake_says_so(
    with_image: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name in ("bash", "which"):
        (tmp_path / name).symlink_to(shutil.which(name) or name)
    monkeypatch.setenv("PATH", str(tmp_path))
    run = with_image.snakemake(*APPTAINER)
    assert run.returncode == 1
    assert "The apptainer or singularity command has to be available" in run.stdout + run.stderr
    assert not (with_image.folder / "results").exists()


def test_a_stage_runs_in_the_image(with_image: Clone, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls, program = tmp_path / "calls", tmp_path / "bin/apptainer"
    program.parent.mkdir()
    program.write_text(STAND_IN.format(calls=shlex.quote(str(calls))))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    run = with_image.snakemake(*APPTAINER, "--", "results/tiny/oracle.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (with_image.folder / "results/tiny/oracle.json").is_file()
    (call,) = calls.read_text().split("exec --home")[1:]
    assert " containers/llome.sif bash -c " in call
    assert "llome oracle --spec" in call


def test_without_asking_for_it_the_image_is_not_used(clone: Clone) -> None:
    run = clone.snakemake("--", "results/tiny/oracle.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (clone.folder / "results/tiny/oracle.json").is_file()
