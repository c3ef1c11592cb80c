"""Rounds whose candidates are evolved on a surrogate: each goes on from the last one's, and the whole of it repeats to the byte."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llome.provenance import hash_file
from llome.tables import Labeled, Selected

from .conftest import Clone

EVOLVED = "configs/experiments/tiny_evolved.yaml"


def test_a_surrogate_is_fitted_each_round(clone: Clone) -> None:
    """As far as the first checkpoint; without one in the experiment, none is."""
    assert clone.plan(config=EVOLVED)["surrogate"] == 1
    assert "surrogate" not in clone.plan()
    target = "results/tiny_evolved/r0/sft2/selected.parquet"
    assert clone.plan(target, config=EVOLVED)["surrogate"] == 2


@pytest.mark.slow
def test_two_evolved_rounds(root: Path, tmp_path: Path) -> None:
    clone = Clone.make(root, tmp_path / "a clone")
    run = clone.snakemake(config=EVOLVED)
    assert run.returncode == 0, run.stdout + run.stderr
    folder = clone.folder / "results/tiny_evolved/r0"
    first, second = (json.loads((folder / r / "surrogate/surrogate.json").read_text()) for r in ("sft1", "sft2"))
    assert first["inputs"]["parent"] is None
    assert second["inputs"]["parent"] == hash_file(folder / "sft1/surrogate")
    assert second["facts"]["rows"] > first["facts"]["rows"]
    spent = 120
    for name in ("sft1", "sft2"):
        selected = Selected.read(folder / name / "selected.parquet")
        assert selected.meta.facts["guided"] + selected.meta.facts["explored"] == len(selected) <= 30
        spent += len(selected)
        assert Labeled.read(folder / name / "labeled.parquet").meta.spent == spent
    page = (clone.folder / "results/tiny_evolved/report/report.html").read_text()
    assert "The paper says, we see" not in page  # it is not the paper's method
    again = Clone.make(root, tmp_path / "again")
    target = "results/tiny_evolved/r0/sft2/selected.parquet"
    assert again.snakemake("--cores", "1", "--", target, config=EVOLVED).returncode == 0
    for name in ("sft1", "sft2"):
        assert hash_file(again.folder / "results/tiny_evolved/r0" / name / "selected.parquet") == hash_file(
            folder / name / "selected.parquet"
        )
