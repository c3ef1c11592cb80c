"""How cost grows with the size of the problem: the data and the picture of the README, made by `make growth`.

    python -m benchmarks.growth ../docs/growth.csv ../docs/growth.svg     (in tests/, a few minutes on two cores)

Refinement is timed with an untrained policy and the grammar on: every completion has full length and hardly any two begin alike, the
dearest case there is. Each panel's line is the power law through its last three points, where overheads no longer matter. What to
expect: seeds 1; length between 1 and 2, since a token attends to all before it; weights 1 at most, as products of small matrices
grow faster than their time; neighbours 2, all pairs; oracle 1 and 1.
"""

from __future__ import annotations

import csv
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llome.codec import SequenceCodec
from llome.data.neighbours import find_neighbours
from llome.domain import Domain
from llome.policy.causal_lm import build_small_policy
from llome.policy.refinement import refine_sequences
from llome.policy.sampling import Sampler
from llome.provenance import replacing
from llome.scoring import Ehrlich

from .peers.clock import repeat
from .problems import labels

STATES = 32


@dataclass(frozen=True)
class Sizes:
    """The points of every panel."""

    seeds: Sequence[int] = (10, 25, 50, 100, 200)
    length: Sequence[int] = (16, 32, 64, 128)
    width: Sequence[int] = (32, 64, 128, 256, 512)
    neighbours: Sequence[int] = (2_500, 5_000, 10_000, 20_000, 40_000)
    oracle_length: Sequence[int] = (32, 64, 128, 256, 512)
    motifs: Sequence[int] = (1, 2, 4, 8, 16)
    refined: tuple[int, int] = (25, 32)
    """Seeds and length where these do not vary."""
    scored: int = 20_000
    repeats: int = 3


@dataclass
class Panel:
    """One curve."""

    path: str
    what: str
    expected: str
    x: list[float] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)

    @property
    def exponent(self) -> float:
        """Slope of log seconds over log x through the last three points."""
        last = slice(-min(3, len(self.x)), None)
        return float(np.polyfit(np.log(self.x[last]), np.log(self.seconds[last]), 1)[0])


def refinement(seeds: int, length: int, width: int) -> tuple[Callable[[], Any], int]:
    """An iteration at six temperatures with ten samples and greedy decoding, and the policy's weights."""
    model, tokenizer = build_small_policy(
        STATES, length, hidden_size=width, num_layers=2, num_heads=max(2, width // 16), random_seed=0
    )
    sampler = Sampler(model, SequenceCodec(tokenizer, Domain(STATES, length, "")), grammar=True)
    sequences = np.random.default_rng(0).integers(0, STATES, (seeds, length))
    temperatures = [0.6, 0.8, 1.0, 1.2, 1.4, 1.6]
    weights = sum(p.numel() for p in model.parameters())
    return lambda: refine_sequences(
        sampler, sequences, temperatures=temperatures, iterations=1, num_samples=10
    ), weights


def scoring(length: int, motifs: int, count: int) -> Callable[[], Any]:
    """Scores of chains of the function's own, most of them feasible."""
    function = Ehrlich(num_states=STATES, dim=length, num_motifs=motifs, motif_length=2, quantization=2, random_seed=0)
    sequences = np.resize(function.initial_solution(), (count, length)).copy()
    changed = np.random.default_rng(0).integers(0, length, count)
    sequences[np.arange(count), changed] = 0
    return lambda: function.score(sequences)


def measure(sizes: Sizes) -> Iterator[Panel]:
    """Every panel, one after the other."""
    seeds, length = sizes.refined
    edits = f"{61 * seeds:,} edits"

    def best(function: Callable[[], Any]) -> float:
        return min(repeat(function, sizes.repeats))

    panel = Panel("refinement", f"seeds (61 edits each, L {length})", "1")
    for count in sizes.seeds:
        panel.x.append(count)
        panel.seconds.append(best(refinement(count, length, 64)[0]))
    yield panel
    panel = Panel("refinement", f"length L ({edits})", "1-2")
    for each in sizes.length:
        panel.x.append(each)
        panel.seconds.append(best(refinement(seeds, each, 64)[0]))
    yield panel
    panel = Panel("refinement", f"weights of the policy ({edits}, L {length})", "<= 1")
    for width in sizes.width:
        run, weights = refinement(seeds, length, width)
        panel.x.append(weights)
        panel.seconds.append(best(run))
    yield panel
    panel = Panel("30 nearest neighbours", "sequences N (L 32)", "2")
    sequences = labels(max(sizes.neighbours)).sequence
    for total in sizes.neighbours:
        part = sequences[:total]
        panel.x.append(total)
        panel.seconds.append(best(lambda part=part: find_neighbours(part, 30, random_seed=0)))
    yield panel
    scored = f"{sizes.scored:,} scores"
    panel = Panel("oracle", f"length L ({scored}, c 4)", "1")
    for each in sizes.oracle_length:
        panel.x.append(each)
        panel.seconds.append(best(scoring(each, 4, sizes.scored)))
    yield panel
    panel = Panel("oracle", f"motifs c ({scored}, L 128)", "1")
    for motifs in sizes.motifs:
        panel.x.append(motifs)
        panel.seconds.append(best(scoring(128, motifs, sizes.scored)))
    yield panel


def write_csv(panels: Sequence[Panel], path: Path) -> None:
    """A row a point."""
    with replacing(path) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["path", "against", "x", "seconds", "exponent", "expected"])
        for panel in panels:
            for x, seconds in zip(panel.x, panel.seconds, strict=True):
                writer.writerow(
                    [panel.path, panel.what, f"{x:g}", f"{seconds:.4g}", f"{panel.exponent:.2f}", panel.expected]
                )


