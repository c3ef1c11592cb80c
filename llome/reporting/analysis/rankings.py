"""What each ranking would have chosen among the same proposals, beside the paper's Figs. 5 and 6: likelihood, a surrogate, LEON.

Scores are known after the fact and to the report alone; rankings are computed from what the round knew before it labelled anything.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from llome.reporting.analysis.facts import rank_correlation
from llome.reporting.analysis.rounds import AnalysedRound, Analyses, analysed_rounds
from llome.reporting.analysis.series import averaged, shown
from llome.reporting.curves import zero_infeasible
from llome.reporting.findings import schedule_label
from llome.reporting.plots import Line, Plot, Series, spread_note
from llome.reporting.runs import Run

NAMES = {"likelihood": "by likelihood", "surrogate": "by the surrogate", "leon": "by LEON"}
BEST, CHANCE = "by the oracle", "at random"
TENTHS = 10


def compare_rankings(values: Mapping[str, np.ndarray], scores: np.ndarray, count: int) -> dict[str, dict[str, Any]]:
    """What the first `count` by each ranking are worth, and how well each tells good from bad.

    Args:
        values: by the ranking's name, (P,) what it says of each distinct proposal that had no label, higher is better.
        scores: (P,) theirs, -inf infeasible.
        count: candidates of the round.

    Returns:
        For each ranking `best` and `mean`, the score of its first `count`; `feasible`, their share; `rank_correlation` with the scores
        (Spearman); `tenths`, the mean score of each tenth of its order, the last first.
    """
    zeroed, found = zero_infeasible(scores), {}
    for name, value in values.items():
        order = np.argsort(-value, kind="stable")
        first = order[:count]
        parts = np.array_split(zeroed[order[::-1]], TENTHS)
        found[name] = {
            "best": float(zeroed[first].max()) if len(first) else None,
            "mean": float(zeroed[first].mean()) if len(first) else None,
            "feasible": float(np.isfinite(scores[first]).mean()) if len(first) else None,
            "rank_correlation": rank_correlation(value, scores),
            "tenths": [float(part.mean()) if len(part) else None for part in parts],
        }
    return found


def build_ranking_plots(run: Run, analyses: Analyses) -> list[Plot]:
    """The rankings side by side, where rounds were analysed with a surrogate."""
    schedules = [
        (schedule_label(schedule), chains)
        for schedule in run.schedules
        if (chains := [[r for r in c if "rankings" in r.facts] for c in analysed_rounds(run, analyses, schedule)])
        and any(chains)
    ]
    if not schedules:
        return []
    unit, least = ("score", "best score") if run.optimum is None else ("regret", "minimum regret")
    spread = spread_note(str(len(run.replicates))) if len(run.replicates) > 1 else ""
    zero = f"an infeasible one counts as {unit} {run.optimum or 0:g}"
    same = "as many as the round labelled, of its distinct proposals without a label"
    plots = []
    for key, what in (("best", least), ("mean", f"average {unit}")):
        plots.append(
            Plot(
                f"fig5_rankings_{key}",
                f"{what.capitalize()} of what each ranking chooses (beside paper Fig. 5)",
                f"The {what} of the first candidates by each ranking: {same}; and of those that the oracle would have chosen, or chance"
                f" (expected value). Rankings know what was labelled before the round, and no more; {zero}.{spread}",
                "counted oracle evaluations",
                what,
                _chosen(schedules, key, run.optimum),
                top=run.optimum,
            )
        )
    plots.append(
        Plot(
            "fig6_rankings",
            f"Average {unit} by rank (beside paper Fig. 6a)",
            f"Average {unit} of each round's distinct proposals without a label, by the tenth that each ranking puts them in; rounds count"
            f" alike, {zero}. A ranking that is calibrated {'falls' if run.optimum is not None else 'rises'} to the right."
            f"{_correlations(schedules)}{spread}",
            "rank, from the last (0) to the first (1)",
            f"average {unit}",
            _tenths(schedules, run.optimum),
            top=run.optimum,
            column="rank",
            whole=False,
        )
    )
    return plots


_Schedules = list[tuple[str, list[list[AnalysedRound]]]]


def _chosen(schedules: _Schedules, key: str, optimum: float | None) -> list[Series]:
    """A point a round for each ranking; a panel a schedule, where there are several."""
    series: list[Series] = []
    for label, chains in schedules:
        panel = label if len(schedules) > 1 else ""
        for colour, (name, said) in enumerate([*NAMES.items(), ("oracle", BEST), ("random", CHANCE)], start=1):
            lines = []
            for rounds in filter(None, chains):
                found = [
                    r.facts["rankings"][name][key] if name in NAMES else r.facts["selection"][f"{key}_{name}"]
                    for r in rounds
                ]
                y = shown(np.array(found, dtype=np.float64), optimum)
                lines.append(Line(rounds[0].replicate, np.array([r.counted for r in rounds]), y))
            series += averaged(said, colour, lines, panel=panel)
    return series


def _tenths(schedules: _Schedules, optimum: float | None) -> list[Series]:
    series: list[Series] = []
    places = (np.arange(TENTHS) + 0.5) / TENTHS
    for label, chains in schedules:
        panel = label if len(schedules) > 1 else ""
        for colour, (name, said) in enumerate(NAMES.items(), start=1):
            lines = []
            for rounds in filter(None, chains):
                found = np.array([r.facts["rankings"][name]["tenths"] for r in rounds], dtype=np.float64)
                lines.append(Line(rounds[0].replicate, places, shown(np.nanmean(found, axis=0), optimum)))
            series += averaged(said, colour, lines, panel=panel)
    return series


def _correlations(schedules: _Schedules) -> str:
    """A sentence on how well each ranking orders the scores."""
    said = []
    for name, text in NAMES.items():
        found = [r.facts["rankings"][name]["rank_correlation"] for _, chains in schedules for c in chains for r in c]
        known = [value for value in found if value is not None]
        said += [f"{text.removeprefix('by ')} {np.mean(known):.2f}"] if known else []
    return f" Rank correlation with the score (Spearman), mean of the rounds: {', '.join(said)}." if said else ""
