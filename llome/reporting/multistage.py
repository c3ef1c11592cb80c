"""Schedules that switch from SFT to another objective after i rounds: which belong together, and how i matters (paper Fig. 8a).

The paper keeps the number of rounds and varies how many of them are SFT (section 5, "When is explicit reward information required
during training?"). Fig. 8b, the calibration of these schedules, is Fig. 6 of the report: a line a schedule.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llome import paths
from llome.reporting.curves import average_rounds
from llome.reporting.findings import schedule_label
from llome.reporting.plots import Line, Plot, Series, spread_note
from llome.reporting.runs import Chain, Run


@dataclass(frozen=True)
class Family:
    """The schedules SFT_i-OBJECTIVE_j of one objective with as many rounds i + j."""

    objective: str
    rounds: int
    schedules: dict[int, str]
    """By i, rising; SFT alone, where the run has it, is i = rounds."""

    @property
    def label(self) -> str:
        """Its name in the report."""
        return f"LLOME sft_i-{self.objective}_j, {self.rounds} rounds"

    def ended(self, run: Run) -> dict[int, dict[int, Chain]]:
        """By i and replicate, the chains to which no round will be added."""
        return {i: {c.replicate: c for c in run.chains(s) if c.ended} for i, s in self.schedules.items()}


def find_families(schedules: Sequence[str]) -> list[Family]:
    """The families with at least two values of i below the number of rounds, in the order of the experiment."""
    alone: dict[int, str] = {}
    found: dict[tuple[str, int], dict[int, str]] = {}
    for schedule in schedules:
        match paths.parse_history(schedule):
            case [("sft", i)]:
                alone[i] = schedule
            case [("sft", i), (objective, j)]:
                found.setdefault((objective, i + j), {})[i] = schedule
    families = []
    for (objective, rounds), members in found.items():
        if len(members) > 1:
            members |= {rounds: alone[rounds]} if rounds in alone else {}
            families.append(Family(objective, rounds, dict(sorted(members.items()))))
    return families


def build_multistage_plots(run: Run) -> list[Plot]:
    """Final minimum regret against i, a line a family; none while no family has two schedules that have ended in one replicate."""
    series = [
        s for colour, family in enumerate(find_families(run.schedules), start=1) for s in _series(run, family, colour)
    ]
    what = "best score" if run.optimum is None else "minimum regret"
    plot = Plot(
        "fig8a",
        f"{what.capitalize()} by rounds of SFT before the switch (paper Fig. 8a)",
        f"The {what} in the end of schedules with as many rounds, i of them SFT before the switch to the other objective (all of them:"
        f" SFT alone), in the replicates that have ended.{spread_note() if any(s.band for s in series) else ''}",
        "rounds of SFT (i)",
        what,
        series,
        top=run.optimum,
        column="sft_rounds",
    )
    return [plot] if series else []


def _series(run: Run, family: Family, colour: int) -> list[Series]:
    ended, x = family.ended(run), np.array(list(family.schedules), dtype=np.float64)
    lines = []
    for number in sorted({number for chains in ended.values() for number in chains}):
        best = np.array([_best(chains.get(number)) for chains in ended.values()])
        if np.isfinite(best).sum() > 1:
            lines.append(Line(number, x, best if run.optimum is None else run.optimum - best))
    band = average_rounds([(line.x, line.y) for line in lines]) if len(lines) > 1 else None
    return [Series(family.label, colour, lines, band)] if lines else []


def _best(chain: Chain | None) -> float:
    return float("nan") if chain is None else float(chain.steps(distinct=False).y[-1])


def other_figures(run: Run) -> str:
    """Which figures of the paper, besides its own, the figure of regret against evaluations serves in this run; a sentence or nothing."""
    objectives = {objective for s in run.schedules for objective, _ in paths.parse_history(s)}
    served = ["Fig. 8a (schedules that switch from SFT)"] if find_families(run.schedules) else []
    served += ["Fig. 9 (MargE and REINFORCE)"] if {"marge", "reinforce"} <= objectives else []
    labels = ", ".join(map(schedule_label, run.schedules))
    return f" The lines of {labels} are also the paper's {' and '.join(served)}." if served else ""
