"""What the scores of all proposals show of the paper's claims (Figs. 4, 5, 6b, 8b and 12), as `reporting.sightings` does of the labels.

Where a claim is about no method in particular, every analysed round of a replicate counts once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from llome.reporting.analysis.bins import DISTANCES, LIKELIHOODS, from_json, pool_means
from llome.reporting.analysis.rounds import AnalysedRound, Analyses, analysed_rounds
from llome.reporting.findings import schedule_label
from llome.reporting.multistage import find_families
from llome.reporting.runs import Run
from llome.reporting.sightings import Seen, chains_of

LARGE, FEW, LIKELY = 0.3, 0.2, 0.7
"""The paper's thresholds: a large edit (share of positions), the feasible share of such, and the likelihood beyond which reward falls."""


def large_edits(method: str, run: Run, analyses: Analyses) -> Seen | None:
    """The feasible share of edits that change more than `LARGE` of the positions, against `FEW` (text below Fig. 3)."""
    shares = []
    for rounds in _rounds(method, run, analyses):
        pooled = pool_means([from_json(r.facts["distance"], "feasible") for r in rounds])
        bins = (DISTANCES[:, 0] > LARGE - 1e-9) & (pooled.count > 0)
        if bins.any():
            shares.append(float(np.average(pooled.mean[bins], weights=pooled.count[bins])))
    if not shares:
        return None
    text = f"{np.mean(shares):.1%} of the edits beyond {LARGE} are feasible"
    return Seen(text, [FEW - share for share in shares])


def overconfidence(method: str, run: Run, analyses: Analyses) -> Seen | None:
    """The slope of mean reward over likelihood above `LIKELY`, least squares over bins of 0.1, a proposal a vote; negative in the paper."""
    slopes = []
    for rounds in _rounds(method, run, analyses):
        pooled = pool_means([from_json(r.facts["likelihood"], "reward") for r in rounds])
        bins = (LIKELIHOODS[:, 0] > LIKELY - 1e-9) & (pooled.count > 0)
        if bins.sum() > 1:
            x, weights = LIKELIHOODS.mean(axis=1)[bins], pooled.count[bins]
            centred = x - np.average(x, weights=weights)
            slopes.append(float((weights * centred * pooled.mean[bins]).sum() / (weights * centred**2).sum()))
    if not slopes:
        return None
    text = f"above a likelihood of {LIKELY} the mean reward changes by {0.1 * float(np.mean(slopes)):+.4f} a bin of 0.1"
    return Seen(text, [-slope for slope in slopes])


def refinement_gains(run: Run, analyses: Analyses) -> Seen | None:
    """The best score that refinement wrote above the best that it was given, in the mean of a replicate's rounds."""

    def gain(facts: dict[str, Any]) -> float | None:
        best = _best_so_far(facts)
        return None if best is None else best[-1] - best[0]

    return _everywhere(analyses, gain, "best score written above the best given: {:+.3f} a round")


def early_gains(run: Run, analyses: Analyses) -> Seen | None:
    """What the first half of the iterations added to the best score, less what the second half added."""

    def gain(facts: dict[str, Any]) -> float | None:
        best = _best_so_far(facts)
        return None if best is None or len(best) < 3 else 2 * best[len(best) // 2] - best[0] - best[-1]

    return _everywhere(analyses, gain, "first half of the iterations above the second, in best score: {:+.3f} a round")


def missed_by_likelihood(run: Run, analyses: Analyses) -> Seen | None:
    """The best score among the oracle's choice above that among the likeliest."""
    return _everywhere(
        analyses, _choice("oracle", "selected"), "the oracle's best above the selected ones': {:+.3f} a round"
    )


def better_than_chance(run: Run, analyses: Analyses) -> Seen | None:
    """The best score among the likeliest above the expected one of a random choice."""
    return _everywhere(
        analyses, _choice("selected", "random"), "the selected ones' best above a random choice's: {:+.3f} a round"
    )


def best_calibrated(run: Run, analyses: Analyses) -> Seen | None:
    """The rank correlation of likelihood and score of the schedule SFT_i-MargE_j of least i, above the best of the others.

    The paper shows curves and names no measure; this one is the report's (caption of Fig. 6a), in the mean of the rounds.
    """
    for family in find_families(run.schedules):
        found: dict[int, dict[int, float]] = {}
        for i, schedule in family.schedules.items():
            for rounds in analysed_rounds(run, analyses, schedule):
                values = [r.facts["rank_correlation"] for r in rounds if r.facts["rank_correlation"] is not None]
                if values:
                    found.setdefault(i, {})[rounds[0].replicate] = float(np.mean(values))
        if family.objective != "marge" or len(found) < 2 or min(found) > min(family.schedules):
            continue
        first, *rest = found
        shared = [n for n in sorted(found[first]) if all(n in found[i] for i in rest)]
        told = (
            [f"{schedule_label(family.schedules[i])} {np.mean([found[i][n] for n in shared]):.2f}" for i in found]
            if shared
            else []
        )
        gains = [found[first][n] - max(found[i][n] for i in rest) for n in shared]
        return Seen(f"rank correlation of likelihood and score: {'; '.join(told)}", gains)
    return None


def _rounds(method: str, run: Run, analyses: Analyses) -> list[list[AnalysedRound]]:
    label, _ = chains_of(run, method)
    return [rounds for s in run.schedules if schedule_label(s) == label for rounds in analysed_rounds(run, analyses, s)]


def _best_so_far(facts: dict[str, Any]) -> list[float] | None:
    """The best score of the inputs, then with each iteration's; None where the inputs are unknown."""
    scores = [entry["best"] for entry in facts["iterations"]]
    if len(scores) < 2 or scores[0] is None:
        return None
    return np.maximum.accumulate([-np.inf if score is None else score for score in scores]).tolist()


def _choice(better: str, worse: str) -> Callable[[dict[str, Any]], float | None]:
    def gain(facts: dict[str, Any]) -> float | None:
        high, low = (facts["selection"][f"best_{name}"] for name in (better, worse))
        return None if high is None or low is None else high - low

    return gain


def _everywhere(analyses: Analyses, gain: Callable[[dict[str, Any]], float | None], text: str) -> Seen | None:
    """The mean of a gain over all analysed rounds of each replicate."""
    found: dict[int, list[float]] = {}
    for (replicate, _), facts in sorted(analyses.items()):
        if (value := gain(facts)) is not None:
            found.setdefault(replicate, []).append(value)
    gains = [float(np.mean(values)) for values in found.values()]
    return Seen(text.format(np.mean(gains)), gains) if gains else None
