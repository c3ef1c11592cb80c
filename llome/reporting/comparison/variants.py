"""Reads the runs of an experiment's variants, finished or not, with what makes their functions hard."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from llome import paths, provenance
from llome.errors import LlomeError, TableError
from llome.experiment import Experiment
from llome.reporting.analysis.rounds import Analyses, not_analysed, read_analyses
from llome.reporting.findings import GENETIC, Method, build_methods, rival_label, schedule_label
from llome.reporting.reading import read_run
from llome.reporting.runs import Run


@dataclass(frozen=True)
class Variant:
    """One variant that has at least its seeds."""

    name: str
    experiment: Experiment
    run: Run
    analyses: Analyses
    arguments: dict[str, Any]
    """Of the test function's constructor, from oracle.json; empty where that does not hold any."""
    counts: dict[str, Any] | None
    """What `llome count` found, where it was run."""

    @property
    def planned(self) -> list[str]:
        """The names of all its methods, run or not."""
        names = [GENETIC, *map(rival_label, self.run.rivals)]
        return names + list(map(schedule_label, self.run.schedules))

    def methods(self) -> dict[str, Method]:
        """The methods that have labels, by name."""
        return {method.label: method for method in build_methods(self.run)}


def read_variants(experiments: Sequence[Experiment], results: Path) -> tuple[list[Variant], list[str]]:
    """The variants that have begun, and what is missing of all, in words. Raises LlomeError where none has begun."""
    found, missing = [], []
    for experiment in experiments:
        layout = paths.Layout(results, experiment.name, experiment.variant)
        name = experiment.variant or experiment.name
        seeds = (layout.round(number, paths.SEED) / "labeled.parquet" for number in range(experiment.replicates))
        if not any(file.exists() for file in seeds):
            missing.append(f"{name}: everything")
            continue
        run = read_run(
            layout,
            experiment.histories,
            experiment.replicates,
            ends_with=experiment.ends_with,
            rivals=list(experiment.rivals),
        )
        analyses = read_analyses(run) if experiment.analyze else {}
        lacking = [f"analyses of {line}" for line in not_analysed(run, analyses)] if experiment.analyze else []
        missing += [f"{name}: {line}" for line in (*run.missing, *lacking)]
        arguments = provenance.read_json(layout.oracle).get("arguments", {})
        found.append(Variant(name, experiment, run, analyses, arguments, _read_counts(run)))
    if not found:
        folders = ", ".join(str(paths.Layout(results, e.name, e.variant).root) for e in experiments)
        raise LlomeError(
            f"none of {folders} holds labelled seeds, so there is nothing to compare; run the experiment first"
        )
    return found, missing


def _read_counts(run: Run) -> dict[str, Any] | None:
    path = run.layout.counts
    if not path.is_file():
        return None
    counts = provenance.read_json(path)
    if counts.get("fingerprint") != run.domain.fingerprint:
        raise TableError(
            f"{path} was counted with oracle {counts.get('fingerprint')}, the run has {run.domain.fingerprint};"
            " delete it and run `llome count` again"
        )
    return counts


def alike(variants: Sequence[Variant]) -> list[Variant]:
    """The variants, their optimum forgotten where one of them has none, so that all show regrets or all show scores."""
    if all(variant.run.optimum is not None for variant in variants):
        return list(variants)
    return [replace(variant, run=replace(variant.run, optimum=None)) for variant in variants]


def method_colours(variants: Sequence[Variant]) -> Mapping[str, int]:
    """The colour of each method, one for all variants: 0 for the genetic algorithm, below it its rivals, then the schedules."""
    names = list(dict.fromkeys(name for variant in variants for name in variant.planned))
    rivals = [n for n in names if any(n == rival_label(r) for v in variants for r in v.run.rivals)]
    schedules = [n for n in names if n != GENETIC and n not in rivals]
    return {
        GENETIC: 0,
        **{name: -i for i, name in enumerate(rivals, start=1)},
        **{name: i for i, name in enumerate(schedules, start=1)},
    }


def group_by_function(variants: Sequence[Variant]) -> dict[str, dict[str, Variant]]:
    """The variants of each function by what is their own: the part of their names that those of one function do not share.

    Where some of them have one function and differ in its optimiser, one schedule each: functions are named by what their variants'
    names share, `l32_leon` and `l32_surrogate` by l32, or by their oracle's file where that is nothing. Empty otherwise.
    """
    members: dict[tuple[str, str], list[Variant]] = {}
    for v in variants:
        members.setdefault((v.experiment.oracle, str(v.experiment.seed)), []).append(v)
    single = all(len(v.experiment.schedules) == 1 for v in variants)
    if not single or all(len(group) == 1 for group in members.values()):
        return {}
    groups = {}
    for (oracle, _), group in members.items():
        words = zip(*(v.name.split("_")[:-1] for v in group), strict=False)
        shared = "_".join(column[0] for column in itertools.takewhile(lambda column: len(set(column)) == 1, words))
        start = len(shared) + 1 if shared else 0
        groups[shared or Path(oracle).stem] = {v.name[start:]: v for v in group}
    return groups if len(groups) == len(members) else {}
