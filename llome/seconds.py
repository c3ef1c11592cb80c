"""How long the stages of a chain of rounds have worked, as their files say: what a budget of hours is held against.

Snakemake writes the seconds of every job into a benchmark file, and the summary.json of a round keeps those of its stages. So
the hours of a chain are a function of files: whenever a run goes on, it finds the same. Not in them are work that was lost when a
stage was interrupted, the searches, the genetic algorithm carried on, and what is scored and drawn for figures. Imports nothing
heavy: the Snakefile stands on it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llome import paths
from llome.errors import TableError
from llome.provenance import read_json

STAGES = ("train", "refine", "filter", "label")
"""The stages of every round."""
SOMETIMES = ("surrogate",)
"""Those that a round has where the experiment wants them."""


def benchmark_seconds(path: Path) -> float | None:
    """Seconds (column `s`) of the last run in a Snakemake benchmark file; None where there is no such file. Raises TableError.

    Of a stage that several jobs shared, refine-1of4.tsv and so on beside `path`, the sum of the jobs that were run last.
    """
    if not path.is_file():
        shards = sorted(path.parent.glob(f"{path.stem}-*of*{path.suffix}"), key=lambda file: file.stat().st_mtime)
        last = shards[-1].stem.rpartition("of")[2] if shards else ""
        return (
            sum(filter(None, map(benchmark_seconds, path.parent.glob(f"{path.stem}-*of{last}{path.suffix}")))) or None
        )
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    try:
        return float(rows[-1]["s"])
    except (IndexError, KeyError, TypeError, ValueError) as err:
        raise TableError(f"{path} is no Snakemake benchmark (no number in column 's'); delete it") from err


def round_seconds(summary: Mapping[str, Any]) -> float | None:
    """Seconds of all stages of a round, from its summary.json; None where one of those that every round has left no record."""
    seconds = summary.get("seconds", {})
    return sum(seconds.values()) if all(stage in seconds for stage in STAGES) else None


def chain_seconds(folder: Path) -> float:
    """Seconds of the seeds, the starting policy and every round up to the one of `folder` (results/demo/r0/sft1-marge2).

    Rounds that schedules share count in each of their chains. A stage that left no record, run by hand, counts as none.
    """
    replicate = folder.parent
    begun = [benchmark_seconds(replicate / name / "benchmarks" / f"{name}.tsv") for name in (paths.SEED, "base")]
    rounds = [read_json(replicate / history / "summary.json") for history in paths.lineage(folder.name)]
    return sum(filter(None, begun)) + sum(sum(r.get("seconds", {}).values()) for r in rounds)
