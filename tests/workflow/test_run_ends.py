"""Runs that end otherwise than complete: a replicate that fails, a chain whose hours are used up. The report tells what is missing."""

from __future__ import annotations

import csv
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from .conftest import Clone, artefacts

pytestmark = pytest.mark.slow


def change(clone: Clone, **changes: object) -> None:
    path = clone.folder / "configs/experiments/tiny.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load(path.read_text()) | changes))


def rounds_of(clone: Clone, replicate: int) -> list[str]:
    chain = clone.folder / f"results/tiny/r{replicate}/chains/sft2.txt"
    return [Path(line).parent.name for line in chain.read_text().splitlines()]


def test_a_replicate_that_fails_does_not_stop_the_others(root: Path, tmp_path: Path) -> None:
    """What replicate 1 was labelling when it was last stopped cannot be read; replicate 0 has nothing to do with that."""
    clone = Clone.make(root, tmp_path / "a clone")
    change(clone, replicates=2)
    results = clone.folder / "results/tiny"
    journal = results / "r1/sft1/.labeled.journal"
    journal.parent.mkdir(parents=True)
    journal.write_text("no journal\n")
    run = clone.snakemake()
    said = run.stdout + run.stderr
    assert run.returncode == 1
    assert "results/tiny/r1/sft1/.labeled.journal: line 1 is corrupt; delete the file" in said
    assert "Traceback" not in said
    first = rounds_of(clone, 0)
    assert (results / "r0" / first[-1] / "summary.json").is_file()
    assert (results / "r1/sft1/selected.parquet").is_file()
    assert (results / "r1/ga/labeled.parquet").is_file()
    for lacking in ("r1/sft1/labeled.parquet", "r1/chains/sft2.txt", "report/report.html"):
        assert not (results / lacking).exists()
    # the report, drawn by hand, has the one and says what the other lacks
    command = [sys.executable, "-m", "llome.cli", "report", "--experiment", "results/tiny/experiment.yaml"]
    drawn = subprocess.run(command, cwd=clone.folder, env=clone.environment, capture_output=True, text=True)
    assert drawn.returncode == 0, drawn.stderr
    missing = "r1: rounds sft1, sft2"
    assert [line for line in drawn.stdout.splitlines() if "not run yet" in line] == [f"not run yet: {missing}"]
    assert f"Unfinished. Not run yet: {missing}." in (results / "report/report.html").read_text()
    with open(results / "report/fig2a.csv", newline="") as file:
        curves = {(row["series"], row["replicate"]) for row in csv.DictReader(file)}
    assert curves == {("GA", "0"), ("GA", "1"), ("GA", "mean"), ("LLOME sft2", "0")}
    # mended, the same command runs what is missing and nothing else
    before = {name: value for name, value in artefacts(clone).items() if name.startswith("r0/")}
    journal.unlink()
    mended = clone.snakemake()
    assert mended.returncode == 0, mended.stdout + mended.stderr
    assert "r0 sft" not in mended.stdout + mended.stderr
    assert {name: value for name, value in artefacts(clone).items() if name.startswith("r0/")} == before
    assert rounds_of(clone, 1)
    assert "not run yet" not in (results / "report/summary.txt").read_text()


def test_a_chain_ends_when_its_hours_are_used_up_and_goes_on_with_more(copy: Clone) -> None:
    expected, complete = artefacts(copy), rounds_of(copy, 0)
    summary = copy.folder / "results/tiny/report/summary.txt"
    early = ["sft2 r0: stopped after 1 of 2 rounds"] if len(complete) > 1 else []  # or the first has found the optimum
    redrawn = {"experiment": 1, "report": 1}
    rejoined = redrawn | ({"chain": 1} if early else {})
    for hours, rounds, stopped, jobs in ((1e-6, ["sft1"], early, rejoined), (1_000, complete, [], rejoined)):
        change(copy, hours=hours)
        assert copy.plan() == jobs
        run = copy.snakemake()
        assert run.returncode == 0, run.stdout + run.stderr
        assert yaml.safe_load((copy.folder / "results/tiny/experiment.yaml").read_text())["hours"] == hours
        assert rounds_of(copy, 0) == rounds
        assert re.findall("sft2 r0: stopped after .* rounds", summary.read_text()) == stopped
        assert artefacts(copy) == expected
    change(copy, hours=None)
    assert copy.plan() == redrawn
