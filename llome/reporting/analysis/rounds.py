"""Which rounds of a run were analysed, and what was found out about each: read from `llome analyze`'s facts.json."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llome import provenance
from llome.errors import TableError
from llome.reporting.runs import Run

Analyses = Mapping[tuple[int, str], dict[str, Any]]
"""The facts of rounds, by replicate and history."""


@dataclass(frozen=True)
class AnalysedRound:
    """An analysed round of a chain."""

    replicate: int
    number: int
    """From 1."""
    before: int
    """Counted evaluations before it: what its policy knows of."""
    counted: int
    """Counted evaluations up to its end."""
    facts: dict[str, Any]


def read_analyses(run: Run) -> Analyses:
    """The facts of all rounds that were analysed. Raises TableError on those of another oracle."""
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for replicate, entry in run.every_round():
        path = run.layout.analysis(replicate, entry.history) / "facts.json"
        if path.is_file():
            facts = provenance.read_json(path)
            if facts.get("fingerprint") != run.domain.fingerprint:
                raise TableError(
                    f"{path} was made with oracle {facts.get('fingerprint')}, the run with {run.domain.fingerprint};"
                    " delete it and run `llome analyze` again"
                )
            found[replicate, entry.history] = facts
    return found


def analysed_rounds(run: Run, analyses: Analyses, schedule: str) -> list[list[AnalysedRound]]:
    """The analysed rounds of a schedule, a list a replicate that has any."""
    chains: list[list[AnalysedRound]] = []
    for chain in run.chains(schedule):
        rounds = [
            AnalysedRound(chain.replicate, number, chain.tables[number - 1].meta.spent, entry.labeled.meta.spent, facts)
            for number, entry in enumerate(chain.rounds, start=1)
            if (facts := analyses.get((chain.replicate, entry.history))) is not None
        ]
        chains += [rounds] if rounds else []
    return chains


def not_analysed(run: Run, analyses: Analyses) -> list[str]:
    """The labelled rounds without facts, a text a replicate, such as `r0: sft1, sft2`."""
    lacking: dict[int, dict[str, None]] = {}
    for schedule in run.schedules:
        for chain in run.chains(schedule):
            for entry in chain.rounds:
                if (chain.replicate, entry.history) not in analyses:
                    lacking.setdefault(chain.replicate, {})[entry.history] = None
    return [f"r{replicate}: {', '.join(lacking[replicate])}" for replicate in sorted(lacking)]
