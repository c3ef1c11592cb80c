"""Ask and tell and Snakemake are the same run: the same bytes, and either goes on where the other stopped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llome.provenance import hash_file

from .conftest import Clone

LOOP = """
import sys
import numpy as np
from llome.optimizer import Optimizer
from llome.scoring.oracle import load_oracle

optimizer = Optimizer(sys.argv[1], folder="results")
oracle = load_oracle(optimizer.layout.oracle)
for _ in range(int(sys.argv[2])):
    asked = optimizer.ask()
    optimizer.tell(asked, oracle(np.array([optimizer.domain.alphabet.encode(text) for text in asked])).tolist())
"""


def tables(clone: Clone, name: str) -> dict[str, str]:
    root = clone.folder / "results" / name
    return {str(p.relative_to(root)): hash_file(p) for p in sorted(root.rglob("*.parquet"))}


@pytest.mark.slow
def test_a_run_begun_in_python_goes_on_under_snakemake(clone: Clone) -> None:
    experiment = clone.folder / "configs/experiments/tiny.yaml"
    told = clone.folder / "told.yaml"
    told.write_text(yaml.safe_dump(yaml.safe_load(experiment.read_text()) | {"name": "told"}))
    run = clone.snakemake()
    assert run.returncode == 0, run.stdout + run.stderr
    sums = {"OMP_NUM_THREADS": "2", "MKL_NUM_THREADS": "2", "MKL_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
    environment = {**clone.environment, **sums}
    loop = [sys.executable, "-c", LOOP, "told.yaml", "1"]
    begun = subprocess.run(loop, cwd=clone.folder, env=environment, capture_output=True, text=True)
    assert begun.returncode == 0, begun.stdout + begun.stderr
    assert (clone.folder / "results/told/r0/sft1/labeled.parquet").is_file()
    planned = clone.plan(config="results/told/experiment.yaml")
    assert planned.get("train", 0) == 0  # sft1 is there; what follows is known once it is counted
    assert planned["summarize"] == 1
    on = clone.snakemake(config="results/told/experiment.yaml")
    assert on.returncode == 0, on.stdout + on.stderr
    assert tables(clone, "told") == tables(clone, "tiny")
    assert Path(clone.folder / "results/told/report/report.html").is_file()
