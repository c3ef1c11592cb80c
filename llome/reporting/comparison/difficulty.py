"""How hard each variant's function is: the genetic algorithm against the function's settings (paper Fig. 10), and exact counts.

"Starting from a fixed set of reference parameters we vary each parameter individually" (caption): the reference is the variant from which
most others differ in one setting, the first of equals. The paper draws the genetic algorithm against evaluations; beside that stands the
score it ends with against the setting itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from llome.reporting.claims import Finding, find
from llome.reporting.comparison.variants import Variant, group_by_function
from llome.reporting.curves import average_rounds
from llome.reporting.findings import GENETIC, UNKNOWN, Method, build_rows
from llome.reporting.plots import Line, Plot, Series, spread_note
from llome.reporting.progress import steps_of
from llome.reporting.runs import Chain
from llome.reporting.sightings import Seen

SYMBOLS = {"num_states": "V", "dim": "L", "num_motifs": "c", "motif_length": "k", "quantization": "q"}
NAMES = {"V": "states", "L": "length", "c": "number of motifs", "k": "motif length", "q": "quantization"}
_OTHERS = ("epistasis_factor", "noise_std")


@dataclass(frozen=True)
class Ladder:
    """Variants that differ from the reference in one setting alone, the reference among them."""

    symbol: str
    steps: dict[int, list[Variant]]
    """The variants by the setting's value, rising."""

    @property
    def title(self) -> str:
        """Of its panel."""
        return f"{NAMES[self.symbol]} {self.symbol}"

    def chains(self, value: int, method: str) -> list[Chain]:
        """The replicates of a method at a value, numbered anew where several variants have it."""
        found = (chain for v in self.steps[value] for chain in _chains(v.methods().get(method)))
        return [replace(chain, replicate=i) for i, chain in enumerate(found)]


def _chains(method: Method | None) -> list[Chain]:
    return [] if method is None else method.chains


def find_ladders(variants: Sequence[Variant]) -> list[Ladder]:
    """The settings that were varied one at a time, in the order of `SYMBOLS`."""
    known = [v for v in variants if all(key in v.arguments for key in SYMBOLS)]
    if not known:
        return []
    reference = max(known, key=lambda v: sum(len(_changed(v, other)) == 1 for other in known))
    ladders = []
    for key, symbol in SYMBOLS.items():
        steps: dict[int, list[Variant]] = {}
        for v in known:
            if _changed(reference, v) <= {key}:
                steps.setdefault(v.arguments[key], []).append(v)
        if len(steps) > 1:
            ladders.append(Ladder(symbol, dict(sorted(steps.items()))))
    return ladders


def _changed(a: Variant, b: Variant) -> set[str]:
    return {key for key in (*SYMBOLS, *_OTHERS) if a.arguments.get(key) != b.arguments.get(key)}


def build_difficulty_plots(
    variants: Sequence[Variant], ladders: Sequence[Ladder], colours: Mapping[str, int]
) -> list[Plot]:
    """Fig. 10: the genetic algorithm against evaluations, a panel a setting; and what each ends with against the setting's value."""
    optimum = variants[0].run.optimum
    what = "best score" if optimum is None else "minimum regret"
    curves, ends = [], []
    for ladder in ladders:
        for colour, value in enumerate(ladder.steps, start=1):
            run = ladder.steps[value][0].run
            series = steps_of(run, f"{ladder.symbol} = {value}", colour, ladder.chains(value, GENETIC), distinct=False)
            curves.append(replace(series, panel=ladder.title))
        ends += [_ends(ladder, name, colour) for name, colour in colours.items() if colour <= 0]
    shown = [series for series in ends if series is not None]
    several = any(series.band for series in curves)
    spread = spread_note() if several else ""
    one = "in each panel one setting of the function is varied and the others stay"
    if _one_each(ladders):
        one += "; every value is one drawn function, and another draw may be easier or harder"
    plots = [
        Plot(
            "fig10",
            f"{what.capitalize()} of the genetic algorithm by setting (paper Fig. 10)",
            f"The {what} of the genetic algorithm against counted evaluations; {one}.{spread}",
            "counted oracle evaluations",
            what,
            curves,
            top=optimum,
            steps=True,
            own_legend=True,
        ),
        Plot(
            "fig10_last",
            f"{what.capitalize()} the genetic algorithms end with, by setting (beside paper Fig. 10)",
            f"The {what} at the last count that all points of a panel have reached, against the value of the setting; {one}.{spread}",
            "value of the setting",
            what,
            shown,
            top=optimum,
            column="setting",
            own_x=True,
        ),
    ]
    return [plot for plot in plots if plot.series]


