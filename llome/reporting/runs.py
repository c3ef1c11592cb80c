"""What lies in the folder of an experiment, finished or not: tables, summaries and seconds, and what is missing.

Files are written whole or not at all, so what exists can be read. A chain that found the optimum has no later rounds and
lacks none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llome import paths, provenance, tables
from llome.errors import LlomeError, TableError
from llome.reporting.curves import Steps, best_so_far
from llome.seconds import benchmark_seconds, round_seconds
from llome.tables import Domain, Labeled, Meta

REGRET_TOLERANCE = 1e-9
"""Below this the optimum counts as found."""


def read_optimum(path: Path, read: Sequence[tuple[str, Meta]]) -> tuple[float | None, Domain]:
    """The optimum in an oracle.json (None if unknown) and the domain of the tables in `read`, which must be its own."""
    spec = provenance.read_json(path)
    if not isinstance(spec, dict) or "fingerprint" not in spec or "optimum" not in spec:
        raise TableError(f"{path} is no oracle's spec (it lacks 'fingerprint' or 'optimum'); run `llome oracle` again")
    domain = tables.same_problem(read)
    if spec["fingerprint"] != domain.fingerprint:
        raise TableError(
            f"{read[0][0]} was made with oracle {domain.fingerprint}, but {path} is oracle {spec['fingerprint']};"
            " use files of one oracle"
        )
    return spec["optimum"], domain


@dataclass(frozen=True)
class Round:
    """One round of one replicate."""

    history: str
    labeled: Labeled
    summary: dict[str, Any] | None
    last: bool
    """No round is to follow: the optimum is found, or the budget spent."""


@dataclass(frozen=True)
class Chain:
    """One schedule in one replicate, as far as it got; or the genetic algorithm, which has no rounds of a policy."""

    replicate: int
    seed: Labeled
    rounds: list[Round]
    planned: int
    seconds: float | None
    final: bool
    """The optimum is found."""

    @property
    def tables(self) -> list[Labeled]:
        """The seed's table and those of the rounds."""
        return [self.seed, *(r.labeled for r in self.rounds)]

    def steps(self, *, distinct: bool) -> Steps:
        """Best score against counted or distinct evaluations."""
        return best_so_far(self.tables, distinct=distinct, final=self.final)

    @property
    def ended(self) -> bool:
        """Nothing more is to be run."""
        return self.final or len(self.rounds) == self.planned or any(r.last for r in self.rounds)

    @property
    def spent(self) -> int:
        """Counted evaluations, repeats and seeds included."""
        return max(t.meta.spent for t in self.tables)

    @property
    def feasible(self) -> float | None:
        """Share feasible of the evaluations after the seed's."""
        scores = np.concatenate([t.score for t in self.tables[1:]]) if self.rounds else np.empty(0)
        return float(np.isfinite(scores).mean()) if len(scores) else None


@dataclass(frozen=True)
class Replicate:
    """All that one replicate has so far."""

    number: int
    seed: Labeled
    ga: Labeled | None
    rounds: dict[str, Round]
    seconds: dict[str, float | None] = field(default_factory=dict)
    """Seconds of `seed`, `ga` and `base`, where known."""

    @property
    def genetic_rounds(self) -> list[dict[str, Any]]:
        """What is known of each generation, the seed's first."""
        rounds = list(self.seed.meta.facts.get("rounds", []))
        later = self.ga.meta.facts.get("rounds", []) if self.ga else []
        return rounds + [r for r in later if r["counted"] > self.seed.meta.spent]

    @property
    def genetic_feasible(self) -> float | None:
        """Share feasible of the genetic algorithm's evaluations after the seed's, repeats counted."""
        return self._genetic_share("feasible")

    @property
    def genetic_unique(self) -> float | None:
        """Share of the members of a generation that differ from each other, in the mean of those after the seed's."""
        return self._genetic_share("unique")

    def _genetic_share(self, fact: str) -> float | None:
        generations = [{"counted": 0}, *self.genetic_rounds]
        size = np.diff([g["counted"] for g in generations])
        late = np.array([g["counted"] for g in generations[1:]]) > (self.seed.meta.spent if self.ga else 0)
        share = np.array([g[fact] for g in generations[1:]], dtype=np.float64)
        return float((size * share)[late].sum() / size[late].sum()) if late.any() else None


