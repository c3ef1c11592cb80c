"""A run as Snakemake leaves it: verified as it is, told of by its records, and caught when a file is changed."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from llome.machine import records
from llome.provenance import read_json
from llome.tables import Labeled

from .conftest import Clone

pytestmark = pytest.mark.slow


def verify(clone: Clone) -> tuple[int, list[str]]:
    command = [sys.executable, "-m", "llome.cli", "verify", "results/tiny"]
    done = subprocess.run(command, cwd=clone.folder, capture_output=True, text=True)
    assert done.stderr == ""
    return done.returncode, done.stdout.splitlines()


def test_a_finished_run_holds_until_a_score_is_changed(copy: Clone) -> None:
    assert verify(copy) == (0, ["29 files checked, 0 do not hold (scores were not asked for again)"])
    file = copy.folder / "results/tiny/r0/sft2/labeled.parquet"
    table = Labeled.read(file)
    replace(table, score=np.where(np.arange(len(table)) == 0, 0.5, table.score)).write(file)
    code, lines = verify(copy)
    assert code == 1
    assert {line.split(":")[0] for line in lines[:-1]} == {"results/tiny/r0/sft2/summary.json"}


def test_every_stage_of_a_round_has_left_its_record(copy: Clone) -> None:
    here = copy.folder / "results/tiny/r0/sft2"
    assert list(records(here)) == ["filter", "label", "refine", "summarize", "train"]
    made = read_json(here / "summary.json")["made_by"]
    assert set(made) == {"filter", "label", "refine", "summarize", "train"}
    assert isinstance(made["train"]["gpu"], list)  # it has torch
    assert made["label"]["gpu"] is None
    assert records(here)["train"] == made["train"]
