"""Variants and methods in one table, and their regrets in small multiples: what the comparison shows first."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llome.reporting.claims import HEADER, Finding
from llome.reporting.comparison.variants import Variant, group_by_function
from llome.reporting.findings import UNKNOWN, Estimate, Row, build_rows, schedule_label
from llome.reporting.plots import Plot, Series, spread_note
from llome.reporting.progress import step_series

_NUMBERS = ("best", "regret", "counted", "feasible", "unique")


def result_cells(variants: Sequence[Variant]) -> list[list[str]]:
    """Header and cells of the table: a row a variant and method, scores and regrets with two standard errors over replicates."""

    def cell(value: Estimate | None, pattern: str, spread: bool = True) -> str:
        return UNKNOWN if value is None else value.format(pattern) if spread else format(value.mean, pattern)

    header = [
        "",
        "replicates",
        "median best",
        "mean best",
        "median regret",
        "mean regret",
        "counted",
        "feasible",
        "unique",
    ]
    return [header] + [
        [
            f"{v.name}: {row.label}" + (f", {row.rounds} rounds" if " of " in row.rounds else ""),
            str(row.replicates),
            f"{np.median(row.scores):.3f}",
            cell(row.best, ".3f", row.regret is None),
            UNKNOWN if v.run.optimum is None else f"{v.run.optimum - np.median(row.scores):.3f}",
            cell(row.regret, ".3f"),
            cell(row.counted, ",.0f", False),
            cell(row.feasible, ".1%", False),
            cell(row.unique, ".1%", False),
        ]
        for v, row in _rows(variants)
    ]


def result_csv(variants: Sequence[Variant]) -> str:
    """The table as data: every mean with its two standard errors, shares as numbers from 0 to 1."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    spreads = [name for number in _NUMBERS for name in (number, f"{number}_two_se")]
    writer.writerow(["variant", "method", "replicates", "best_median", *spreads])
    for v, row in _rows(variants):
        writer.writerow([v.name, row.label, row.replicates, f"{np.median(row.scores):.10g}", *_numbers(row)])
    return text.getvalue()


def _rows(variants: Sequence[Variant]) -> Iterator[tuple[Variant, Row]]:
    """Of variants that optimise one function alike up to the first round, the first one's genetic algorithms stand for all."""
    groups = group_by_function(variants).values()
    first = {next(iter(members.values())).name for members in groups}
    for v in variants:
        for row in build_rows(v.run):
            if not groups or v.name in first or row.label in map(schedule_label, v.run.schedules):
                yield v, row


def _numbers(row: Row) -> list[str]:
    pairs = [(None, None) if e is None else (e.mean, e.two_se) for e in (getattr(row, name) for name in _NUMBERS)]
    return ["" if value is None else f"{value:.10g}" for pair in pairs for value in pair]


def build_regret_plot(variants: Sequence[Variant], colours: Mapping[str, int]) -> Plot:
    """Regret (best scores, where an optimum is unknown) against counted evaluations.

    A panel a variant; or a panel a function with a line a variant, where variants are ways to optimise the same functions.
    """
    what = "best score" if None in [v.run.optimum for v in variants] else "minimum regret"
    groups = group_by_function(variants)
    each = "function" if groups else "variant"
    series = _by_function(groups) or [
        replace(s, colour=colours[s.label], panel=v.name) for v in variants for s in step_series(v.run, distinct=False)
    ]
    optima = [v.run.optimum for v in variants if v.run.optimum is not None]
    ends = {r.seed.meta.spent for v in variants for r in v.run.replicates}
    several = any(len(v.run.replicates) > 1 for v in variants)
    spread = spread_note() if several else ""
    return Plot(
        "regret",
        f"{what.capitalize()} of every variant",
        f"{what.capitalize()} so far against all oracle evaluations, a panel a {each} (paper Fig. 2a for each).{spread}",
        "counted oracle evaluations",
        what,
        series,
        top=max(optima, default=None),
        steps=True,
        seeds_end=float(ends.pop()) if len(ends) == 1 else None,
    )


def _by_function(groups: Mapping[str, Mapping[str, Variant]]) -> list[Series]:
    """The genetic algorithms of a function's first variant, which all of them share, and the schedule of each."""
    own = list(dict.fromkeys(label for members in groups.values() for label in members))
    series = []
    for panel, members in groups.items():
        for number, (label, v) in enumerate(members.items()):
            for s in step_series(v.run, distinct=False):
                if s.colour > 0:
                    series.append(replace(s, label=label, colour=1 + own.index(label), panel=panel))
                elif number == 0:
                    series.append(replace(s, panel=panel))
    return series


@dataclass(frozen=True)
class Verdicts:
    """The paper's claims, on every variant apart."""

    findings: Mapping[str, Sequence[Finding]]
    """By variant."""

    def cells(self) -> list[list[str]]:
        """Header and cells: a row a claim, a column a variant."""
        names = list(self.findings)
        found = {(f.source, f.paper): {n: "" for n in names} for rows in self.findings.values() for f in rows}
        for name, rows in self.findings.items():
            for f in rows:
                found[f.source, f.paper][name] = f.reason if f.reason.startswith("seen once") else f.agrees
        return [
            ["paper", "the paper says", *names],
            *([source, paper, *(told[n] or UNKNOWN for n in names)] for (source, paper), told in found.items()),
        ]

    def csv(self, across: Sequence[Finding]) -> str:
        """All of it as data, with the numbers; findings across variants have none."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["variant", *HEADER])
        for name, rows in (*self.findings.items(), ("", across)):
            writer.writerows([name, f.source, f.paper, f.seen, f.agrees, f.reason] for f in rows)
        return text.getvalue()
