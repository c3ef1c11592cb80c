"""The numbers of the report: one row a schedule and one a genetic algorithm, and the sentences that sum them up.

LLOME and the genetic algorithm are compared at equal counted evaluations: repeats and seeds cost as much as anything else.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from llome.reporting.curves import average_steps, first_above, mean_and_error
from llome.reporting.runs import Chain, Run
from llome.seconds import chain_seconds

GENETIC = "GA"
GIVEN = "labels given"
"""What stands in the genetic algorithm's place where a run starts from labels that somebody had."""
UNKNOWN = "\u2013"
"""In place of a number that nobody knows (yet)."""


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates and twice its standard error (None with one replicate)."""

    mean: float
    two_se: float | None

    def format(self, pattern: str) -> str:
        """`0.281`, or `0.281 ± 0.040` with replicates."""
        return format(self.mean, pattern) + ("" if self.two_se is None else f" ± {format(self.two_se, pattern)}")


def estimate(values: Sequence[float | None]) -> Estimate | None:
    """Mean of `values`; None where one of them is unknown."""
    known = np.array([v for v in values if v is not None], dtype=np.float64)
    if len(known) == 0 or len(known) < len(values):
        return None
    mean, error = mean_and_error(known)
    return Estimate(mean or 0.0, None if error is None else 2 * error)


@dataclass(frozen=True)
class Row:
    """What one optimiser found and what it cost; means over the replicates that have run."""

    label: str
    replicates: int
    rounds: str
    best: Estimate | None
    regret: Estimate | None
    rival: Estimate | None
    """Best score of the genetic algorithm at the same counted evaluations, replicate by replicate."""
    rival_regret: Estimate | None
    counted: Estimate | None
    distinct: Estimate | None
    feasible: Estimate | None
    unique: Estimate | None
    """Mean over the rounds of the unique share of what was generated."""
    mean_reward: Estimate | None
    """Mean over all labelled edits; the genetic algorithm has none."""
    max_reward: Estimate | None
    seconds: Estimate | None
    solved: int
    """Replicates that found the optimum."""
    scores: tuple[float, ...]
    """Best score of each replicate."""


@dataclass(frozen=True)
class Method:
    """One optimiser of a run, as far as it got."""

    label: str
    colour: int
    """0 for the genetic algorithm, -1, -2, ... for its rivals, then 1, 2, ... by the schedule's place in the experiment."""
    chains: list[Chain]
    """One a replicate that has any of it."""


def schedule_label(history: str) -> str:
    """Name of a schedule in the report."""
    return f"LLOME {history}"


def rival_label(name: str) -> str:
    """Name of another genetic algorithm in the report."""
    return f"{GENETIC} ({name})"


def build_methods(run: Run) -> list[Method]:
    """The genetic algorithm, its rivals and the schedules, in the experiment's order; those that have labels."""
    methods = [Method(GENETIC if run.genetic else GIVEN, 0, run.genetics())]
    methods += [Method(rival_label(name), -i, run.rival_chains(name)) for i, name in enumerate(run.rivals, start=1)]
    methods += [Method(schedule_label(s), i, run.chains(s)) for i, s in enumerate(run.schedules, start=1)]
    return [method for method in methods if method.chains]


def build_rows(run: Run) -> list[Row]:
    """A row for each schedule with labels of its own, in the experiment's order, then the genetic algorithm's and its rivals'."""
    genetic = {c.replicate: c for c in run.genetics()}
    rows, others = [], []
    for method in build_methods(run):
        if method.colour > 0:
            rival = [score_at(genetic.get(c.replicate), c.spent) for c in method.chains]
            rows.append(_row(run, method.label, method.chains, _progress(method.chains), rival))
        else:
            only = run.genetic and method.colour == 0 and not any(r.ga is not None for r in run.replicates)
            others.append(_row(run, method.label + " (seeds only)" * only, method.chains, "", None))
    return rows + others


def _row(run: Run, label: str, chains: list[Chain], rounds: str, rival: list[float | None] | None) -> Row:
    best = [float(c.steps(distinct=False).y[-1]) for c in chains]
    gains = [chain_rewards(c) for c in chains]

    def regret(scores: Sequence[float | None] | None) -> Estimate | None:
        if run.optimum is None or scores is None:
            return None
        return estimate([None if s is None else run.optimum - s for s in scores])

    return Row(
        label=label,
        replicates=len(chains),
        rounds=rounds,
        best=estimate(best),
        regret=regret(best),
        rival=None if rival is None else estimate(rival),
        rival_regret=regret(rival),
        counted=estimate([c.spent for c in chains]),
        distinct=estimate([c.steps(distinct=True).end for c in chains]),
        feasible=estimate([c.feasible for c in chains]),
        unique=estimate([c.unique for c in chains]),
        mean_reward=estimate([mean for mean, _ in gains]),
        max_reward=estimate([highest for _, highest in gains]),
        seconds=estimate([c.seconds for c in chains]),
        solved=sum(c.final for c in chains),
        scores=tuple(best),
    )


def score_at(chain: Chain | None, counted: int) -> float | None:
    """The best score of a chain after so many counted evaluations; None where it has not come as far."""
    if chain is None or math.isnan(score := float(chain.steps(distinct=False).at(counted))):
        return None
    return score


def chain_rewards(chain: Chain) -> tuple[float | None, float | None]:
    """Mean and maximum reward of all edits labelled; None where a summary is lacking, or was made before it held any."""
    rounds = [r for r in chain.rounds if len(r.labeled)]
    known = [s for r in rounds if (s := r.summary or {}).get("reward_mean") is not None]
    if not rounds or len(known) < len(rounds):
        return None, None
    mean = np.average([s["reward_mean"] for s in known], weights=[len(r.labeled) for r in rounds])
    return float(mean), max(float(s["reward_max"]) for s in known)


