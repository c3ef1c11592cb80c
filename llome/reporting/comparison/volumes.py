"""The paper's Fig. 7 over the variants of an experiment: pooled frontiers, and the average hypervolume of each method.

Methods are only comparable over the same functions and settings: what counts are the methods that every variant plans, and the variants
with a known optimum in which all of these have come beyond the seeds. Within a variant all methods are measured up to the last budget
that all their replicates have reached; a replicate that found the optimum has reached every budget.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llome.reporting.claims import NAMES, Finding, find
from llome.reporting.comparison.pareto import frontier, left_over, mean_box, run_points
from llome.reporting.comparison.variants import Variant
from llome.reporting.curves import Steps, mean_and_error
from llome.reporting.findings import GENETIC, Estimate, Method
from llome.reporting.plots import Line, Plot, Series
from llome.reporting.sightings import Seen, chains_of


@dataclass(frozen=True)
class Arena:
    """Where methods are compared: the same ones in every variant, up to the same count in each."""

    methods: list[str]
    variants: list[Variant]
    ends: list[int]
    """The last budget of each variant, in counted evaluations."""


def find_arena(variants: Sequence[Variant]) -> Arena | None:
    """The methods and variants that Fig. 7 can compare; None where there are none, or the genetic algorithm is alone."""
    methods = [name for name in variants[0].planned if all(name in v.planned for v in variants)]
    fit = [(v, end) for v in variants if (end := _last_budget(v, methods)) is not None]
    if len(methods) < 2 or not fit:
        return None
    return Arena(methods, [v for v, _ in fit], [end for _, end in fit])


def _last_budget(variant: Variant, methods: Sequence[str]) -> int | None:
    found = variant.methods()
    seeds = max(r.seed.meta.spent for r in variant.run.replicates)
    if variant.run.optimum is None or any(name not in found for name in methods):
        return None
    chains = [c for name in methods for c in found[name].chains]
    end = min((c.spent for c in chains if not c.final), default=max(c.spent for c in chains))
    return end if end > seeds else None


def left_overs(arena: Arena) -> dict[str, list[dict[int, float]]]:
    """For each method, a mapping a variant: by replicate, the share of the unit square that its frontier leaves (`pareto.left_over`)."""
    return _measure(arena, left_over)


def mean_boxes(arena: Arena) -> dict[str, list[dict[int, float]]]:
    """The same for evaluations × minimum regret (`pareto.mean_box`), in evaluations."""
    return _measure(arena, mean_box)


def _measure(arena: Arena, measure: Callable[[Steps, float, int], float]) -> dict[str, list[dict[int, float]]]:
    found: dict[str, list[dict[int, float]]] = {name: [] for name in arena.methods}
    for variant, end in zip(arena.variants, arena.ends, strict=True):
        methods = variant.methods()
        for name in arena.methods:
            curves = {c.replicate: c.steps(distinct=False) for c in methods[name].chains}
            found[name].append({n: measure(curve, variant.run.optimum or 1.0, end) for n, curve in curves.items()})
    return found


def average(values: Sequence[Mapping[int, float]]) -> Estimate:
    """The mean over variants of the mean over replicates; its error from the replicates, None where a variant has but one."""
    means = [mean_and_error(np.array(list(found.values()))) for found in values]
    errors = [error for _, error in means if error is not None]
    two_se = 2 * float(np.sqrt(np.sum(np.square(errors)))) / len(means) if len(errors) == len(means) else None
    return Estimate(float(np.mean([mean for mean, _ in means if mean is not None])), two_se)


def volume_cells(arena: Arena) -> list[list[str]]:
    """Header and cells of the table of average hypervolumes."""
    shares, boxes = left_overs(arena), mean_boxes(arena)
    header = ["", "share not dominated", "evaluations × regret", "variants", "replicates"]
    return [header] + [
        [
            name,
            average(shares[name]).format(".3f"),
            average(boxes[name]).format(",.0f"),
            str(len(arena.variants)),
            _span([len(found) for found in shares[name]]),
        ]
        for name in arena.methods
    ]


def _span(numbers: Sequence[int]) -> str:
    return f"{min(numbers)}" + f" to {max(numbers)}" * (min(numbers) < max(numbers))


def build_frontiers(arena: Arena, colours: Mapping[str, int]) -> Plot:
    """Fig. 7: for each method the frontier of all replicates of all variants together, evaluations against minimum regret."""
    series = []
    last = max(arena.ends)
    for name in sorted(arena.methods, key=lambda name: colours[name]):
        points = np.concatenate([_points(variant.methods()[name], variant) for variant in arena.variants])
        edge = frontier(points[points[:, 0] <= last])
        x, y = np.append(edge[:, 0], last), np.append(edge[:, 1], edge[-1, 1])
        series.append(Series(name, colours[name], [Line(0, x, y)], None))
    return Plot(
        "fig7",
        "Pareto frontiers of evaluations and regret (paper Fig. 7)",
        "The least regret, as a share of the optimum, that any replicate of any variant had reached by so many counted evaluations:"
        f" {', '.join(v.name for v in arena.variants)} together. The easiest of them draws most of it; the averages are in the table.",
        "counted oracle evaluations",
        "minimum regret",
        series,
        top=1.0,
        steps=True,
    )


def _points(method: Method, variant: Variant) -> np.ndarray:
    optimum = variant.run.optimum or 1.0
    return np.concatenate([run_points(c.steps(distinct=False), optimum) for c in method.chains])


def volume_claims(arena: Arena) -> list[Finding]:
    """The paper's claims on hypervolumes: all of LLOME's are below the genetic algorithm's, MargE's the lowest."""
    shares = left_overs(arena)
    ours = {name: chains_of(arena.variants[0].run, name)[0] for name in ("sft", "marge", "dpo")}
    ours = {name: label for name, label in ours.items() if label in arena.methods}
    findings = [
        (f"{NAMES[name]} has a significantly lower average hypervolume than the GA", label, [GENETIC])
        for name, label in ours.items()
    ]
    rest = [label for name, label in ours.items() if name != "marge"]
    if "marge" in ours and rest:
        findings.append(("LLOME-MargE is the most sample efficient", ours["marge"], rest))
    return [
        find("Fig. 7", paper, seen)
        for paper, label, others in findings
        if (seen := _compare(shares, label, others)).gains
    ]


def _compare(shares: Mapping[str, Sequence[Mapping[int, float]]], ours: str, others: Sequence[str]) -> Seen:
    """The volume of `ours` below the lowest of `others`, over the replicates that every variant has of all of them."""
    names = [ours, *others]
    numbers = set.intersection(*(set(found) for name in names for found in shares[name]))
    mean = {name: {n: float(np.mean([found[n] for found in shares[name]])) for n in numbers} for name in names}
    gains = [min(mean[name][n] for name in others) - mean[ours][n] for n in sorted(numbers)]
    told = "; ".join(f"{name} {average(shares[name]).mean:.3f}" for name in names)
    return Seen(f"share not dominated, mean of the variants: {told}", gains)
