"""The tiny experiment analysed after the fact: what the loop did and counted stays as it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llome.provenance import read_json
from llome.tables import Labeled

from .conftest import Clone, artefacts

pytestmark = pytest.mark.slow


def test_a_finished_experiment_is_analysed(copy: Clone) -> None:
    expected, results = artefacts(copy), copy.folder / "results" / "tiny"
    rounds = [Path(line).parent.name for line in (results / "r0/chains/sft2.txt").read_text().splitlines()]
    path = copy.folder / "configs/experiments/tiny.yaml"
    before = path.read_text()
    path.write_text(yaml.safe_dump(yaml.safe_load(before) | {"analyze": True}))
    assert copy.plan() == {"experiment": 1, "analyze": len(rounds), "chain": 1, "report": 1}
    run = copy.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    found = artefacts(copy)
    added = {f"r0/{history}/analysis/{name}" for history in rounds for name in ("facts.json", "scored.parquet")}
    added |= {f"r0/{history}/made_by/analyze.json" for history in rounds}
    assert set(found) - set(expected) == added
    assert {name: found[name] for name in expected} == expected
    for history in rounds:
        facts, summary = (
            read_json(results / "r0" / history / name) for name in ("analysis/facts.json", "summary.json")
        )
        assert facts["distinct"] == summary["unique"] == facts["spent"] + facts["reused"]
        assert facts["selection"]["count"] == summary["selected"]
        assert facts["selection"]["best_selected"] == (summary["best_of_round"] or 0.0)
        assert facts["selection"]["pool"] == summary["novel"]
        assert Labeled.read(results / "r0" / history / "labeled.parquet").meta.spent == summary["counted"]
    figures = ("fig4", "fig5", "fig6a", "fig6b", "fig12")
    assert {p.name for p in (results / "report").iterdir()} >= {
        f"{f}.{kind}" for f in figures for kind in ("svg", "csv")
    }
    assert "analysed" not in (results / "report" / "summary.txt").read_text()
    assert copy.plan() == {}
    path.write_text(before)
    assert copy.plan() == {"experiment": 1, "chain": 1, "report": 1}
