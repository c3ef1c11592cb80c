"""Draws a plot as SVG, the same bytes for the same data: no date, fixed identifiers, text as text.

Colours are Okabe and Ito's, told apart by colour-blind readers; points have a marker for each series as well. For a page
the drawing is made to follow it: the page's ink on light and dark, its font, no identifiers that clash. Points tell their
values on hover (llome.reporting.hover).
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from llome.reporting.hover import add_points, add_titles
from llome.reporting.plots import Plot, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

INK, FAINT, GRID = "#1b1f24", "#6b7480", "#dfe3e8"
COLOURS = (INK, "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
MARKERS = ("s", "o", "^", "D", "v", "P", "X")
DASHES: tuple[Any, ...] = ("solid", (0, (5, 1.5)), (0, (1.5, 1.2)), (0, (6, 1.5, 1.5, 1.5)))
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "llome",
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "text.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.7,
}


def draw(plot: Plot, *, paper: str = "none") -> str:
    """The plot as a standalone SVG document on `paper` (a colour).

    374 x 266 points, or 317 x 252 for those of the rounds; panels lie side by side, up to five of 144 x 144 points in a row.
    """
    import matplotlib as mpl
    from matplotlib.lines import Line2D

    with mpl.rc_context(STYLE):
        figure, panels = _make_panels(plot, paper)
        titles: dict[str, list[str]] = {}
        for axes, (title, members) in zip(panels, plot.panels.items(), strict=True):
            _prepare(axes, "" if plot.own_legend else title)
            for series in sorted(
                members, key=lambda s: (s.colour <= 0, s.colour == 0)
            ):  # the genetic algorithm on top of the seeds it shares
                _draw_series(axes, plot, series)
            _set_axes(axes, plot, members if plot.own_x else plot.series)
            gid = f"hover{len(titles)}"
            titles[gid] = add_points(axes, plot, members, gid)
        variants = [
            Line2D([], [], color=FAINT, linestyle=DASHES[i % len(DASHES)], label=name, gid=f"variant{i}")
            for i, name in enumerate(plot.variants)
            if name
        ]
        if plot.own_legend:
            for axes, title in zip(panels, plot.panels, strict=True):
                _add_own_legend(axes, title)
        else:
            _add_legend(figure, panels, variants)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    svg = text.getvalue()
    for gid, told in titles.items():
        svg = add_titles(svg, gid, told)
    return svg


def _make_panels(plot: Plot, paper: str) -> tuple[Figure, list[Axes]]:
    """The figure and its axes, one a panel."""
    from matplotlib.figure import Figure

    count = len(plot.panels)
    if count == 1:
        figure = Figure(figsize=(5.2, 3.7) if plot.steps else (4.4, 3.5), layout="constrained", facecolor=paper)
        axes = figure.add_subplot()
        axes.set_xlabel(plot.xlabel)
        axes.set_ylabel(plot.ylabel)
        return figure, [axes]
    rows = -(-count // 5)
    columns = -(-count // rows)
    figure = Figure(figsize=(max(4.4, 0.4 + 2.0 * columns), 0.8 + 2.0 * rows), layout="constrained", facecolor=paper)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False).flatten().tolist()
    for axes in grid[count:]:
        axes.remove()
    figure.supxlabel(plot.xlabel, fontsize=10)
    figure.supylabel(plot.ylabel, fontsize=10)
    return figure, grid[:count]


def _prepare(axes: Axes, title: str) -> None:
    axes.set_facecolor("none")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, fontsize=9, loc="left")


def _set_axes(axes: Axes, plot: Plot, members: Sequence[Series]) -> None:
    """Limits that hold all `members`, and ticks; and where the seeds end."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator, PercentFormatter

    ends = [(float(line.x.min()), float(line.x.max())) for s in members for line in s.lines]
    last = max(high for _, high in ends)
    axes.set_xlim(0 if min(low for low, _ in ends) > 0 else -0.03 * last, 1.02 * last)
    axes.set_ylim(0, None if plot.top is None else 1.03 * plot.top)
    axes.xaxis.set_major_locator(MaxNLocator(3 if len(plot.panels) > 1 else 6 if plot.steps else 5, integer=plot.whole))
    if plot.whole:
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:,.0f}"))
    if plot.percent:
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    if plot.seeds_end is not None:
        axes.axvline(plot.seeds_end, color=FAINT, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        crowded = plot.seeds_end < 0.12 * axes.get_xlim()[1]
        axes.annotate(
            "seeds",
            (plot.seeds_end, 0),
            (4 if crowded else -4, 4),
            textcoords="offset points",
            ha="left" if crowded else "right",
            va="bottom",
            color=FAINT,
            fontsize=9,
        )


def _add_legend(figure: Figure, panels: Sequence[Axes], variants: Sequence[Line2D]) -> None:
    """Above the axes, in the order of the experiment, in as few rows as hold it; then the variants."""
    shown: dict[str, Any] = {}
    for axes in panels:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    shown |= {str(line.get_label()): line for line in variants}
    labels, handles = list(shown), list(shown.values())
    order = sorted(range(len(labels)), key=lambda i: str(handles[i].get_gid()))
    points = sum(40 + 6.3 * len(label) for label in labels)
    width = 72 * figure.get_figwidth()
    fitting = len(labels) if points < width else max(2, int(width / (40 + 6.3 * max(map(len, labels)))))
    rows = -(-len(labels) // fitting)
    columns = -(-len(labels) // rows)
    figure.set_figheight(figure.get_figheight() + 0.2 * max(0, rows - 2))
    order = [i for column in range(columns) for i in order[column::columns]]  # matplotlib fills column by column
    figure.legend(
        [handles[i] for i in order],
        [labels[i] for i in order],
        loc="outside upper left",
        ncols=columns,
        frameon=False,
        handlelength=2.0,
        columnspacing=1.4,
        borderaxespad=0.2,
    )


def _add_own_legend(axes: Axes, title: str) -> None:
    """The panel's title and its legend, above it."""
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(0, 1),
        title=title,
        title_fontsize=9,
        alignment="left",
        ncols=2,
        frameon=False,
        fontsize=8,
        handlelength=1.2,
        columnspacing=1.0,
        borderaxespad=0,
        borderpad=0.2,
    )


def _draw_series(axes: Axes, plot: Plot, series: Series) -> None:
    rest = len(COLOURS) - 1
    rival = max(-series.colour, 0)  # the genetic algorithms are ink, told apart by their dashes and markers
    colour = COLOURS[(series.colour - 1) % rest + 1 if series.colour > 0 else 0]
    variant, panel = plot.variants.index(series.variant), list(plot.panels).index(series.panel)
    dash = DASHES[(max(series.colour - 1, 0) // rest + rival + variant) % len(DASHES)]
    marker = None if plot.steps else MARKERS[series.colour % len(MARKERS)]
    how = "steps-post" if plot.steps else "default"
    step: Literal["post"] | None = "post" if plot.steps else None
    top = 3 if series.colour <= 0 else 2
    gid = f"series{max(series.colour, 0):03d}" + f"r{rival}" * (rival > 0)
    gid += f"-{variant}-{panel}" if series.variant or series.panel else ""
    if series.band is None:
        (line,) = series.lines
        x, y, two_se = line.x, line.y, line.two_se
    else:
        for line in series.lines:
            axes.plot(
                line.x, line.y, color=colour, alpha=0.45, linewidth=0.7, drawstyle=how, linestyle=dash, zorder=top
            )
        x, y, two_se = series.band.x, series.band.mean, series.band.two_se
    if two_se is not None and not np.isnan(two_se).all():
        low, high = np.maximum(y - two_se, 0), y + two_se
        axes.fill_between(
            x, low, high, where=~np.isnan(two_se), color=colour, alpha=0.18, linewidth=0, step=step, zorder=top - 0.5
        )
    axes.plot(
        x,
        y,
        color=colour,
        linewidth=1.4 if series.panel else 1.8,
        drawstyle=how,
        linestyle=dash,
        marker=marker,
        markerfacecolor="none" if variant else colour,
        markersize=3 if series.panel else 4.5,
        label=None if series.panel == series.label else series.label,
        zorder=top + 0.2,
        gid=gid,
    )
    if plot.steps:
        axes.plot(x[-1:], y[-1:], color=colour, marker="o", markersize=4.5, clip_on=False, zorder=top + 0.3)


def for_page(svg: str, prefix: str, title: str) -> str:
    """The `<svg>` element to stand inside a page: scalable, in the page's ink and font, identifiers prefixed."""
    svg = svg[svg.index("<svg") :].strip()
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>|<!--.*?-->", "", svg, flags=re.DOTALL)
    svg = re.sub(r'font-family: [^;"]*;? ?', "", svg)
    head, rest = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    head = f'<svg {box[0] if box else ""} role="img" aria-label="{title}"'
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', rest))
    rest = re.sub(r' id="([^"]+)"', lambda m: f' id="{prefix}-{m[1]}"' if m[1] in used else "", rest)
    rest = re.sub(r'xlink:href="#|(url\(#)', lambda m: m[1] + prefix + "-" if m[1] else f'href="#{prefix}-', rest)
    for ink, name in ((INK, "ink"), (FAINT, "faint"), (GRID, "grid"), (COLOURS[1], "blue")):
        rest = rest.replace(ink, f"var(--{name})")
    return re.sub(r"\n\s*", "\n", f"{head}>{rest}")
