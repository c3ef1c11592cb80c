"""The figures that follow the evaluations: best so far, and what each round brought (paper Figs. 2, 3 and 11)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from llome.reporting.curves import Band, average_rounds, average_steps
from llome.reporting.findings import build_methods
from llome.reporting.multistage import other_figures
from llome.reporting.plots import Line, Plot, Series, spread_note
from llome.reporting.runs import Chain, Run

_Value = Callable[[dict[str, Any]], float | None]


def build_plots(run: Run) -> list[Plot]:
    """The figures a run can show so far; one without data is left out."""
    known = run.optimum is not None
    what, unit = ("Regret", "regret") if known else ("Best score", "score")
    seeds = [r.seed for r in run.replicates]
    counted_end = float(np.mean([s.meta.spent for s in seeds]))
    several = len(run.replicates) > 1
    spread = ""
    if several:
        spread = spread_note(str(len(run.replicates)))
        chains = [[len(c.rounds) for c in run.chains(s) if not c.final] for s in run.schedules]
        uneven = run.missing or any(len(set(rounds)) > 1 for rounds in chains)
        spread += " The mean of a best score ends with the shortest of them." if uneven else ""
    infeasible = (
        f"an infeasible sequence counts as regret {run.optimum:g}"
        if known
        else "an infeasible sequence counts as score 0"
    )
    counted, distinct = "counted oracle evaluations", "distinct sequences evaluated"
    whose = "the genetic algorithm's seeds" if run.genetic else "labels that the run was given"
    shared = f"the first {counted_end:,.0f} are {whose}, shared by all"
    reward = (
        "its gain in score over the sequence that its trajectory started from, 0 where there is none (infeasible: score 0)."
        " LLOME only: the genetic algorithm does not edit one original"
    )
    average = _entry("mean_regret" if known else "mean")
    top = run.optimum
    plots = [
        Plot(
            "fig2a",
            f"{what} against counted evaluations (paper Fig. 2a)",
            f"{what} of the best sequence so far against all oracle evaluations, the GA's repeats included; {infeasible};"
            f" {shared}.{spread}{other_figures(run)}",
            counted,
            f"minimum {unit}" if known else "best score",
            step_series(run, distinct=False),
            steps=True,
            top=top,
            seeds_end=counted_end,
        ),
        Plot(
            "fig2a_distinct",
            f"{what} against distinct evaluations (beside paper Fig. 2a)",
            f"The same against the number of different sequences evaluated, so that the GA's repeats cost nothing;"
            f" {infeasible}; the seeds are the first {np.mean([len(s) for s in seeds]):,.0f}.{spread}",
            distinct,
            f"minimum {unit}" if known else "best score",
            step_series(run, distinct=True),
            steps=True,
            top=top,
            seeds_end=float(np.mean([len(s) for s in seeds])),
        ),
        Plot(
            "fig2b",
            f"Average {unit} a round (paper Fig. 2b)",
            f"Mean {unit} of the sequences labelled in each round (GA: in each generation), {infeasible}"
            + (f".{spread}" if several else "; bands: two standard errors of that mean."),
            counted,
            f"average {unit}",
            _round_series(run, average, average, error="se_regret"),
            top=top,
            seeds_end=counted_end,
        ),
        Plot(
            "fig3a",
            "Unique share a round (paper Fig. 3a)",
            "Share of the sequences generated in a round that differ from each other (LLOME: distinct well-formed"
            f" proposals of all that it wrote; GA: distinct members of a generation).{spread}",
            counted,
            "unique",
            _round_series(run, _entry("unique"), _share("unique", "generated")),
            top=1.0,
            percent=True,
            seeds_end=counted_end,
        ),
        Plot(
            "fig3b",
            "Feasible share a round (paper Fig. 3b)",
            f"Share of the sequences sent to the oracle in a round (GA: in a generation) that are feasible.{spread}",
            counted,
            "feasible",
            _round_series(run, _entry("feasible"), _share("feasible", "labeled")),
            top=1.0,
            percent=True,
            seeds_end=counted_end,
        ),
        Plot(
            "fig11a",
            "Average reward a round (paper Fig. 11)",
            f"Mean reward of an edit labelled in each round: {reward}"
            + (f".{spread}" if several else "; bands: two standard errors of that mean."),
            counted,
            "average reward",
            _round_series(run, None, _entry("reward_mean"), error="se_reward"),
            top=None,
            seeds_end=counted_end,
        ),
        Plot(
            "fig11b",
            "Maximum reward a round (paper Fig. 11)",
            f"Highest reward of an edit labelled in each round: {reward}.{spread}",
            counted,
            "maximum reward",
            _round_series(run, None, _entry("reward_max")),
            top=None,
            seeds_end=counted_end,
        ),
    ]
    return [p for p in plots if p.series]


def step_series(run: Run, *, distinct: bool) -> list[Series]:
    """The regret (score, without an optimum) of each method's best sequence so far."""
    return [steps_of(run, m.label, m.colour, m.chains, distinct=distinct) for m in build_methods(run)]


def steps_of(run: Run, label: str, colour: int, chains: list[Chain], *, distinct: bool) -> Series:
    """The regret (score, where the run has no optimum) of the best sequence so far of one method's chains, at least one."""
    curves = [c.steps(distinct=distinct) for c in chains]
    lines = []
    for chain, curve in zip(chains, curves, strict=True):
        x = curve.x if curve.x[-1] == curve.end else np.append(curve.x, curve.end)
        lines.append(Line(chain.replicate, x, _shown(run, curve.at(x))))
    band = None
    if len(curves) > 1:
        mean = average_steps(curves)
        band = Band(mean.x, _shown(run, mean.mean), mean.two_se)
    return Series(label, colour, lines, band)


def _shown(run: Run, scores: np.ndarray) -> np.ndarray:
    return scores if run.optimum is None else run.optimum - scores


def _share(part: str, whole: str) -> _Value:
    return lambda summary: summary[part] / summary[whole] if summary[whole] else None


def _entry(key: str) -> _Value:
    return lambda facts: facts.get(key)


def _round_series(run: Run, generation: _Value | None, of_round: _Value, error: str | None = None) -> list[Series]:
    """A point a round: `generation` reads it from the facts of a generation, `of_round` from a summary, `error` names its error.

    Without `generation` the genetic algorithms are left out.
    """
    groups = []
    for method in build_methods(run):
        if method.colour > 0:
            rounds = [(c.replicate, [r.summary for r in c.rounds if r.summary]) for c in method.chains]
            groups.append((method.label, method.colour, [_points(*facts, of_round, error) for facts in rounds]))
        elif generation is not None:
            lines = [_points(c.replicate, c.generations, generation, error) for c in method.chains]
            groups.append((method.label, method.colour, lines))
    series = []
    for label, colour, lines in groups:
        filled = [line for line in lines if len(line.x)]
        if filled:
            band = average_rounds([(line.x, line.y) for line in filled]) if len(filled) > 1 else None
            series.append(Series(label, colour, filled, band))
    return series


def _points(
    replicate: int, rounds: Iterable[dict[str, Any]], value: Callable[[dict[str, Any]], float | None], error: str | None
) -> Line:
    rows = [(r["counted"], v, r.get(error) if error else None) for r in rounds if (v := value(r)) is not None]
    x, y, se = (np.array([row[i] for row in rows], dtype=np.float64) for i in range(3))
    return Line(replicate, x, y, 2 * se if error else None)