@dataclass(frozen=True)
class Run:
    """An experiment's results."""

    layout: paths.Layout
    schedules: list[str]
    """Last history of each schedule."""
    replicates: list[Replicate]
    planned_replicates: int
    optimum: float | None
    domain: Domain
    missing: list[str]
    """What has not been run, in words."""

    def chains(self, schedule: str) -> list[Chain]:
        """The chain of `schedule` in every replicate that has labels of it."""
        chains = []
        lineage = paths.lineage(schedule)
        for replicate in self.replicates:
            rounds = self._done(replicate, lineage)
            if rounds:
                parts = [
                    *(round_seconds(r.summary) if r.summary else None for r in rounds),
                    replicate.seconds["seed"],
                ]
                seconds = None if None in parts else sum(filter(None, [*parts, replicate.seconds["base"]]))
                final = self.solved([replicate.seed, *(r.labeled for r in rounds)])
                chains.append(Chain(replicate.number, replicate.seed, rounds, len(lineage), seconds, final))
        return chains

    def genetics(self) -> list[Chain]:
        """The genetic algorithm, carried on, in the replicates that have it; the seeds alone while none has."""
        carried_on = any(r.ga is not None for r in self.replicates)
        chains = []
        for r in self.replicates:
            table, parts = (r.ga, ["seed", "ga"]) if carried_on else (r.seed, ["seed"])
            if table is not None:
                seconds = [r.seconds.get(part) for part in parts]
                known = None if None in seconds else sum(filter(None, seconds))
                chains.append(Chain(r.number, table, [], 0, known, self.solved([table])))
        return chains

    @staticmethod
    def _done(replicate: Replicate, lineage: list[str]) -> list[Round]:
        done: list[Round] = []
        for history in lineage:
            if history not in replicate.rounds:
                break
            done.append(replicate.rounds[history])
            if done[-1].last:
                break
        return done

    def solved(self, labeled: Sequence[Labeled]) -> bool:
        """The optimum is among these tables."""
        best = max((t.score.max(initial=-np.inf) for t in labeled), default=-np.inf)
        return self.optimum is not None and bool(self.optimum - best <= REGRET_TOLERANCE)

    def every_round(self) -> list[tuple[int, Round]]:
        """All rounds, with their replicate's number, each once."""
        names = list(dict.fromkeys(h for s in self.schedules for h in paths.lineage(s)))
        return [(r.number, r.rounds[h]) for r in self.replicates for h in names if h in r.rounds]

    @property
    def versions(self) -> dict[str, list[str]]:
        """Every version of each package that the summaries and tables were made with."""
        found: dict[str, set[str]] = {}
        for replicate in self.replicates:
            for table in [replicate.seed, replicate.ga, *(r.labeled for r in replicate.rounds.values())]:
                if table is not None:
                    found.setdefault("llome", set()).add(table.meta.version)
            for entry in replicate.rounds.values():
                for name, version in (entry.summary or {}).get("versions", {}).items():
                    found.setdefault(name, set()).add(version)
        return {name: sorted(versions) for name, versions in found.items()}


def read_run(
    layout: paths.Layout, schedules: Sequence[str], replicates: int, *, ends_with: Callable[[Path], bool]
) -> Run:
    """Read what there is of an experiment. Raises LlomeError where that is nothing yet, TableError on a bad file.

    `ends_with` tells from a summary.json whether a chain stops there.
    """
    schedules = list(dict.fromkeys(schedules))
    found = [r for n in range(replicates) if (r := _read_replicate(layout, schedules, n, ends_with)) is not None]
    if not found:
        raise LlomeError(
            f"{layout.root} holds no labelled seeds, so there is nothing to report; run the experiment first"
        )
    metas = []
    for r in found:
        metas.append((str(layout.round(r.number, paths.SEED) / "labeled.parquet"), r.seed.meta))
        if r.ga is not None:
            metas.append((str(layout.round(r.number, "ga") / "labeled.parquet"), r.ga.meta))
        metas += [(str(layout.round(r.number, h) / "labeled.parquet"), e.labeled.meta) for h, e in r.rounds.items()]
    optimum, domain = read_optimum(layout.oracle, metas)
    run = Run(layout, schedules, found, replicates, optimum, domain, [])
    run.missing.extend(_find_missing(run))
    return run


def _read_replicate(
    layout: paths.Layout, schedules: Sequence[str], number: int, ends_with: Callable[[Path], bool]
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
    seconds = {
        name: benchmark_seconds(layout.round(number, name) / "benchmarks" / f"{stage}.tsv")
        for name, stage in ((paths.SEED, "seed"), ("ga", "seed"), ("base", "base"))
    }
    return Replicate(number, seed, read("ga"), rounds, seconds)


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
    lacking += ["the genetic algorithm carried on"] if replicate.ga is None else []
    return lacking + ([f"summary.json of {', '.join(unsummarised)}"] if unsummarised else [])
