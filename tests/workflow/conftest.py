"""A clone to run in, in a folder with a space in its name, and Snakemake as a person calls it."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from llome.provenance import hash_file

PARTS = ("Snakefile", "rules", "profiles", "configs")


class Clone:
    """The files a run needs, copied to a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @classmethod
    def make(cls, root: Path, folder: Path) -> Clone:
        folder.mkdir(parents=True)
        for part in PARTS:
            copy = shutil.copytree if (root / part).is_dir() else shutil.copy2
            copy(root / part, folder / part)
        return cls(folder)

    def copy(self, folder: Path) -> Clone:
        """All of it, times of files included: Snakemake sees no change."""
        shutil.copytree(self.folder, folder, symlinks=True)
        return Clone(folder)

    @property
    def environment(self) -> dict[str, str]:
        """Without the virtual environment's programs: the workflow finds its own."""
        own = str(Path(sys.executable).parent)
        path = os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != own)
        return {**os.environ, "PATH": path, "XDG_CACHE_HOME": str(self.folder / ".cache")}

    def command(self, *args: str, config: str = "configs/experiments/tiny.yaml") -> list[str]:
        return [sys.executable, "-m", "snakemake", "--cores", "2", "--configfile", config, *args]

    def snakemake(self, *args: str, config: str = "configs/experiments/tiny.yaml") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*args, config=config), cwd=self.folder, env=self.environment, capture_output=True, text=True
        )

    def plan(self, *targets: str, config: str = "configs/experiments/tiny.yaml") -> dict[str, int]:
        """How many jobs of each rule a run would start."""
        run = self.snakemake("--dry-run", "--quiet", "rules", "--", *targets, config=config)
        assert run.returncode == 0, run.stdout + run.stderr
        jobs = {
            name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", run.stdout + run.stderr, re.MULTILINE)
        }
        jobs.pop("total", None)
        return jobs

    def pretend(self, summaries: dict[str, dict[str, Any]]) -> None:
        """Files of the tiny experiment up to the rounds of `summaries`, made by hand, each a little later than the last."""
        once = ["seed/labeled.parquet", "seed/population.json", "ga/labeled.parquet", "ga/population.json"]
        stages = ("model/llome.json", "proposals.parquet", "selected.parquet", "labeled.parquet", "summary.json")
        now = time.time()
        rounds = (f"{history}/{file}" for history in summaries for file in stages)
        made = ("r0/" + name for name in (*once, "base/model/llome.json", *rounds))
        for i, name in enumerate(["oracle.json", *made]):
            path = self.folder / "results" / "tiny" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(summaries[path.parent.name]) if path.name == "summary.json" else "{}")
            os.utime(path, (now + 0.01 * i, now + 0.01 * i))


@pytest.fixture
def clone(root: Path, tmp_path: Path) -> Clone:
    return Clone.make(root, tmp_path / "a clone")


@pytest.fixture(scope="session")
def finished(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, str]:
    """A clone with a finished run, and what the run printed. The first worker that needs it makes it, for all of them."""
    folder = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        folder = folder.parent
    clone, said = Clone(folder / "finished" / "a clone"), folder / "finished.txt"
    with open(folder / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not said.exists():
            shutil.rmtree(clone.folder.parent, ignore_errors=True)  # another worker has failed
            Clone.make(root, clone.folder)
            train = clone.folder / "configs/train/sft_tiny.yaml"
            settings = yaml.safe_load(train.read_text())
            # long enough to be caught in the middle
            settings["trainer"] |= {"max_epochs": 12, "limit_train_batches": 1.0}
            train.write_text(yaml.safe_dump(settings))
            run = clone.snakemake()
            assert run.returncode == 0, run.stdout + run.stderr
            said.write_text(run.stdout + run.stderr)
    return clone, said.read_text()


@pytest.fixture
def copy(finished: tuple[Clone, str], tmp_path: Path) -> Clone:
    return finished[0].copy(tmp_path / "a copy")


def artefacts(clone: Clone) -> dict[str, str]:
    """Content hashes of all results that two runs must share: tables, models, JSON without its seconds and versions."""
    results = clone.folder / "results" / "tiny"
    files = [p for p in results.rglob("*") if p.suffix in (".parquet", ".json", ".safetensors") and p.is_file()]
    names = {str(p.relative_to(results)): p for p in sorted(files)}
    return {
        name: hash_file(path) for name, path in names.items() if not any(part[0] == "." for part in name.split("/"))
    }


def times(clone: Clone) -> dict[str, int]:
    return {str(p): p.stat().st_mtime_ns for p in (clone.folder / "results").rglob("*") if p.is_file()}


def forget(clone: Clone, stage: str) -> str:
    """Take back the report and the last round from `stage` on, or everything from `seed`, `base` or `sft1` on; what is to be made first."""
    results = clone.folder / "results" / "tiny"
    replicate, chain = results / "r0", results / "r0" / "chains" / "sft2.txt"
    last = clone.folder / Path(chain.read_text().splitlines()[-1]).parent
    outputs = {
        "train": last / "model" / "llome.json",
        "refine": last / "proposals.parquet",
        "filter": last / "selected.parquet",
        "label": last / "labeled.parquet",
    }
    early = {
        "seed": (replicate / "seed/labeled.parquet", ("seed", "ga", "base", "sft*")),
        "base": (replicate / "base/model/llome.json", ("base", "sft*")),
        "sft1": (replicate / "sft1/model/llome.json", ("sft*",)),
    }
    if stage in early:
        first, folders = early[stage]
        gone = [path for folder in folders for path in replicate.glob(f"{folder}/**/*") if path.is_file()]
    else:
        first, stages = outputs[stage], list(outputs)
        gone = [outputs[name] for name in stages[stages.index(stage) :]] + [last / "summary.json"]
    for path in [*gone, chain, results / "report" / "report.html"]:
        path.unlink()
    return str(first.relative_to(clone.folder))


def processes(clone: Clone, stage: str) -> Iterator[psutil.Process]:
    """The running processes of one stage in this clone."""
    for process in psutil.process_iter():
        try:
            line = process.cmdline()
            if process.cwd() == str(clone.folder) and any(p.endswith("/llome") for p in line) and stage in line:
                yield process
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
