"""What a run's labels show of the paper's claims: two methods side by side, replicate by replicate (`claims` says which).

Every function takes the run and what was analysed of it, and gives None where the run cannot speak to the matter.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llome import paths
from llome.reporting.analysis.rounds import Analyses
from llome.reporting.findings import GENETIC, build_methods, chain_rewards, schedule_label, score_at
from llome.reporting.multistage import find_families
from llome.reporting.runs import Chain, Run


@dataclass(frozen=True)
class Seen:
    """What a run shows of a claim."""

    text: str
    gains: list[float]
    """One a replicate, above 0 where the paper is right."""


def chains_of(run: Run, method: str) -> tuple[str, dict[int, Chain]]:
    """The report's name and the chains, by replicate, of the genetic algorithm ("ga") or of the paper's LLOME of one objective.

    The latter is the longest schedule of that objective alone, or after one round of SFT ("for LLOME-MargE and LLOME-DPO, one round of
    SFT is trained before"); an objective that the experiment gave another name is none of the paper's.
    """
    if method == "ga":
        return GENETIC, {c.replicate: c for c in run.genetics()}
    ours = [s for s in run.schedules if paths.parse_history(s)[-1][0] == method]
    ours = [s for s in ours if paths.parse_history(s)[:-1] in ([], [("sft", 1)])]
    if not ours:
        return "", {}
    longest = max(ours, key=paths.round_number)
    return schedule_label(longest), {c.replicate: c for c in run.chains(longest)}


def _mean(values: Sequence[float]) -> float:
    return float(np.mean(values))


def lower(better: str, worse: str, run: Run, analyses: Analyses) -> Seen | None:
    """Regret of `better`, a policy's, below that of `worse` at the last count that both have reached, beyond what they share."""
    (a_label, a), (b_label, b) = chains_of(run, better), chains_of(run, worse)
    pairs: dict[int, tuple[int, float, float]] = {}
    for number in sorted(a.keys() & b.keys()):
        both = (a[number], b[number])
        at = min((c.spent for c in both if not c.final), default=max(c.spent for c in both))
        ours, theirs = (score_at(c, at) for c in both)
        shared = a[number].tables[_common(*both)].meta.spent
        if at > shared and ours is not None and theirs is not None:
            pairs[number] = at, ours, theirs
    if not pairs:
        return None
    counts, first, second = zip(*pairs.values(), strict=True)
    others = [(b_label, _mean(second))]
    for method in build_methods(run):
        if worse == "ga" and method.colour < 0:
            known = {c.replicate: c for c in method.chains}
            scores = [score_at(known.get(n), at) for n, (at, _, _) in pairs.items()]
            others += [] if None in scores else [(method.label, _mean([s for s in scores if s is not None]))]
    shown = "; ".join(f"{label} {_shown(run, score)}" for label, score in [(a_label, _mean(first)), *others])
    span = f"{min(counts):,}" + f" to {max(counts):,}" * (min(counts) < max(counts))
    what = "best score" if run.optimum is None else "regret"
    return Seen(f"{what} at {span} evaluations: {shown}", [x - y for x, y in zip(first, second, strict=True)])


def _shown(run: Run, score: float) -> str:
    return f"{score if run.optimum is None else run.optimum - score:.3f}"


def more(fact: Callable[[Chain], float | None], what: str, a: str, b: str, run: Run, analyses: Analyses) -> Seen | None:
    """A fact of `a`'s chains above that of `b`'s, of two policies over as many rounds of each."""
    (a_label, ours), (b_label, theirs) = chains_of(run, a), chains_of(run, b)
    both = [_as_long(ours[n], theirs[n]) for n in sorted(ours.keys() & theirs.keys())]
    pairs = [(fact(x), fact(y)) for x, y in both if _common(x, y) < len(x.rounds)]
    known = [(x, y) for x, y in pairs if x is not None and y is not None]
    if not known:
        return None
    first, second = (_mean(values) for values in zip(*known, strict=True))
    pattern = ".3f" if "reward" in what else ".1%"
    text = f"{what}: {a_label} {first:{pattern}}; {b_label} {second:{pattern}}"
    return Seen(text, [x - y for x, y in known])


def _as_long(a: Chain, b: Chain) -> tuple[Chain, Chain]:
    """Two chains with as many rounds as the shorter one; a genetic algorithm has none, and leaves the other as it is."""
    if not a.rounds or not b.rounds:
        return a, b
    rounds = min(len(a.rounds), len(b.rounds))
    return replace(a, rounds=a.rounds[:rounds]), replace(b, rounds=b.rounds[:rounds])


def _common(a: Chain, b: Chain) -> int:
    """How many rounds two chains share: before the next one, there is nothing to compare."""
    pairs = zip((r.history for r in a.rounds), (r.history for r in b.rounds), strict=False)
    return sum(x == y for x, y in pairs)


def feasible_trend(method: str, sign: int, run: Run, analyses: Analyses) -> Seen | None:
    """The feasible share of the last round of the method's own objective against that of its first; `sign` is the paper's."""
    label, chains = chains_of(run, method)
    pairs = []
    for _, chain in sorted(chains.items()):
        own = [r.summary for r in chain.rounds if paths.objective(r.history) == method and r.summary]
        shares = [s["feasible"] / s["labeled"] for s in own if s["labeled"]]
        pairs += [(shares[0], shares[-1])] if len(shares) > 1 else []
    if not pairs:
        return None
    first, last = (_mean(values) for values in zip(*pairs, strict=True))
    return Seen(
        f"feasible, {label}: {first:.1%} in the first round, {last:.1%} in the last", [sign * (y - x) for x, y in pairs]
    )


def alone_at_the_optimum(method: str, others: Sequence[str], run: Run, analyses: Analyses) -> Seen | None:
    """In a replicate where all have ended, `method` found the optimum and none of `others` did."""
    label, ours = chains_of(run, method)
    rest = {name: chains for name, chains in (chains_of(run, other) for other in others) if name}
    ended = [
        c
        for n, c in sorted(ours.items())
        if c.ended and all(n in chains and chains[n].ended for chains in rest.values())
    ]
    if run.optimum is None or not ended or not rest:
        return None
    told = [(label, ours), *rest.items()]
    text = "; ".join(f"{name} in {sum(c.final for c in chains.values())} of {len(chains)}" for name, chains in told)
    lone = [c.final and not any(chains[c.replicate].final for chains in rest.values()) for c in ended]
    return Seen(f"found the optimum: {text}", [1.0 if yes else -1.0 for yes in lone])


def never_solves(method: str, run: Run, analyses: Analyses) -> Seen | None:
    """An ended replicate of `method` has not found the optimum."""
    label, chains = chains_of(run, method)
    ended = [c for c in chains.values() if c.ended]
    if run.optimum is None or not ended:
        return None
    found = sum(c.final for c in ended)
    return Seen(f"{label} found the optimum in {found} of {len(ended)}", [-1.0 if c.final else 1.0 for c in ended])


def fewest_sft_rounds(run: Run, analyses: Analyses) -> Seen | None:
    """Of schedules SFT_i-MargE_j of as many rounds, the one with the least i against the best of the others."""
    for family in find_families(run.schedules):
        best = {
            i: {n: float(c.steps(distinct=False).y[-1]) for n, c in chains.items()}
            for i, chains in family.ended(run).items()
        }
        first, *rest = best
        shared = [n for n in sorted(best[first]) if all(n in best[i] for i in rest)]
        if family.objective == "marge" and shared:
            told = (f"i = {i} {_shown(run, _mean([found[n] for n in shared]))}" for i, found in best.items())
            what = "best score" if run.optimum is None else "regret"
            gains = [best[first][n] - max(best[i][n] for i in rest) for n in shared]
            return Seen(f"{what} after {family.rounds} rounds: {'; '.join(told)}", gains)
    return None


def feasible(chain: Chain) -> float | None:
    """Share feasible of what a chain labelled after the seeds."""
    return chain.feasible


def unique(chain: Chain) -> float | None:
    """Unique share of what a chain generated, in the mean of its rounds."""
    return chain.unique


def reward(chain: Chain) -> float | None:
    """Mean reward of the edits that a chain labelled."""
    return chain_rewards(chain)[0]