def _one_each(ladders: Sequence[Ladder]) -> bool:
    return all(len(variants) == 1 for ladder in ladders for variants in ladder.steps.values())


def _ends(ladder: Ladder, name: str, colour: int) -> Series | None:
    """A method's score or regret at each value, a line a replicate; None where a value lacks the method."""
    found = last_scores(ladder, name)
    if found is None:
        return None
    x = np.array(list(found), dtype=np.float64)
    lines = []
    for number in range(max(len(values) for values in found.values())):
        y = [values[number] if number < len(values) else np.nan for values in found.values()]
        lines.append(Line(number, x, np.array(y)))
    band = average_rounds([(line.x, line.y) for line in lines]) if len(lines) > 1 else None
    return Series(name, colour, lines, band, panel=ladder.title)


def last_scores(ladder: Ladder, name: str) -> dict[int, list[float]] | None:
    """The method's regret (score, without an optimum) a replicate at each value, at the last count that all have reached."""
    chains = {value: ladder.chains(value, name) for value in ladder.steps}
    if not all(chains.values()):
        return None
    everyone = [c for found in chains.values() for c in found]
    at = min((c.spent for c in everyone if not c.final), default=max(c.spent for c in everyone))
    optimum = next(iter(ladder.steps.values()))[0].run.optimum
    scores = {value: [float(c.steps(distinct=False).at(at)) for c in found] for value, found in chains.items()}
    return scores if optimum is None else {value: [optimum - s for s in found] for value, found in scores.items()}


def difficulty_cells(variants: Sequence[Variant]) -> list[list[str]]:
    """Header and cells: the settings of each variant's function, its exact shares, and the genetic algorithm's last score.

    A row a function where several variants optimise one, and so share its genetic algorithm.
    """
    header = ["", *SYMBOLS.values(), "feasible", "optimal", "GA's best score", "GA's regret"]
    cells = [header]
    for name, members in (group_by_function(variants) or {v.name: {v.name: v} for v in variants}).items():
        v = next(iter(members.values()))
        row = next(row for row in build_rows(v.run) if row.label.startswith(GENETIC))
        counts = v.counts or {}
        shares = [_share(counts, "feasible"), _share(counts, "optimal")]
        found = [UNKNOWN if e is None else e.format(".3f") for e in (row.best, row.regret)]
        cells.append([name, *(str(v.arguments.get(key, UNKNOWN)) for key in SYMBOLS), *shares, *found])
    return cells


def _share(counts: Mapping[str, float | None], what: str) -> str:
    """A share of all sequences as a power of ten: shares are as small as 10^-100."""
    part, whole = counts.get(f"log10_{what}"), counts.get("log10_sequences")
    return UNKNOWN if part is None or whole is None else f"10^{part - whole:.2f}"


def difficulty_claims(ladders: Sequence[Ladder]) -> list[Finding]:
    """What Fig. 10 says: the genetic algorithm does worse the larger L, c and k are, and q matters most.

    The paper's figure shows the first; its caption says the second, and not in which direction q works.
    """
    if not ladders or next(iter(ladders[0].steps.values()))[0].run.optimum is None:
        return []
    findings, spans = [], {}
    for ladder in ladders:
        regrets = last_scores(ladder, GENETIC)
        if regrets is None:
            continue
        least, *_, most = regrets
        pairs = list(zip(regrets[least], regrets[most], strict=False))
        told = "; ".join(f"{ladder.symbol} = {value}: regret {np.mean(found):.3f}" for value, found in regrets.items())
        told += " (one function each)" * _one_each([ladder])
        gains = [high - low for low, high in pairs]
        spans[ladder.symbol] = (told, gains)
        if ladder.symbol in ("L", "c", "k"):
            paper = f"The GA does worse the larger the {NAMES[ladder.symbol]} {ladder.symbol}"
            findings.append(find("Fig. 10", paper, Seen(told, gains)))
    others = [np.abs(gains) for symbol, (_, gains) in spans.items() if symbol != "q"]
    if "q" in spans and others:
        number = min(len(spans["q"][1]), *(len(gains) for gains in others))
        strongest = np.max([gains[:number] for gains in others], axis=0)
        excess = np.abs(spans["q"][1][:number]) - strongest
        told = "; ".join(
            f"{symbol} changes regret by {abs(np.mean(gains)):.3f}" for symbol, (_, gains) in spans.items()
        )
        findings.append(
            find("Fig. 10", "Difficulty depends most strongly on the quantization q", Seen(told, excess.tolist()))
        )
    return findings
