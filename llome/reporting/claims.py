"""What section 5 of the paper claims, beside what a run shows: every verdict is computed from the run's numbers.

A claim becomes one number a replicate, its gain: above 0 where the paper is right. The replicates of a run have their seeds in common
between methods, so methods are compared replicate by replicate, at equal counted evaluations where a score is at stake. A mean gain
beyond two standard errors is a yes or a no; anything less is undecided, and a single replicate is never more than "seen once". What a
run cannot speak to is left out, and the page says what that would need.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from functools import partial
from html import escape
from itertools import product

import numpy as np

from llome.reporting import sightings as look
from llome.reporting.analysis import sightings as deeper
from llome.reporting.analysis.rounds import Analyses
from llome.reporting.curves import mean_and_error
from llome.reporting.html import csv_link, table
from llome.reporting.runs import Run
from llome.reporting.sightings import Seen

NAMES = {"sft": "LLOME-SFT", "marge": "LLOME-MargE", "dpo": "LLOME-DPO", "reinforce": "LLOME-REINFORCE", "ga": "the GA"}
HEADER = ("paper", "the paper says", "we see", "agrees", "because")


@dataclass(frozen=True)
class Claim:
    """A claim of the paper and how to see it; `see` gives None where the run cannot speak to it."""

    source: str
    paper: str
    needs: str
    """What a run must have to speak to it."""
    see: Callable[[Run, Analyses], Seen | None]


@dataclass(frozen=True)
class Finding:
    """A row of the table."""

    source: str
    paper: str
    seen: str
    agrees: str
    """yes, no or undecided."""
    reason: str


def judge(gains: Sequence[float]) -> tuple[str, str]:
    """Whether gains, one a replicate, agree with the paper: yes, no or undecided, and why."""
    mean, error = mean_and_error(np.asarray(gains, dtype=np.float64))
    if mean is None:
        return "undecided", "nothing was seen"
    if error is None:
        return (
            "undecided",
            f"seen once, {'as the paper says' if mean > 0 else 'not so' if mean < 0 else 'no difference'}",
        )
    if abs(mean) <= 2 * error + 1e-12:
        return "undecided", f"{'within two standard errors' if error else 'no difference'} in {len(gains)} replicates"
    return "yes" if mean > 0 else "no", f"beyond two standard errors in {len(gains)} replicates"


def find(source: str, paper: str, seen: Seen) -> Finding:
    """The row of a claim of which something was seen."""
    return Finding(source, paper, seen.text, *judge(seen.gains))


def check_claims(run: Run, analyses: Analyses) -> tuple[list[Finding], list[str]]:
    """A row for each claim that the run speaks to; and, for those it does not, what they need."""
    findings, lacking = [], []
    for claim in CLAIMS:
        seen = claim.see(run, analyses)
        if seen is None or not seen.gains:
            lacking.append(f"{claim.source} ({claim.needs})")
        else:
            findings.append(find(claim.source, claim.paper, seen))
    return findings, list(dict.fromkeys(lacking))


def claim_cells(findings: Sequence[Finding]) -> list[list[str]]:
    """Header and cells of the table."""
    return [list(HEADER), *(list(astuple(finding)) for finding in findings)]


def claims_csv(findings: Sequence[Finding]) -> str:
    """The table as data."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(claim_cells(findings))
    return text.getvalue()


def claim_section(findings: Sequence[Finding], lacking: Sequence[str]) -> list[str]:
    """The table as a section of a page; nothing where nothing was found."""
    if not findings:
        return []
    more = f" This run does not speak, or not yet, to: {'; '.join(lacking)}." if lacking else ""
    return [
        "<section><h2>The paper says, we see</h2>",
        table(claim_cells(findings), "prose"),
        f"<p class=note>{escape(_NOTE + more)} {csv_link(claims_csv(findings), 'claims')}</p></section>",
    ]


_NOTE = (
    "Claims of section 5 of arXiv 2410.22296, in our words. Methods are compared replicate by replicate: scores at the last count of"
    " evaluations that both have reached, shares and rewards of policies over as many rounds of each. Yes or no: the mean difference is"
    " beyond two standard errors. One replicate is seen once and decides nothing."
)


def _regret(better: str, worse: str, source: str, more: str = "") -> Claim:
    paper = f"{NAMES[better]} reaches a lower minimum regret than {NAMES[worse]}{more}"
    return Claim(source, paper, _needs(better, worse), partial(look.lower, better, worse))


