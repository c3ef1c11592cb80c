"""Draws regret figures again from their data alone: the README's pictures, from the small tables that are kept beside them.

    python -m llome.reporting.redraw 10000 docs/demo.csv docs/published.csv

The tables are those that a report writes beside its figures (fig2a.csv, or regret.csv and fig10.csv of a comparison); each gives the SVG of
its name. The number is where the seeds end, in counted evaluations; 0 where no line marks it.
"""

from __future__ import annotations

import csv
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from llome.errors import TableError
from llome.provenance import replacing
from llome.reporting.curves import Band
from llome.reporting.figures import draw
from llome.reporting.findings import GENETIC
from llome.reporting.plots import Line, Plot, Series

_COLUMNS = {"series", "replicate", "evaluations", "value", "two_se"}


def read_plot(path: Path, seeds_end: float | None) -> Plot:
    """The figure of minimum regrets whose data `path` holds. Raises TableError where it holds something else."""
    with open(path, newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows or not rows[0].keys() >= _COLUMNS:
        raise TableError(
            f"{path} is no table of a regret figure; name fig2a.csv of a report, or regret.csv or fig10.csv of a comparison"
        )
    names = list(dict.fromkeys(row["series"] for row in rows))
    rivals = [name for name in names if name.startswith(f"{GENETIC} ")]
    pairs = list(dict.fromkeys((row.get("panel", ""), row["series"]) for row in rows))
    own_legend = len({panel for panel, _ in pairs}) > 1 and len(pairs) == len(names)  # no name is in two panels
    colours = {GENETIC: 0, **{name: -i for i, name in enumerate(rivals, start=1)}}
    policies: Counter[str] = Counter()
    for panel, name in pairs:
        if name not in colours:
            policies[panel * own_legend] += 1
            colours[name] = policies[panel * own_legend]
    curves: dict[tuple[str, str], dict[str, list[tuple[float, float, float]]]] = {}
    for row in rows:
        points = curves.setdefault((row.get("panel", ""), row["series"]), {}).setdefault(row["replicate"], [])
        points.append((float(row["evaluations"]), float(row["value"]), float(row["two_se"] or "nan")))
    series = []
    for (panel, name), replicates in curves.items():
        mean = np.array(replicates.pop("mean", [])).reshape(-1, 3).T
        lines = [Line(int(number), *np.array(points).T[:2]) for number, points in replicates.items()]
        band = Band(*mean) if mean.size else None
        series.append(Series(name, colours[name], lines, band, panel=panel))
    return Plot(
        key=path.stem,
        title="",
        caption="",
        xlabel="counted oracle evaluations",
        ylabel="minimum regret",
        series=series,
        top=1.0,
        steps=True,
        seeds_end=seeds_end,
        own_legend=own_legend,
    )


def main(arguments: Sequence[str]) -> None:
    """Draw the SVG of each table, beside it."""
    seeds_end, *tables = arguments
    for path in map(Path, tables):
        with replacing(path.with_suffix(".svg")) as file:
            file.write_text(draw(read_plot(path, float(seeds_end) or None), paper="white"))


if __name__ == "__main__":
    main(sys.argv[1:])
