"""Hyperparameter search (appendix A.4): writes the points of a grid, and chooses among them once each has been trained.

`llome grid` writes a point's values as an overlay, `llome train fit --config YAML --config POINT --export facts` trains it, and
`llome choose` writes the best point's values as such an overlay, with a table and a plot of all. No oracle is called: a point
is judged by its loss on held-out pairs and by whether its outputs are valid.
"""

from __future__ import annotations

from pathlib import Path

from llome import provenance


def write_point(*, grid: Path, train: Path, point: int, out: Path) -> None:
    """Write the values of one point of a grid as an overlay for `llome train fit --config`.

    Args:
        grid: The search's YAML (llome.search).
        train: The training YAML that it varies.
        point: The point's number, from 1.
        out: The YAML file to write.
    """
    import yaml

    from llome.errors import ConfigError
    from llome.search import overlay, read_grid

    points = read_grid(str(grid), str(train)).points()
    if not 1 <= point <= len(points):
        raise ConfigError(f"point is {point}, but {grid} has the points 1 to {len(points)}")
    with provenance.replacing(out) as file:
        file.write_text(f"# Point {point} of {grid}\n" + yaml.safe_dump(overlay(points[point - 1]), sort_keys=False))


def choose(*, grid: Path, points: list[Path], out: Path) -> None:
    """Choose the point with the lowest validation loss among those valid often enough, and print the table.

    Writes values.yaml (the overlay), points.csv and points.svg. Losses of different strengths (beta, lambda) are compared as they
    are, as in the paper, although a strength scales its loss.

    Args:
        grid: The search's YAML.
        points: The policy directory of each point, in the order of their numbers; their cards are read, nothing else.
        out: The folder to write to.
    """
    import yaml

    from llome.policy.causal_lm import load_card
    from llome.reporting.search import best_point, draw_search, read_points, search_csv, search_table
    from llome.search import overlay, read_grid

    settings = read_grid(str(grid))
    found = read_points(settings, [(str(path), load_card(path)) for path in points])
    with provenance.exclusive(out):
        texts = {"points.csv": search_csv(found, settings), "points.svg": draw_search(found, settings, paper="white")}
        for name, text in texts.items():
            with provenance.replacing(out / name) as file:
                file.write_text(text)
        best = best_point(found, settings)
        said = (
            f"point {best.number} of {len(found)} of {grid}: validation loss {best.loss:.6g},"
            f" {best.shares['valid']:.0%} of its outputs valid"
        )
        with provenance.replacing(out / "values.yaml") as file:
            file.write_text(f"# Chosen: {said}\n" + yaml.safe_dump(overlay(best.values), sort_keys=False))
    print("\n".join([search_table(found, settings), f"Chosen: {said}"]))
