"""What each ranking would have chosen among the proposals of each variant: a number a variant and ranking, from the rounds' analyses.

A variant's own report has the figures (beside the paper's Figs. 5 and 6); this is for experiments over several functions, where scores of
one function are not those of another. So a choice counts by how much of the way from chance to the oracle's own choice it goes.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llome.reporting.analysis.rankings import BEST, CHANCE, NAMES
from llome.reporting.comparison.variants import Variant
from llome.reporting.findings import UNKNOWN, Estimate, estimate

_NUMBERS = ("share", "mean", "best", "feasible", "rank_correlation")
_Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Choice:
    """What the candidates by one ranking are worth, in the mean of the rounds; with two standard errors over replicates."""

    variant: str
    ranking: str
    share: Estimate | None
    """Of what the oracle's own choice has above chance, in mean scores: 1 for the oracle, 0 for chance."""
    mean: Estimate | None
    """Score; an infeasible one counts as 0."""
    best: Estimate | None
    feasible: Estimate | None
    """Share of them."""
    rank_correlation: Estimate | None
    """Of the ranking with the scores of all distinct proposals without a label (Spearman)."""


def find_choices(variants: Sequence[Variant]) -> list[Choice]:
    """Of all variants whose rounds were analysed with a surrogate."""
    found = []
    for v in variants:
        replicates: dict[int, list[_Facts]] = {}
        for (replicate, _), facts in v.analyses.items():
            if "rankings" in facts:
                replicates.setdefault(replicate, []).append(facts)
        if replicates:
            found += list(_choices(v.name, list(replicates.values())))
    return found


def _choices(variant: str, replicates: Sequence[Sequence[_Facts]]) -> Iterator[Choice]:
    for name in NAMES:
        numbers = {n: estimate([_average(rounds, name, n) for rounds in replicates]) for n in _NUMBERS[1:]}
        yield Choice(variant, name, estimate([_share(rounds, name) for rounds in replicates]), **numbers)
    for name in ("oracle", "random"):
        mean, best = (estimate([_average(rounds, name, n) for rounds in replicates]) for n in ("mean", "best"))
        yield Choice(variant, name, estimate([_share(rounds, name) for rounds in replicates]), mean, best, None, None)


def _average(rounds: Sequence[_Facts], name: str, number: str) -> float | None:
    """Mean of the rounds that know it; None where none does."""
    if name in NAMES:
        values = [facts["rankings"].get(name, {}).get(number) for facts in rounds]
    else:
        values = [facts["selection"][f"{number}_{name}"] for facts in rounds]
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _share(rounds: Sequence[_Facts], name: str) -> float | None:
    """Sums over the rounds that know the ranking; None where the oracle could not have done better than chance."""
    sums = np.zeros(3)
    for facts in rounds:
        means = [_average([facts], which, "mean") for which in (name, "random", "oracle")]
        if None not in means:
            sums += np.array(means, dtype=np.float64)
    return float((sums[0] - sums[1]) / (sums[2] - sums[1])) if sums[2] > sums[1] else None


def choice_cells(choices: Sequence[Choice]) -> list[list[str]]:
    """Header and cells: a row a variant, how far each ranking goes from chance to the oracle's choice."""
    shares: dict[str, dict[str, str]] = {}
    for c in choices:
        told = UNKNOWN if c.share is None else c.share.format(".3f")
        if c.rank_correlation is not None:
            told += f" (rank correlation {c.rank_correlation.mean:.2f})"
        shares.setdefault(c.variant, {})[c.ranking] = told
    return [
        ["proposals of", *NAMES.values()],
        *([variant, *(of[name] for name in NAMES)] for variant, of in shares.items()),
    ]


def choice_csv(choices: Sequence[Choice]) -> str:
    """Every number with its two standard errors, and those of the oracle's choice and of chance."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["variant", "ranking", *(name for number in _NUMBERS for name in (number, f"{number}_two_se"))])
    said = NAMES | {"oracle": BEST, "random": CHANCE}
    for c in choices:
        estimates: list[Estimate | None] = [getattr(c, number) for number in _NUMBERS]
        pairs = [(None, None) if e is None else (e.mean, e.two_se) for e in estimates]
        numbers = ["" if value is None else f"{value:.10g}" for pair in pairs for value in pair]
        writer.writerow([c.variant, said[c.ranking], *numbers])
    return text.getvalue()
