"""Draws the report of an experiment from what its folder holds, finished or not, and prints its table."""

from __future__ import annotations

from pathlib import Path

from llome import paths, provenance


def report(*, experiment: Path, results: Path = Path("results")) -> None:
    """Write report/report.html in the folder of its results, its figures, their data and summary.txt beside it; print the summary.

    Args:
        experiment: The experiment's YAML; of one with variants, the experiment.yaml in the folder of one variant.
        results: The folder that holds the results of experiments.
    """
    from llome.experiment import load_experiment
    from llome.policy.causal_lm import load_card
    from llome.reporting.analysis.plots import build_analysis_plots
    from llome.reporting.analysis.rounds import not_analysed, read_analyses
    from llome.reporting.claims import check_claims
    from llome.reporting.figures import draw
    from llome.reporting.findings import build_rows
    from llome.reporting.multistage import build_multistage_plots
    from llome.reporting.page import render
    from llome.reporting.plots import plot_csv
    from llome.reporting.progress import build_plots
    from llome.reporting.reading import read_run
    from llome.reporting.search import read_points
    from llome.reporting.table import format_rows, plain_table
    from llome.search import read_grid

    settings = load_experiment(experiment)
    layout = paths.Layout(results, settings.name, settings.variant)
    run = read_run(
        layout, settings.histories, settings.replicates, ends_with=settings.ends_with, rivals=list(settings.rivals)
    )
    files = [
        str(experiment),
        settings.oracle,
        settings.seed,
        settings.base,
        *settings.train.values(),
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
    claims = check_claims(run, analyses)
    out = layout.report / "report.html"
    with provenance.exclusive(layout.report):
        plots = build_plots(run) + build_multistage_plots(run) + build_analysis_plots(run, analyses)
        for plot in plots:
            for suffix, text in (("csv", plot_csv(plot)), ("svg", draw(plot, paper="white"))):
                with provenance.replacing(layout.report / f"{plot.key}.{suffix}") as file:
                    file.write_text(text)
        with provenance.replacing(out) as file:
            file.write_text(render(settings.run, run, plots, texts, searches, unanalysed, claims))
    said = [
        plain_table(format_rows(build_rows(run))),
        *(f"not run yet: {line}" for line in run.missing),
        *(f"not analysed: {line}" for line in unanalysed),
        f"Report: {out}",
    ]
    with provenance.replacing(layout.report / "summary.txt") as file:
        file.write_text("\n".join(said) + "\n")
    print("\n".join(said))
