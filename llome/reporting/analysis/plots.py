"""The figures of what the loop never labelled: the paper's Figs. 4 (and 13), 5, 6a, 6b and 12, from the facts of each round.

They stand in the order in which they fill the page: panels need its whole width and come last.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llome.reporting.analysis.bins import DISTANCES, LIKELIHOODS, from_json, pool_means
from llome.reporting.analysis.rounds import AnalysedRound, Analyses, analysed_rounds
from llome.reporting.analysis.series import averaged, shown
from llome.reporting.findings import schedule_label
from llome.reporting.multistage import find_families
from llome.reporting.plots import Line, Plot, Series, spread_note
from llome.reporting.runs import Run

CHOICES = {"selected": "by likelihood", "oracle": "by the oracle", "random": "at random"}
OUTPUTS = {"best": "all it wrote", "best_passed_on": "passed on"}


@dataclass(frozen=True)
class _Schedule:
    """One schedule's rounds, as far as they were analysed."""

    label: str
    colour: int
    chains: list[list[AnalysedRound]]
    """A list of rounds a replicate."""


def build_analysis_plots(run: Run, analyses: Analyses) -> list[Plot]:
    """The figures that the analysed rounds can show; one without data is left out."""
    schedules = [
        _Schedule(schedule_label(schedule), colour, analysed_rounds(run, analyses, schedule))
        for colour, schedule in enumerate(run.schedules, start=1)
    ]
    unit, least = ("score", "best score") if run.optimum is None else ("regret", "minimum regret")
    zero = f"an infeasible one counts as {unit} {run.optimum or 0:g}"
    count = len(run.replicates)
    spread = spread_note(str(count)) if count > 1 else ""
    pooled = (
        " All rounds of a schedule together, a proposal as often as it was written."
        f"{spread or ' Bands: two standard errors (95 %), as if proposals were independent.'}"
    )
    also = " and 8b" if find_families(run.schedules) else ""
    likelihood = "the mean likelihood of their tokens, in bins of 0.1"
    far, size = "share of positions in which each differs from", "share of positions changed"
    if not run.domain.fixed_length:
        far, size = "edit distance, as a share of the longer's length, of each from", "edits as a share of the length"
    plots = [
        Plot(
            "fig12",
            "Feasible share by the size of the edit (paper Fig. 12)",
            f"Share of the well-formed proposals that are feasible, by the {far} the sequence that"
            f" it edits: copies at 0, the others in bins of 0.05.{pooled}",
            size,
            "feasible",
            _binned(schedules, "distance", "feasible", DISTANCES, None),
            top=1.0,
            percent=True,
            column="distance",
            whole=False,
        ),
        Plot(
            "fig6a",
            f"Average {unit} by likelihood (paper Fig{'s' * bool(also)}. 6a{also})",
            f"Average {unit} of the well-formed proposals by {likelihood}; {zero}.{pooled}{_rank_note(schedules)}",
            "mean token likelihood",
            f"average {unit}",
            _binned(schedules, "likelihood", "score", LIKELIHOODS, run.optimum),
            top=run.optimum,
            column="likelihood",
            whole=False,
        ),
        Plot(
            "fig6b",
            "Average reward by likelihood (paper Fig. 6b)",
            f"Average reward of the well-formed proposals by {likelihood}: the gain in score over the sequence that the trajectory started"
            f" from, 0 where there is none (infeasible: score 0).{pooled}",
            "mean token likelihood",
            "average reward",
            _binned(schedules, "likelihood", "reward", LIKELIHOODS, None),
            top=None,
            column="likelihood",
            whole=False,
        ),
        Plot(
            "fig5",
            f"{least.capitalize()} of the selected candidates (paper Fig. 5)",
            f"The {least} among the candidates of each round, chosen by likelihood (Algorithm 4), and among as many of the same distinct,"
            f" not yet labelled proposals, chosen by the oracle or at random (expected value); {zero}.{spread}",
            "counted oracle evaluations",
            least,
            _chosen(schedules, run.optimum),
            top=run.optimum,
        ),
        Plot(
            "fig4",
            f"{least.capitalize()} by iteration of refinement (paper Figs. 4 and 13)",
            f"The {least} of all that each iteration of the inner loop wrote (not the best so far), and of what it passed on to the next;"
            f" {zero}. Iteration 0: the sequences that the round's refinement was given. After: counted evaluations before the round,"
            f" where all have as many.{spread}",
            "iteration of refinement",
            least,
            _by_iteration(schedules, run.optimum),
            top=run.optimum,
            column="iteration",
        ),
    ]
    return [plot for plot in plots if plot.series]


def _binned(
    schedules: Sequence[_Schedule], facts: str, name: str, edges: np.ndarray, optimum: float | None
) -> list[Series]:
    """A point a bin, the rounds of a chain pooled; `optimum` where regrets are to be shown."""
    series: list[Series] = []
    for schedule in schedules:
        lines = []
        for rounds in schedule.chains:
            means = pool_means([from_json(r.facts[facts], name) for r in rounds])
            regrets = shown(means.mean, optimum)
            lines.append(Line(rounds[0].replicate, edges.mean(axis=1), regrets, 2 * means.se, means.count))
        series += averaged(schedule.label, schedule.colour, lines)
    return series


def _chosen(schedules: Sequence[_Schedule], optimum: float | None) -> list[Series]:
    """A point a round for each way to choose; a panel a schedule, where there are several."""
    analysed = [schedule for schedule in schedules if schedule.chains]
    series: list[Series] = []
    for schedule in analysed:
        for name, variant in CHOICES.items():
            lines = []
            for rounds in schedule.chains:
                best = np.array([r.facts["selection"][f"best_{name}"] for r in rounds], dtype=np.float64)
                lines.append(Line(rounds[0].replicate, np.array([r.counted for r in rounds]), shown(best, optimum)))
            series += averaged(
                schedule.label, schedule.colour, lines, variant, schedule.label if len(analysed) > 1 else ""
            )
    return series


def _by_iteration(schedules: Sequence[_Schedule], optimum: float | None) -> list[Series]:
    """A panel a round, the same round of all schedules in one."""
    everything = [r for schedule in schedules for rounds in schedule.chains for r in rounds]
    series: list[Series] = []
    for number in sorted({r.number for r in everything}):
        before = {r.before for r in everything if r.number == number}
        panel = f"round {number}" + (f", after {min(before):,}" if len(before) == 1 else "")
        for schedule in schedules:
            here = [r for rounds in schedule.chains for r in rounds if r.number == number]
            for name, variant in OUTPUTS.items():
                lines = []
                for r in here:
                    x = np.array([entry["iteration"] for entry in r.facts["iterations"]])
                    best = np.array([entry[name] for entry in r.facts["iterations"]], dtype=np.float64)
                    lines.append(Line(r.replicate, x, shown(best, optimum)))
                series += averaged(schedule.label, schedule.colour, lines, variant, panel)
    return series


def _rank_note(schedules: Sequence[_Schedule]) -> str:
    """A sentence on how well likelihood ranks the scores of each schedule's distinct proposals, round by round."""
    said: list[str] = []
    for schedule in schedules:
        values = [r.facts["rank_correlation"] for rounds in schedule.chains for r in rounds]
        known = [value for value in values if value is not None]
        said += [f"{schedule.label} {np.mean(known):.2f}"] if known else []
    return (
        f" Rank correlation of likelihood and score (Spearman), mean of the rounds: {', '.join(said)}." if said else ""
    )
