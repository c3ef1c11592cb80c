"""What a figure is: its lines, its caption, its axes, and the CSV of its data. Which figures there are is said elsewhere.

`progress` has those against counted evaluations, `analysis.plots` those of what the loop never labelled; `figures` draws them.
"""

from __future__ import annotations

import csv
import io
from dataclasses import dataclass

import numpy as np

from llome.reporting.curves import Band


def spread_note(replicates: str = "the") -> str:
    """What a caption says of the lines, where there are several replicates."""
    return f" Lines: mean of {replicates} replicates; bands: two standard errors; thin lines: each replicate."


@dataclass(frozen=True)
class Line:
    """One replicate's curve."""

    replicate: int
    x: np.ndarray
    y: np.ndarray
    """NaN where nothing is known: the line has a gap, the data no row."""
    two_se: np.ndarray | None = None
    """Two standard errors within a round, where there are any."""
    counts: np.ndarray | None = None
    """(K,) int64, how many sequences each point stands for, where that is told."""


@dataclass(frozen=True)
class Series:
    """One optimiser in one figure."""

    label: str
    colour: int
    """0 for the genetic algorithm, -1, -2, ... for its rivals, then by the schedule's place in the experiment."""
    lines: list[Line]
    band: Band | None
    """The mean over replicates; None with one replicate."""
    variant: str = ""
    """Which line it is, where an optimiser has several in a figure: told apart by their dashes."""
    panel: str = ""
    """Title of the panel it is drawn in, where a figure has several."""

    @property
    def name(self) -> str:
        """The series in the figure's data."""
        return f"{self.label}, {self.variant}" if self.variant else self.label


@dataclass(frozen=True)
class Plot:
    """One figure."""

    key: str
    """File name of its data, such as fig2a."""
    title: str
    caption: str
    xlabel: str
    ylabel: str
    series: list[Series]
    top: float | None
    """Upper end of the vertical axis, which starts at 0; None to fit the data."""
    steps: bool = False
    """Best-so-far steps, else a point a round."""
    percent: bool = False
    seeds_end: float | None = None
    """Where the seeds end on the horizontal axis."""
    column: str = "evaluations"
    """What the horizontal axis holds, as a column of the data."""
    whole: bool = True
    """The horizontal axis counts something; else it holds shares."""
    own_x: bool = False
    """Each panel has a horizontal axis of its own; else all have the same."""
    own_legend: bool = False
    """Each panel has a legend of its own, of lines that no other has; else one stands above all."""

    @property
    def panels(self) -> dict[str, list[Series]]:
        """The series by the title of their panel, in order; most figures are one panel without a title."""
        titles = dict.fromkeys(series.panel for series in self.series)
        return {title: [series for series in self.series if series.panel == title] for title in titles}

    @property
    def variants(self) -> list[str]:
        """The variants of its series, the one drawn through first."""
        return list(dict.fromkeys(series.variant for series in self.series))


def plot_csv(plot: Plot) -> str:
    """The figure's data: a row a point, replicates first, then the means over them; panels and counts where there are any."""
    panels = any(series.panel for series in plot.series)
    counts = any(line.counts is not None for series in plot.series for line in series.lines)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    head = ["panel"] * panels + ["series", "replicate", plot.column, "value", "two_se"] + ["count"] * counts
    writer.writerow(head)
    for series in plot.series:
        curves = [(str(line.replicate), line.x, line.y, line.two_se, line.counts) for line in series.lines]
        if series.band is not None:
            curves.append(("mean", series.band.x, series.band.mean, series.band.two_se, None))
        for replicate, x, y, two_se, count in curves:
            for i in np.flatnonzero(~np.isnan(y)):
                error = "" if two_se is None or np.isnan(two_se[i]) else f"{two_se[i]:.10g}"
                row = [series.panel] * panels + [series.name, replicate, f"{x[i]:.10g}", f"{y[i]:.10g}", error]
                writer.writerow(row + ["" if count is None else int(count[i])] * counts)
    return text.getvalue()