def _progress(chains: list[Chain]) -> str:
    done, planned = [len(c.rounds) for c in chains], chains[0].planned
    span = f"{min(done)}" if min(done) == max(done) else f"{min(done)} to {max(done)}"
    return span if all(c.ended for c in chains) else f"{span} of {planned}"


def out_of_hours(run: Run, hours: float | None) -> list[str]:
    """The chains that ended before their last round because their `hours` were used up: how far each came, and in what time."""
    lines: list[str] = []
    if hours is None:
        return lines
    for schedule in run.schedules:
        for chain in run.chains(schedule):
            last, done = chain.rounds[-1], len(chain.rounds)
            if chain.final or not last.last or done == chain.planned:
                continue
            used = chain_seconds(run.layout.round(chain.replicate, last.history)) / 3600
            if used >= hours:
                far = f"stopped after {done} of {chain.planned} rounds"
                lines.append(f"{schedule} r{chain.replicate}: {far}: {_hours(used)} of {_hours(hours)} hours used")
    return lines


def best_schedule(run: Run) -> str | None:
    """The schedule with the best mean score, the cheaper of two equals; None before any has labels."""
    ranked = []
    for order, schedule in enumerate(run.schedules):
        if chains := run.chains(schedule):
            best = float(np.mean([c.steps(distinct=False).y[-1] for c in chains]))
            ranked.append((-best, float(np.mean([c.spent for c in chains])), order, schedule))
    return min(ranked)[-1] if ranked else None


def headline(run: Run) -> list[str]:
    """What was found and at what cost, in sentences: the best schedule against the genetic algorithm."""
    rows = {row.label: row for row in build_rows(run)}
    if not run.genetic:
        return _against_given(run, rows)
    genetic = next(row for label, row in rows.items() if label.startswith(GENETIC))
    ga = f"{_score(genetic)} after {_count(genetic)}"
    schedule = best_schedule(run)
    if schedule is None:
        return [f"No round of LLOME has been labelled yet; the genetic algorithm has a best score of {ga} evaluations."]
    row = rows[schedule_label(schedule)]
    mean = f", in the mean of {row.replicates} replicates," if row.replicates > 1 else ""
    text = f"{row.label} has a best score of {_score(row)}{mean} after {_count(row)} counted evaluations"
    if row.rival is None or row.best is None:
        far = "as far in every replicate" if row.replicates > 1 else "as far yet"
        seeds = (
            f"its seeds' best has {ga}"
            if not run.carries_on
            else f"the genetic algorithm has not been run {far} (it has {ga})"
        )
        return [f"{text}; {seeds}."]
    gap = row.best.mean - row.rival.mean
    verdict = (
        "neither is ahead" if abs(gap) < 5e-4 else f"LLOME is {'ahead' if gap > 0 else 'behind'} by {abs(gap):.3f}"
    )
    rival = replace(row, best=row.rival, regret=row.rival_regret)
    sentences = [f"{text}; at the same count the genetic algorithm has {_score(rival)}: {verdict}."]
    sentences += _against_rivals(run, schedule)
    if row.solved:
        sentences.append(
            f"It found the optimum{f' in {row.solved} of {row.replicates}' if row.replicates > 1 else ''}."
        )
    passed = genetic.best and first_above(
        average_steps([c.steps(distinct=False) for c in run.chains(schedule)]), genetic.best.mean
    )
    if passed:
        last = f"{genetic.best.mean:.3f} after {_count(genetic)}" if genetic.best else UNKNOWN
        sentences.append(f"It passed the genetic algorithm's last best score ({last}) at evaluation {passed:,}.")
    if row.seconds and genetic.seconds:
        sentences.append(f"It took {_time(row.seconds.mean)}, the genetic algorithm {_time(genetic.seconds.mean)}.")
    return sentences


def _against_given(run: Run, rows: dict[str, Row]) -> list[str]:
    """What was found beyond the labels that the run was given, in sentences."""
    given, schedule = rows[GIVEN], best_schedule(run)
    sense = [] if run.domain.maximize else ["Scores are the negated ones of the problem: higher is better here."]
    had = f"the best of the {_count(given)} labels given has {_score(given)}"
    if schedule is None:
        return [f"No round of LLOME has been labelled yet; {had}.", *sense]
    row = rows[schedule_label(schedule)]
    mean = f", in the mean of {row.replicates} replicates," if row.replicates > 1 else ""
    return [
        f"{row.label} has a best score of {_score(row)}{mean} after {_count(row)} counted evaluations; {had}.",
        *sense,
    ]


def _against_rivals(run: Run, schedule: str) -> list[str]:
    """What the rivals have at the schedule's count, in a sentence; nothing where one has not come as far."""
    chains = run.chains(schedule)
    said = []
    for name in run.rivals:
        others = {c.replicate: c for c in run.rival_chains(name)}
        found = estimate([score_at(others.get(c.replicate), c.spent) for c in chains])
        if found is not None:
            regret = "" if run.optimum is None else f" (regret {run.optimum - found.mean:.3f})"
            said.append(f"{rival_label(name)} has {found.mean:.3f}{regret}")
    return [f"Of the other genetic algorithms, {'; '.join(said)} at that count."] if said else []


def _count(row: Row) -> str:
    return UNKNOWN if row.counted is None else f"{row.counted.mean:,.0f}"


def _score(row: Row) -> str:
    if row.best is None:
        return UNKNOWN
    return f"{row.best.mean:.3f}" + (f" (regret {row.regret.mean:.3f})" if row.regret else "")


def _hours(hours: float) -> str:
    return f"{hours:,.2f}" if hours >= 0.1 else f"{hours:.2g}"


def _time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
