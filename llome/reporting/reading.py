"""Reads what lies in the folder of an experiment, finished or not, and says in words what is missing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from llome import paths, provenance
from llome.errors import LlomeError
from llome.reporting.findings import rival_label
from llome.reporting.runs import Replicate, Round, Run, read_optimum
from llome.seconds import benchmark_seconds
from llome.tables import Labeled


def read_run(
    layout: paths.Layout,
    schedules: Sequence[str],
    replicates: int,
    *,
    ends_with: Callable[[Path], bool],
    rivals: Sequence[str] = (),
    genetic: bool = True,
    carries_on: bool = True,
) -> Run:
    """Read what there is of an experiment. Raises LlomeError where that is nothing yet, TableError on a bad file.

    `ends_with` tells from a summary.json whether a chain stops there; `rivals` names the other genetic algorithms;
    `genetic` is False where the seeds were labels that somebody had, `carries_on` where the
    genetic algorithm is not carried on.
    """
    schedules, rivals = list(dict.fromkeys(schedules)), list(rivals)
    parts = (_read_replicate(layout, schedules, rivals, number, ends_with) for number in range(replicates))
    found = [replicate for replicate in parts if replicate is not None]
    if not found:
        raise LlomeError(
            f"{layout.root} holds no labelled seeds, so there is nothing to report; run the experiment first"
        )
    metas = []
    for r in found:
        metas += [(str(layout.round(r.number, h) / "labeled.parquet"), table.meta) for h, table in r.tables.items()]
    optimum, domain = read_optimum(layout.oracle, metas)
    run = Run(layout, schedules, found, replicates, optimum, domain, [], rivals, genetic, carries_on)
    run.missing.extend(_find_missing(run))
    return run


def _read_replicate(
    layout: paths.Layout,
    schedules: Sequence[str],
    rivals: Sequence[str],
    number: int,
    ends_with: Callable[[Path], bool],
) -> Replicate | None:
    def read(history: str) -> Labeled | None:
        path = layout.round(number, history) / "labeled.parquet"
        return Labeled.read(path) if path.exists() else None

    seed = read(paths.SEED)
    if seed is None or not len(seed):
        return None
    rounds: dict[str, Round] = {}
    for history in dict.fromkeys(h for s in schedules for h in paths.lineage(s)):
        labeled = read(history)
        if labeled is not None:
            summary = layout.round(number, history) / "summary.json"
            known = summary.exists()
            facts = provenance.read_json(summary) if known else None
            rounds[history] = Round(history, labeled, facts, known and ends_with(summary))
    folders = {name: paths.rival(name) for name in rivals}
    seconds = {
        name: benchmark_seconds(layout.round(number, name) / "benchmarks" / f"{stage}.tsv")
        for name, stage in (
            (paths.SEED, "seed"),
            ("ga", "seed"),
            ("base", "base"),
            *((f, "seed") for f in folders.values()),
        )
    }
    others = {name: table for name, folder in folders.items() if (table := read(folder)) is not None}
    return Replicate(number, seed, read("ga"), rounds, seconds, others)


def _find_missing(run: Run) -> list[str]:
    missing: dict[str, list[str]] = {}
    by_number = {r.number: r for r in run.replicates}
    for number in range(run.planned_replicates):
        for text in _lacking(run, by_number.get(number)):
            missing.setdefault(text, []).append(f"r{number}")
    return [f"{', '.join(replicates)}: {text}" for text, replicates in missing.items()]


def _lacking(run: Run, replicate: Replicate | None) -> list[str]:
    if replicate is None:
        return ["everything from the seeds on"]
    rounds: list[str] = []
    for schedule in run.schedules:
        lineage = paths.lineage(schedule)
        done = run._done(replicate, lineage)
        ended = run.solved([replicate.seed, *(r.labeled for r in done)]) or any(r.last for r in done)
        if not ended:
            rounds += lineage[len(done) :]
    unsummarised = [history for history, entry in replicate.rounds.items() if entry.summary is None]
    lacking = [f"rounds {', '.join(dict.fromkeys(rounds))}"] if rounds else []
    lacking += ["the genetic algorithm carried on"] if run.carries_on and replicate.ga is None else []
    lacking += [rival_label(name) for name in run.rivals if name not in replicate.rivals]
    return lacking + ([f"summary.json of {', '.join(unsummarised)}"] if unsummarised else [])
