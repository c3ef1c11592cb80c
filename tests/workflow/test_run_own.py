"""The shipped experiments on problems of one's own, end to end: a landscape in a table, and a laboratory with a person in the loop."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from llome.domain import Alphabet
from llome.exchange import write_rows
from llome.tables import Labeled

from .conftest import Clone

PROTEIN = Alphabet.of("protein")
WILD_TYPE = "MKTAYIAKQRQI"


def landscape() -> tuple[list[str], np.ndarray]:
    """All 160,000 variants of four sites: exp of what each residue and each pair of neighbouring sites adds, normal numbers of seed 0.

    The best is 1; most are below a thousandth.
    """
    rng = np.random.default_rng(0)
    alone, together = 1.5 * rng.normal(size=(4, 20)), rng.normal(size=(3, 20, 20))
    variants = np.stack(np.unravel_index(np.arange(20**4), (20,) * 4), axis=1)
    sums = alone[np.arange(4), variants].sum(axis=1)
    sums += together[np.arange(3), variants[:, :-1], variants[:, 1:]].sum(axis=1)
    return PROTEIN.decode(variants), np.exp(sums - sums.max())


def shorter(clone: Clone) -> None:
    """Smaller settings of the stages: a minute, not ten, on two cores. And a folder for the user's tables."""
    for name, changes in {
        "base/small": {"hidden_size": 32, "warmup_steps": 100},
        "refine/laptop": {"num_seeds": 20, "iterations": 2},
        "surrogate/small": {"filters": 32, "first_steps": 200, "steps": 80},
    }.items():
        file = clone.folder / f"configs/{name}.yaml"
        file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | changes))
    (clone.folder / "data").mkdir()


@pytest.mark.slow
def test_a_landscape_that_was_measured_before(clone: Clone) -> None:
    shorter(clone)
    variants, scores = landscape()
    write_rows(clone.folder / "data/landscape.csv", {"sequence": variants, "score": scores.tolist()})
    # 384 of the worse nine tenths, so that there is something to find
    rows = np.random.default_rng(1).choice(np.flatnonzero(scores < np.quantile(scores, 0.9)), 384, replace=False)
    known = {"sequence": [variants[row] for row in rows], "score": scores[rows].tolist()}
    write_rows(clone.folder / "data/measured.csv", known)
    run = clone.snakemake(config="configs/experiments/protein_gb1_like.yaml")
    assert run.returncode == 0, run.stdout + run.stderr
    root = clone.folder / "results/protein_gb1_like"
    found = [Labeled.read(path) for path in sorted(root.glob("r0/sft*/labeled.parquet"))]
    assert {len(table) for table in found} == {96}  # five rounds, or fewer where the best of all is found
    best = max(table.score.max() for table in found)
    # 480 variants drawn by chance would have their best in the top 1/480; this is among the best 80 of 160,000
    assert (scores > best).sum() < 80
    assert "labels given" in (root / "report/summary.txt").read_text()


def measured(folder: Path, mistakes: bool) -> None:
    """What a person would save: how like a hidden sequence each is; with mistakes, one plate in two has none of the second half."""
    with open(folder / "to_label.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        row["score"] = str(sum(a == b for a, b in zip(row["sequence"], "MKWAYLAKQDQV", strict=True)))
    if mistakes:
        rows[3]["score"] = "about 5"
        rows[7]["id"] = "99999"
    with open(folder / "labeled.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)


@pytest.mark.slow
def test_a_laboratory_in_the_loop(clone: Clone) -> None:
    shorter(clone)
    rng = np.random.default_rng(0)
    start = np.tile(PROTEIN.encode(WILD_TYPE), (60, 1))
    for row in start:
        row[rng.choice(np.arange(1, 12), 2, replace=False)] = rng.integers(20, size=2)
    texts = list(dict.fromkeys(PROTEIN.decode(start)))
    likeness = [float(sum(a == b for a, b in zip(text, "MKWAYLAKQDQV", strict=True))) for text in texts]
    write_rows(clone.folder / "data/measured.csv", {"sequence": texts, "score": likeness})
    config = "configs/experiments/lab.yaml"
    for number in (1, 2, 3):
        run = clone.snakemake(config=config)
        folder = clone.folder / f"results/lab/r0/sft{number}"
        assert run.returncode != 0
        assert "to_label.csv" in run.stderr
        assert "labeled.csv" in run.stderr
        if number == 1:
            measured(folder, mistakes=True)
            run = clone.snakemake(config=config)
            assert run.returncode != 0
            assert "2 mistakes" in run.stderr + (folder / "logs/label.log").read_text()
            assert not (folder / "labeled.parquet").exists()
        measured(folder, mistakes=False)
    run = clone.snakemake(config=config)
    assert run.returncode == 0, run.stdout + run.stderr
    tables = [Labeled.read(clone.folder / f"results/lab/r0/sft{n}/labeled.parquet") for n in (1, 2, 3)]
    wild = np.array(PROTEIN.encode(WILD_TYPE))
    for table in tables:
        assert (table.sequence[:, 0] == wild[0]).all()
        assert ((table.sequence != wild).sum(axis=1) <= 4).all()
    assert max(table.score.max() for table in tables) > max(likeness)
    verified = subprocess.run(
        [sys.executable, "-m", "llome.cli", "verify", "results/lab"], cwd=clone.folder, capture_output=True, text=True
    )
    assert verified.returncode == 0, verified.stdout