def _share(what: str, a: str, b: str, paper: str) -> Claim:
    fact = look.unique if what == "unique" else look.feasible
    return Claim(
        f"Fig. {'3a' if what == 'unique' else '3b'}", paper, _needs(a, b), partial(look.more, fact, what, a, b)
    )


def _needs(*methods: str) -> str:
    return "a schedule of " + " and one of ".join(m for m in methods if m != "ga")


_ANALYSES = "analyze: true"
CLAIMS: list[Claim] = [
    *(_regret(name, "ga", "Fig. 2a", " (significantly)") for name in ("sft", "marge", "dpo")),
    _regret("marge", "sft", "Fig. 2a"),
    _regret("marge", "dpo", "Fig. 2a"),
    Claim(
        "Fig. 2a",
        "LLOME-MargE alone finds the optimum",
        _needs("marge", "sft"),
        partial(look.alone_at_the_optimum, "marge", ("sft", "dpo", "reinforce")),
    ),
    *(
        Claim(
            "Fig. 11",
            f"{NAMES[name]} has a higher average reward than LLOME-DPO (significantly)",
            _needs(name, "dpo"),
            partial(look.more, look.reward, "mean reward", name, "dpo"),
        )
        for name in ("sft", "marge")
    ),
    *(
        _share("unique", name, "ga", f"{NAMES[name]} writes a larger share of unique sequences than the GA")
        for name in ("sft", "marge", "dpo")
    ),
    *(
        _share(what, name, "dpo", f"{NAMES[name]} writes {what} sequences, LLOME-DPO struggles to")
        for name, what in product(("sft", "marge"), ("unique", "feasible"))
    ),
    *(
        _share(what, "marge", "sft", f"LLOME-MargE writes the largest share of {what} sequences")
        for what in ("unique", "feasible")
    ),
    *(
        Claim(
            "Fig. 3b",
            f"{NAMES[name]} writes more feasible sequences after an initial dip",
            _needs(name),
            partial(look.feasible_trend, name, 1),
        )
        for name in ("sft", "marge")
    ),
    Claim(
        "Fig. 3b",
        "LLOME-DPO writes fewer feasible sequences from round to round",
        _needs("dpo"),
        partial(look.feasible_trend, "dpo", -1),
    ),
    *(
        Claim(
            "Fig. 12",
            f"{NAMES[name]}: of edits beyond 0.3 of the positions, less than 20% are feasible",
            f"{_ANALYSES}, {_needs(name)}",
            partial(deeper.large_edits, name),
        )
        for name in ("sft", "marge")
    ),
    Claim("Fig. 4", "Iterative refinement reduces regret below that of its inputs", _ANALYSES, deeper.refinement_gains),
    Claim("Fig. 4", "Early edits reduce regret more than late ones", _ANALYSES, deeper.early_gains),
    Claim("Fig. 5", "Likelihood does not select the very best candidates", _ANALYSES, deeper.missed_by_likelihood),
    Claim("Fig. 5", "Likelihood selects high-scoring candidates", _ANALYSES, deeper.better_than_chance),
    *(
        Claim(
            "Fig. 6b",
            f"{NAMES[name]} is overconfident: above a likelihood of 0.7, reward falls as likelihood rises",
            f"{_ANALYSES}, {_needs(name)}",
            partial(deeper.overconfidence, name),
        )
        for name in ("sft", "marge")
    ),
    Claim(
        "Fig. 8a",
        "Of schedules SFT_i-MargE_j, the one with the least SFT ends at the lowest regret",
        "schedules of sft and marge, as many rounds in all",
        look.fewest_sft_rounds,
    ),
    Claim(
        "Fig. 8b",
        "Of schedules SFT_i-MargE_j, the one with the least SFT is calibrated best",
        f"{_ANALYSES}, schedules of sft and marge, as many rounds in all",
        deeper.best_calibrated,
    ),
    _regret("marge", "reinforce", "Fig. 9"),
    Claim(
        "Fig. 9",
        "LLOME-REINFORCE does not find the optimum",
        _needs("reinforce"),
        partial(look.never_solves, "reinforce"),
    ),
]
"""The claims of section 5 in the paper's order of figures; those across functions are in `comparison`."""