def draw(panels: Sequence[Panel], path: Path) -> None:
    """Small multiples on logarithmic axes."""
    import matplotlib as mpl
    from matplotlib.figure import Figure
    from matplotlib.ticker import EngFormatter, FuncFormatter, LogLocator, NullFormatter

    from llome.reporting.figures import COLOURS, FAINT, STYLE

    with mpl.rc_context(STYLE), replacing(path) as temporary:
        figure = Figure(figsize=(9.6, 5.6), layout="constrained", facecolor="white")
        for axes, panel in zip(figure.subplots(2, 3).flat, panels, strict=False):
            axes.spines[["top", "right"]].set_visible(False)
            axes.loglog(panel.x, panel.seconds, color=COLOURS[1], marker="o", markersize=4.5, linewidth=1.8)
            last = np.array(panel.x[-3:])
            line = panel.seconds[-1] * (last / last[-1]) ** panel.exponent
            axes.loglog(last, line, color=FAINT, linestyle=(0, (2, 2)), linewidth=1)
            axes.set_xticks(panel.x)
            axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            for axis, unit in ((axes.xaxis, ""), (axes.yaxis, "s")):
                told = EngFormatter(unit, sep=" " if unit else "")
                axis.set_major_formatter(FuncFormatter(lambda x, _, told=told: told(float(f"{x:.3g}"))))
                axis.set_minor_formatter(NullFormatter())
            axes.set_title(f"{panel.path}: exponent {panel.exponent:.2f}", fontsize=10, loc="left")
            axes.set_xlabel(panel.what, fontsize=9)
        figure.savefig(temporary, format="svg", metadata={"Date": None, "Creator": None})


def read_csv(path: Path) -> list[Panel]:
    """The panels whose points a file of `write_csv` holds."""
    panels: dict[tuple[str, str], Panel] = {}
    with open(path, newline="") as file:
        for row in csv.DictReader(file):
            key = row["path"], row["against"]
            panel = panels.setdefault(key, Panel(*key, row["expected"]))
            panel.x.append(float(row["x"]))
            panel.seconds.append(float(row["seconds"]))
    return list(panels.values())


def main(csv_file: str, svg_file: str, sizes: Sizes | None = None) -> None:
    """Measure, write both files, and say the exponents."""
    panels = []
    for panel in measure(sizes or Sizes()):
        panels.append(panel)
        timings = ", ".join(f"{x:g}: {s:.3g} s" for x, s in zip(panel.x, panel.seconds, strict=True))
        print(
            f"{panel.path} against {panel.what}: exponent {panel.exponent:.2f} (expected {panel.expected}); {timings}"
        )
    write_csv(panels, Path(csv_file))
    draw(read_csv(Path(csv_file)), Path(svg_file))  # the picture of the README is the one of the table beside it


if __name__ == "__main__":
    main(*sys.argv[1:])
