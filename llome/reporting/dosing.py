"""Draws the table of LEON's dosing task: root mean squared error and mean rank of each method, with two standard errors."""

from __future__ import annotations

import io
from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING

from llome.reporting.figures import COLOURS, FAINT, INK, MARKERS, STYLE

if TYPE_CHECKING:
    from llome.leon.warfarin.table import Row


def draw_dosing(rows: Sequence[Row], caption: str, *, paper: str = "none") -> str:
    """The rows from top to bottom as a standalone SVG document on `paper` (a colour), the last one marked, with its caption below.

    Colours are told apart by colour-blind readers, and the last method has a marker of its own.
    """
    import matplotlib as mpl
    from matplotlib.figure import Figure

    places = range(len(rows))
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(7.6, 1.4 + 0.38 * len(rows)), layout="constrained", facecolor=paper)
        left, right = figure.subplots(1, 2, sharey=True)
        for axes, name, values, errors in (
            (left, "RMSE, mg a day", [r.rmse for r in rows], [2 * r.rmse_error for r in rows]),
            (right, "mean rank (1 is nearest)", [r.rank for r in rows], [2 * r.rank_error for r in rows]),
        ):
            axes.set_facecolor("none")
            axes.spines[["top", "right"]].set_visible(False)
            axes.grid(axis="x")
            axes.set_axisbelow(True)
            axes.set_xlabel(name)
            for place in places:
                last = place == len(rows) - 1
                colour = COLOURS[2] if last else COLOURS[1]
                axes.errorbar(
                    [values[place]],
                    [place],
                    xerr=[errors[place]],
                    fmt=MARKERS[3] if last else MARKERS[1],
                    markersize=6 if last else 5,
                    color=colour,
                    elinewidth=1.2,
                    capsize=2.5,
                )
        left.set_xlim(left=0)
        right.set_xlim(left=1)
        left.set_yticks(places, [r.method.replace(" (", "\n(") for r in rows])
        left.set_ylim(len(rows) - 0.5, -0.5)
        left.tick_params(axis="y", labelcolor=INK)
        figure.supxlabel(fill(caption, 130), fontsize=7.5, color=FAINT)
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Type": None, "Format": None})
    return text.getvalue()
