"""Rounds whose proposals are ranked by LEON, in refinement and for the choice of the candidates, end to end."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from llome.cli import main
from llome.tables import Labeled, Proposals, Selected

from .conftest import Clone

RANKED = "configs/experiments/tiny_ranked.yaml"


def test_a_surrogate_is_fitted_before_the_policy_edits(clone: Clone) -> None:
    target = "results/tiny_ranked/r0/sft1/proposals.parquet"
    assert clone.plan(target, config=RANKED)["surrogate"] == 1


@pytest.mark.slow
def test_two_ranked_rounds(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clone = Clone.make(root, tmp_path / "a clone")
    run = clone.snakemake(config=RANKED)
    assert run.returncode == 0, run.stdout + run.stderr
    folder = clone.folder / "results/tiny_ranked/r0"
    for name in ("sft1", "sft2"):
        proposals = Proposals.read(folder / name / "proposals.parquet")
        assert proposals.meta.settings["rank"] == "leon"
        selected = Selected.read(folder / name / "selected.parquet")
        facts = selected.meta.facts
        assert {"lambda", "mu", "distance"} <= facts.keys() or "not_ranked" in facts
        assert facts["ranked"] + facts["drawn"] == len(selected)
        assert Labeled.read(folder / name / "labeled.parquet").meta.inputs["selected"]
    card = json.loads((folder / "sft2/surrogate/surrogate.json").read_text())
    assert card["outputs"] == 2
    assert "beside paper Fig. 5" in (clone.folder / "results/tiny_ranked/report/report.html").read_text()
    assert main(["verify", str(clone.folder / "results/tiny_ranked")]) == 0, capsys.readouterr()
