"""Draws the report of an experiment from what its folder holds, finished or not, and prints its table; or compares its variants."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from llome import paths, provenance

if TYPE_CHECKING:
    from llome.reporting.plots import Plot


def report(*, experiment: Path, results: Path = Path("results")) -> None:
    """Write report/report.html in the folder of its results, its figures, their data and summary.txt beside it; print the summary.

    One that is drawn by hand keeps the time of the one that it replaces, or is dated before the run: what a run makes is judged by
    times, and a report of half a run must not pass for the whole one's.

    Args:
        experiment: The experiment's YAML. Of one with variants, the report compares them, in the folder of the experiment; the
            experiment.yaml in the folder of a variant gives that variant's own.
        results: The folder that holds the results of experiments.
    """
    from llome.settings import read_yaml

    settings = read_yaml(experiment)
    several = isinstance(settings, Mapping) and "variants" in settings
    (_compare_variants if several else _report_one)(experiment, results)


def _compare_variants(experiment: Path, results: Path) -> None:
    from llome.experiment import load_experiments
    from llome.reporting.comparison.page import compare, render
    from llome.reporting.comparison.summary import result_cells
    from llome.reporting.comparison.variants import read_variants
    from llome.reporting.table import plain_table

    experiments = list(load_experiments(experiment).values())
    name = experiments[0].name
    folder = paths.Layout(results, name).report
    variants, missing = read_variants(experiments, results)
    found = compare(variants, missing)
    page = render(name, found, Path(experiment).read_text(), str(experiment))
    said = [plain_table(result_cells(variants)), *(f"not run yet: {line}" for line in missing)]
    texts = {f"{table}.csv": text for table, text in found.tables().items()}
    _write(folder, found.plots, texts, page, said)


def _report_one(experiment: Path, results: Path) -> None:
    from llome.experiment import load_experiment
    from llome.policy.causal_lm import load_card
    from llome.reporting.analysis.plots import build_analysis_plots
    from llome.reporting.analysis.rankings import build_ranking_plots
    from llome.reporting.analysis.rounds import not_analysed, read_analyses
    from llome.reporting.best import best_lines
    from llome.reporting.claims import check_claims, claims_csv
    from llome.reporting.findings import build_rows, out_of_hours
    from llome.reporting.multistage import build_multistage_plots
    from llome.reporting.page import render
    from llome.reporting.progress import build_plots
    from llome.reporting.reading import read_run
    from llome.reporting.search import read_points
    from llome.reporting.table import format_rows, plain_table
    from llome.search import read_grid

    settings = load_experiment(experiment)
    layout = paths.Layout(results, settings.name, settings.variant)
    run = read_run(
        layout,
        settings.histories,
        settings.replicates,
        ends_with=settings.ends_with,
        rivals=list(settings.rivals),
        genetic=settings.genetic,
        carries_on=settings.carries_on,
    )
    files = [
        str(experiment),
        settings.oracle,
        *([settings.seed_file] if settings.genetic else []),
        settings.base,
        *settings.train.values(),
        *settings.values.values(),
        settings.refine,
        settings.filter,
        *settings.searches.values(),
        *settings.rivals.values(),
    ]
    texts = {file: Path(file).read_text() for file in dict.fromkeys(files) if file is not None}
    searches = {}
    for objective, grid_file in settings.searches.items():
        if (layout.search(objective) / "values.yaml").is_file():
            grid = read_grid(grid_file)
            cards = [(str(point), load_card(point)) for point in layout.search_points(objective, len(grid))]
            searches[objective] = (grid, read_points(grid, cards))
    analyses = read_analyses(run) if settings.analyze else {}
    unanalysed = not_analysed(run, analyses) if settings.analyze else []
    # what asks a surrogate is none of the paper's methods
    own = settings.judged <= {"analyze"} and settings.genetic
    claims = check_claims(run, analyses) if own else ([], [])
    stopped = out_of_hours(run, settings.hours)
    plots = build_plots(run) + build_multistage_plots(run)
    plots += build_ranking_plots(run, analyses) + build_analysis_plots(run, analyses)
    page = render(settings.run, run, plots, texts, searches, unanalysed, claims, stopped)
    said = [
        plain_table(format_rows(build_rows(run))),
        *(f"not run yet: {line}" for line in run.missing),
        *stopped,
        *(f"not analysed: {line}" for line in unanalysed),
        *best_lines(run),
    ]
    _write(layout.report, plots, {"claims.csv": claims_csv(claims[0])} if claims[0] else {}, page, said)


def _write(folder: Path, plots: Sequence[Plot], texts: Mapping[str, str], page: str, said: Sequence[str]) -> None:
    """Write the page, each figure with its data, the other `texts` by their names, and what is `said`; say it."""
    from llome.reporting.figures import draw
    from llome.reporting.plots import plot_csv

    out = folder / "report.html"
    words = "\n".join([*said, f"Report: {out}"])
    with provenance.exclusive(folder):
        for plot in plots:
            for suffix, text in (("csv", plot_csv(plot)), ("svg", draw(plot, paper="white"))):
                with provenance.replacing(folder / f"{plot.key}.{suffix}") as file:
                    file.write_text(text)
        for name, text in {**texts, out.name: page, "summary.txt": f"{words}\n"}.items():
            with provenance.replacing(folder / name) as file:
                file.write_text(text)
                if name == out.name and "LLOME_WORKFLOW_PID" not in os.environ:
                    made = _time_of(out)
                    os.utime(file, ns=(made, made))
    print(words)


def _time_of(out: Path) -> int:
    """Nanoseconds: when `out` was made, or a second before the first files of the run."""
    if out.exists():
        return out.stat().st_mtime_ns
    root = out.parent.parent
    first = [
        file
        for folder in ("", "*/")
        for name in ("oracle.json", "experiment.yaml")
        for file in root.glob(folder + name)
    ]
    return min((file.stat().st_mtime_ns for file in first), default=time.time_ns()) - 10**9
