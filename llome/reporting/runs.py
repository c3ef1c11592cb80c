"""What lies in the folder of an experiment, finished or not: tables, summaries and seconds (`reading` reads them).

Files are written whole or not at all, so what exists can be read. A chain that found the optimum has no later rounds and
lacks none.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llome import paths, provenance, tables
from llome.domain import Domain
from llome.errors import TableError
from llome.reporting.curves import Steps, best_so_far, mean_and_error
from llome.seconds import round_seconds
from llome.tables import Labeled, Meta

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
    """One schedule in one replicate, as far as it got; or a genetic algorithm, which has generations and no rounds of a policy."""

    replicate: int
    seed: Labeled
    rounds: list[Round]
    planned: int
    seconds: float | None
    final: bool
    """The optimum is found."""
    generations: list[dict[str, Any]] = field(default_factory=list)
    """What is known of each generation of a genetic algorithm, from the first."""
    after: int = 0
    """Its shares are those of the generations that end after so many counted evaluations: the seeds', if it has more."""

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
        """Share feasible of the evaluations after the seed's, a genetic algorithm's repeats counted."""
        if self.generations:
            return self._share("feasible")
        scores = np.concatenate([t.score for t in self.tables[1:]]) if self.rounds else np.empty(0)
        return float(np.isfinite(scores).mean()) if len(scores) else None

    @property
    def unique(self) -> float | None:
        """Unique share of what was generated in a round, in the mean of the rounds; None while one lacks a summary.

        Of a genetic algorithm: of the members of a generation, in the mean of those after the seed's.
        """
        if self.generations or not self.rounds:
            return self._share("unique")
        summaries = [r.summary or {"generated": 0} for r in self.rounds]
        shares = [s["unique"] / s["generated"] if s["generated"] else None for s in summaries]
        return None if None in shares else mean_and_error(np.array(shares, dtype=np.float64))[0]

    def _share(self, fact: str) -> float | None:
        generations = [{"counted": 0}, *self.generations]
        size = np.diff([g["counted"] for g in generations])
        late = np.array([g["counted"] for g in self.generations]) > self.after
        share = np.array([g[fact] for g in self.generations], dtype=np.float64)
        return float((size * share)[late].sum() / size[late].sum()) if late.any() else None


@dataclass(frozen=True)
class Replicate:
    """All that one replicate has so far."""

    number: int
    seed: Labeled
    ga: Labeled | None
    rounds: dict[str, Round]
    seconds: dict[str, float | None] = field(default_factory=dict)
    """Seconds of `seed`, `ga`, `base` and the rivals' folders, where known."""
    rivals: dict[str, Labeled] = field(default_factory=dict)
    """Other genetic algorithms, by name."""

    @property
    def tables(self) -> dict[str, Labeled]:
        """Every labelled table by its folder."""
        found = {paths.SEED: self.seed, **({"ga": self.ga} if self.ga is not None else {})}
        found |= {paths.rival(name): table for name, table in self.rivals.items()}
        return found | {history: entry.labeled for history, entry in self.rounds.items()}

    @property
    def genetic_rounds(self) -> list[dict[str, Any]]:
        """What is known of each generation of the baseline, the seed's first."""
        rounds = list(self.seed.meta.facts.get("rounds", []))
        later = self.ga.meta.facts.get("rounds", []) if self.ga else []
        return rounds + [r for r in later if r["counted"] > self.seed.meta.spent]


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
    rivals: list[str] = field(default_factory=list)
    """Names of the other genetic algorithms."""
    genetic: bool = True
    """Whether a genetic algorithm made the seeds; otherwise they were labels that somebody had."""
    carries_on: bool = True
    """Whether it is carried on, as a baseline."""

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
                after = r.seed.meta.spent if r.ga else 0
                chains.append(Chain(r.number, table, [], 0, known, self.solved([table]), r.genetic_rounds, after))
        return chains

    def rival_chains(self, name: str) -> list[Chain]:
        """Another genetic algorithm, in the replicates that have it; it starts from scratch, not from the seeds."""
        chains = []
        for r in self.replicates:
            if (table := r.rivals.get(name)) is not None:
                seconds, generations = r.seconds.get(paths.rival(name)), list(table.meta.facts.get("rounds", []))
                solved = self.solved([table])
                chains.append(Chain(r.number, table, [], 0, seconds, solved, generations, r.seed.meta.spent))
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
            for table in replicate.tables.values():
                found.setdefault("llome", set()).add(table.meta.version)
            for entry in replicate.rounds.values():
                for name, version in (entry.summary or {}).get("versions", {}).items():
                    found.setdefault(name, set()).add(version)
        return {name: sorted(versions) for name, versions in found.items()}

    @property
    def programs(self) -> dict[str, set[str]]:
        """The hashes of each of the user's files that scored: several where one was changed in between."""
        found: dict[str, set[str]] = {}
        for replicate in self.replicates:
            for table in replicate.tables.values():
                for name, content in table.meta.facts.get("program", {}).items():
                    found.setdefault(name, set()).update(content.split())
        return found

    @property
    def makers(self) -> list[tuple[dict[str, Any], list[str]]]:
        """What made the rounds' files (llome.machine), each different record with the stages that it is of, in the order of the rounds."""
        found: dict[str, tuple[dict[str, Any], list[str]]] = {}
        for number, entry in self.every_round():
            for stage, record in (entry.summary or {}).get("made_by", {}).items():
                same = provenance.canonical_json({**record, "gpu": record.get("gpu") or []})  # none, or nobody looked
                known = found.setdefault(same, (record, []))
                known[1].append(f"r{number} {entry.history} {stage}")
        return list(found.values())
