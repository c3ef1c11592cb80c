"""Several runs of one file under Snakemake: variants and rivals run, side by side and apart, and one that fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llome.provenance import hash_file
from llome.tables import Labeled

from .conftest import Clone

pytestmark = pytest.mark.slow
TINY = "configs/experiments/tiny.yaml"


def write(clone: Clone, file: str, settings: dict[str, object]) -> str:
    (clone.folder / file).write_text(yaml.safe_dump(settings))
    return file


def tables(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): hash_file(path) for path in sorted(folder.rglob("*.parquet"))}


def test_two_variants_and_a_rival(root: Path, tmp_path: Path) -> None:
    clone = Clone.make(root, tmp_path / "a clone")
    settings = yaml.safe_load((clone.folder / TINY).read_text()) | {"schedules": [[{"sft": 1}]]}
    write(clone, "configs/filter/few.yaml", {"k": 10, "likelihood_quantile": 0.2})
    write(clone, "configs/seed/tuned.yaml", {"rounds": 1, "population": 30, "mutation_probability": 0.2})
    variants = {"many": {}, "few": {"filter": "configs/filter/few.yaml", "baseline": 200}}
    config = write(
        clone, "experiment.yaml", {**settings, "rivals": {"tuned": "configs/seed/tuned.yaml"}, "variants": variants}
    )
    run = clone.snakemake(config=config)
    assert run.returncode == 0, run.stdout + run.stderr
    results = clone.folder / "results/tiny"
    seen = (path.name for path in results.iterdir() if not path.name.startswith("."))
    assert sorted(seen) == ["experiment.yaml", "few", "logs", "many", "report"]
    for name in variants:
        report = f"results/tiny/{name}/report/report.html"
        assert f"\ntiny/{name}\n" in run.stdout
        assert f"\nReport: {report}\n" in run.stdout
        assert f"tiny/{name}: r0 sft1: training" in run.stdout + run.stderr
        text = (clone.folder / report).read_text()
        assert f"<h1>LLOME: tiny/{name}</h1>" in text
        assert "configs/seed/tuned.yaml" in text
        assert yaml.safe_load((results / name / "experiment.yaml").read_text())["variant"] == name
    text = (results / "report/report.html").read_text()
    assert "<h1>LLOME: tiny</h1>" in text
    assert "few: GA (tuned)" in text
    assert run.stdout.rstrip().endswith("Report: results/tiny/report/report.html")
    many, few = results / "many/r0", results / "few/r0"
    # paired: what no change has touched is the same, down to the proposals
    for table in ("seed/labeled.parquet", "sft1/proposals.parquet"):
        assert hash_file(many / table) == hash_file(few / table)
    assert len(Labeled.read(few / "sft1/labeled.parquet")) <= 10 < len(Labeled.read(many / "sft1/labeled.parquet"))
    spent = [
        Labeled.read(r / folder / "labeled.parquet").meta.spent for r in (many, few) for folder in ("ga", "ga-tuned")
    ]
    assert spent == [160, 180, 200, 210]  # 120 and a batch of 30 by 40, or 200, and the rival's by 30
    # drawn again, the same
    page = results / "few/report/report.html"
    before = page.read_text()
    command = [sys.executable, "-m", "llome.cli", "report", "--experiment", "results/tiny/few/experiment.yaml"]
    subprocess.run(command, cwd=clone.folder, env=clone.environment, check=True, capture_output=True)
    assert page.read_text() == before
    again = clone.snakemake(config=config)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "Nothing to be done" in again.stderr
    assert "Report:" not in again.stdout
    # the same experiment without variants: other paths, the same tables
    alone = clone.snakemake(config=write(clone, "alone.yaml", {**settings, "name": "alone"}))
    assert alone.returncode == 0, alone.stdout + alone.stderr
    expected = {name: value for name, value in tables(results / "many").items() if "ga-tuned" not in name}
    assert tables(clone.folder / "results/alone") == expected


def test_a_variant_that_fails_does_not_stop_the_others(root: Path, tmp_path: Path) -> None:
    """With the genetic algorithm alone, which takes no time."""
    clone = Clone.make(root, tmp_path / "a clone")
    write(clone, "configs/seed/bad.yaml", {"rounds": 1, "population": 40, "mutation_rate": 0.2})
    settings = {
        "name": "alone",
        "oracle": "configs/oracles/tiny.yaml",
        "seed": "configs/seed/tiny.yaml",
        "replicates": 2,
    }
    settings |= {"schedules": [], "baseline": 200, "rivals": {"tuned": "configs/seed/tiny.yaml"}}
    variants = {"bad": {"rivals": {"tuned": "configs/seed/bad.yaml"}}, "good": {"random_seed": 1}}
    config = write(clone, "experiment.yaml", {**settings, "variants": variants})
    run = clone.snakemake(config=config)
    said = run.stdout + run.stderr
    assert run.returncode == 1
    assert "unknown setting 'mutation_rate' in configs/seed/bad.yaml, did you mean 'mutation_probability'?" in said
    results = clone.folder / "results/alone"
    assert "\nReport: results/alone/good/report/report.html\n" in run.stdout
    assert "GA" in (results / "good/report/summary.txt").read_text()
    assert not (results / "bad/report").exists()
    assert not (results / "report").exists()
    for replicate in ("r0", "r1"):
        assert (results / "bad" / replicate / "ga/labeled.parquet").is_file()
        assert (results / "good" / replicate / "ga-tuned/labeled.parquet").is_file()
    write(clone, "configs/seed/bad.yaml", {"rounds": 1, "population": 40, "mutation_probability": 0.2})
    mended = clone.snakemake(config=config)
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "Report: results/alone/bad/report/report.html" in mended.stdout
    assert "alone/good/report" not in mended.stdout
    assert "Report: results/alone/report/report.html" in mended.stdout
