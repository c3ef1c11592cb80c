"""The values of a figure's points, where a reader holds the pointer over one: an SVG `<title>` each, and no script.

Over every point lies an invisible round marker, drawn by matplotlib so that it stands where the point does; its title is put
around it in the text of the drawing. A browser shows titles on hover; print and image viewers show nothing of this.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

import numpy as np

from llome.reporting.plots import Plot, Series

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_SIZE = 9
"""Diameter of the round that shows a title, in points."""


def add_points(axes: Axes, plot: Plot, members: Sequence[Series], gid: str) -> list[str]:
    """Lay invisible markers named `gid` over the points of `members`; the axes' limits must stand.

    Returns the title of each, in the order in which they are drawn; points of several series in one place, such as the seeds that
    they share, have one title.
    """
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    shown: dict[tuple[float, float], list[str]] = {}
    for series in members:
        for x, y, title in _told(plot, series):
            if left <= x <= right and low <= y <= high:
                shown.setdefault((x, y), []).append(title)
    axes.plot(
        [x for x, _ in shown],
        [y for _, y in shown],
        linestyle="none",
        marker="o",
        markersize=_SIZE,
        markeredgewidth=0,
        alpha=0,
        zorder=9,
        clip_on=False,
        scalex=False,
        scaley=False,
        gid=gid,
    )
    return ["\n\n".join(titles) for titles in shown.values()]


def add_titles(svg: str, gid: str, titles: Sequence[str]) -> str:
    """The drawing with `titles` around the markers that `add_points` named `gid`."""
    start = svg.index(f'<g id="{gid}">')
    end = svg.find('<g id="', start + 1)
    markers = re.compile(r"<use [^>]*/>")
    left = iter(titles)
    part, count = markers.subn(lambda m: f"<g><title>{escape(next(left))}</title>{m[0]}</g>", svg[start:end])
    assert count == len(titles), f"{count} markers for {len(titles)} titles"
    return svg[:start] + part + svg[end:]


def _told(plot: Plot, series: Series) -> list[tuple[float, float, str]]:
    """(x, y, title) of every point of the series' main curve: the mean over the replicates, or the only one's."""
    if series.band is None:
        (line,) = series.lines
        name, x, y, two_se = series.name, line.x, line.y, line.two_se
    else:
        name = f"{series.name}, mean of {len(series.lines)} replicates"
        x, y, two_se = series.band.x, series.band.mean, series.band.two_se
    told = []
    for i in np.flatnonzero(~np.isnan(y)):
        error = "" if two_se is None or np.isnan(two_se[i]) else f" ± {_value(plot, two_se[i])}"
        place = f"{x[i]:,.0f}" if plot.whole else f"{x[i]:.3g}"
        title = f"{name}\n{plot.xlabel}: {place}\n{plot.ylabel}: {_value(plot, y[i])}{error}"
        told.append((float(x[i]), float(y[i]), title))
    return told


def _value(plot: Plot, value: float) -> str:
    return f"{100 * value:.1f}%" if plot.percent else f"{value:.4g}"
