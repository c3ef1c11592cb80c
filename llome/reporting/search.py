"""What a hyperparameter search found: its points read off their cards, the choice among them, its table and its plot.

The rule is the paper's (appendix A.4): the lowest validation loss among the points whose outputs are valid (well-formed, of the
right length, in range) more often than the grid's `min_valid`.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from llome.errors import LlomeError
from llome.reporting.figures import COLOURS, FAINT, INK, MARKERS, STYLE
from llome.reporting.findings import UNKNOWN
from llome.search import Grid, flatten

if TYPE_CHECKING:
    from llome.policy.causal_lm import PolicyCard

SHARES = ("parsed", "right_length", "in_range", "valid", "novel")
_OTHERS = ("perplexity", "token_accuracy")


@dataclass(frozen=True)
class Point:
    """One trained point."""

    number: int
    values: dict[str, Any]
    """Of the grid's settings, by dotted name."""
    loss: float | None
    """On the held-out examples after the last step; None where the training diverged."""
    shares: dict[str, float]
    """Of the greedy outputs on held-out prompts, by `SHARES`."""
    others: dict[str, float]
    """Perplexity and accuracy a token, on the held-out (chosen) completions: comparable between strengths."""
    failed: str | None
    """Why it diverged."""

    def eligible(self, grid: Grid) -> bool:
        """Whether it may be chosen."""
        return self.loss is not None and self.shares.get("valid", 0.0) > grid.min_valid


def read_points(grid: Grid, cards: Sequence[tuple[str, PolicyCard]]) -> list[Point]:
    """Match the cards, named by their directories, with the points. Raises LlomeError where they are not of this grid."""
    wanted = grid.points()
    if len(cards) != len(wanted):
        raise LlomeError(
            f"{grid.file} has {len(wanted)} points, but {len(cards)} are given; give one directory each, in order"
        )
    points = []
    for number, (values, (where, card)) in enumerate(zip(wanted, cards, strict=True), start=1):
        used = flatten(card.settings)
        for key, value in values.items():
            if used.get(key) != value:
                raise LlomeError(
                    f"{where} was trained with {key} {used.get(key)!r}, but point {number} of {grid.file} has {value!r};"
                    " delete it and train it again"
                )
        facts = card.facts
        failed = facts.get("failed")
        if not failed and (facts.get("val_loss") is None or facts.get("valid") is None):
            raise LlomeError(
                f"{where} has no validation loss or validity; a search needs data.val_fraction and validity.num_prompts above 0"
            )
        known = {} if failed else facts
        shares, others = ({k: known[k] for k in keys if k in known} for keys in (SHARES, _OTHERS))
        points.append(Point(number, values, known.get("val_loss"), shares, others, failed))
    return points


def best_point(points: Sequence[Point], grid: Grid) -> Point:
    """The eligible point of the lowest loss, the first of equals. Raises LlomeError where none is eligible."""
    eligible = [point for point in points if point.eligible(grid)]
    if not eligible:
        nearest = max(points, key=lambda point: point.shares.get("valid", -1.0))
        raise LlomeError(
            f"no point of {grid.file} writes valid sequences more than {grid.min_valid:.0%} of the time; the nearest, point"
            f" {nearest.number}, does so {nearest.shares.get('valid', 0.0):.0%}: try lower learning rates, or lower min_valid"
        )
    return min(eligible, key=lambda point: point.loss or 0.0)


def short_names(grid: Grid) -> dict[str, str]:
    """`model.init_args.optimizer.init_args.lr` -> `lr`, or as much of its end as tells it from the others."""
    names = {}
    for key in grid.values:
        parts = key.split(".")
        for start in range(len(parts) - 1, -1, -1):
            name = ".".join(parts[start:])
            if sum(("." + other).endswith("." + name) for other in grid.values) == 1:
                break
        names[key] = name.rstrip("_")
    return names


def search_cells(points: Sequence[Point], grid: Grid) -> list[list[str]]:
    """Header and cells of the table; the chosen point is marked."""
    chosen = {p.number for p in points if p.eligible(grid)} and best_point(points, grid).number
    header = [
        "point",
        *short_names(grid).values(),
        "loss",
        "perplexity",
        "accuracy",
        *(s.replace("_", " ") for s in SHARES),
        "",
    ]
    cells = [header]
    for p in points:
        remark = (
            "chosen"
            if p.number == chosen
            else "diverged"
            if p.failed
            else ""
            if p.eligible(grid)
            else "not valid enough"
        )
        cells.append(
            [
                str(p.number),
                *(f"{v:g}" if isinstance(v, float) else str(v) for v in p.values.values()),
                UNKNOWN if p.loss is None else f"{p.loss:.5g}",
                *(f"{p.others[k]:.4f}" if k in p.others else UNKNOWN for k in _OTHERS),
                *(f"{p.shares[k]:.0%}" if k in p.shares else UNKNOWN for k in SHARES),
                remark,
            ]
        )
    return cells


def search_table(points: Sequence[Point], grid: Grid) -> str:
    """The table in plain text."""
    cells = search_cells(points, grid)
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    return "\n".join("  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in cells)


def search_csv(points: Sequence[Point], grid: Grid) -> str:
    """Every number of every point."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["point", *grid.values, "val_loss", *_OTHERS, *SHARES, "eligible", "failed"])
    for p in points:
        numbers = [p.loss, *(p.others.get(k) for k in _OTHERS), *(p.shares.get(k) for k in SHARES)]
        shown = ["" if n is None else f"{n:.10g}" for n in numbers]
        writer.writerow([p.number, *p.values.values(), *shown, int(p.eligible(grid)), p.failed or ""])
    return text.getvalue()


def draw_search(points: Sequence[Point], grid: Grid, *, paper: str = "none") -> str:
    """Validation loss against each setting, a panel a setting with more than one candidate, as a standalone SVG document."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    varied = [key for key, candidates in grid.values.items() if len(candidates) > 1] or list(grid.values)[:1]
    names = short_names(grid)
    chosen = best_point(points, grid).number if any(p.eligible(grid) for p in points) else None
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(1.2 + 2.3 * len(varied), 3.2), layout="constrained", facecolor=paper)
        panels = np.atleast_1d(figure.subplots(1, len(varied), sharey=True))
        for axes, key in zip(panels, varied, strict=True):
            axes.set_facecolor("none")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="y")
            axes.set_axisbelow(True)
            for which, marker, face, edge, label in (
                (lambda p: p.eligible(grid), MARKERS[1], COLOURS[1], COLOURS[1], "eligible"),
                (lambda p: p.loss is not None and not p.eligible(grid), MARKERS[6], "none", FAINT, "not valid enough"),
                (lambda p: p.number == chosen, MARKERS[3], "none", INK, "chosen"),
            ):
                shown = [p for p in points if which(p)]
                axes.scatter(
                    [_place(p, key, grid, len(points)) for p in shown],
                    [p.loss for p in shown],
                    s=90 if label == "chosen" else 26,
                    marker=marker,
                    facecolors=face,
                    edgecolors=edge,
                    linewidths=1.2,
                    label=label if shown else None,
                )
            candidates = grid.values[key]
            axes.set_xticks(range(len(candidates)), [f"{c:g}" if isinstance(c, float) else str(c) for c in candidates])
            axes.set_xlim(-0.5, len(candidates) - 0.5)
            axes.set_xlabel(names[key])
        panels[0].set_ylabel("validation loss")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(
            handles, labels, loc="outside upper left", ncols=3, frameon=False, handletextpad=0.1, columnspacing=1.0
        )
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return text.getvalue()


def _place(point: Point, key: str, grid: Grid, count: int) -> float:
    """The candidate's place on the axis, points of equal value side by side in the order of their numbers."""
    return grid.values[key].index(point.values[key]) + 0.5 * ((point.number - 0.5) / count - 0.5)
