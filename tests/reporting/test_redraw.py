"""A figure that is drawn again from its data is the figure, and the README's pictures are drawn from the tables beside them."""

from __future__ import annotations

import csv
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llome.errors import TableError
from llome.reporting.curves import Steps, average_steps
from llome.reporting.figures import draw
from llome.reporting.plots import Line, Plot, Series, plot_csv
from llome.reporting.redraw import main, read_plot


def steps(label: str, colour: int, panel: str, *curves: tuple[list[int], list[float]]) -> Series:
    lines = [Line(i, np.array(x, float), 1 - np.array(y)) for i, (x, y) in enumerate(curves)]
    if len(curves) == 1:
        return Series(label, colour, lines, None, panel=panel)
    mean = average_steps([Steps(np.array(x), np.array(y), x[-1]) for x, y in curves])
    return Series(label, colour, lines, replace(mean, mean=1 - mean.mean), panel=panel)


@pytest.mark.parametrize("panels", [[""], ["short", "long"]])
def test_a_figure_comes_back_from_its_data(panels: list[str], tmp_path: Path) -> None:
    slow, fast = ([1, 400, 30_000], [0.0, 0.25, 0.3125]), ([1, 12_000, 30_000], [0.0, 0.5, 1.0])
    series = [
        one
        for panel in panels
        for one in (
            steps("GA", 0, panel, slow, fast),
            steps("GA (paper)", -1, panel, slow),
            steps("LLOME sft40", 1, panel, fast, fast, slow),
        )
    ]
    plot = Plot("x", "", "", "counted oracle evaluations", "minimum regret", series, 1.0, steps=True, seeds_end=10_000)
    (tmp_path / "x.csv").write_text(plot_csv(plot))
    again = read_plot(tmp_path / "x.csv", 10_000)
    assert [(s.label, s.colour, s.panel, len(s.lines)) for s in again.series] == [
        (s.label, s.colour, s.panel, len(s.lines)) for s in series
    ]
    assert plot_csv(again) == plot_csv(plot)
    main(["10000", str(tmp_path / "x.csv")])
    assert (tmp_path / "x.svg").read_text() == draw(plot, paper="white")


def test_a_figure_whose_panels_have_legends_of_their_own_comes_back(tmp_path: Path) -> None:
    short, long = ([1, 400, 30_000], [0.0, 0.25, 0.3125]), ([1, 12_000, 30_000], [0.0, 0.5, 1.0])
    series = [steps("L = 32", 1, "L", short), steps("L = 64", 2, "L", long), steps("c = 2", 1, "c", long, short)]
    plot = Plot("x", "", "", "counted oracle evaluations", "minimum regret", series, 1.0, steps=True, own_legend=True)
    (tmp_path / "x.csv").write_text(plot_csv(plot))
    main(["0", str(tmp_path / "x.csv")])
    assert (tmp_path / "x.svg").read_text() == draw(plot, paper="white")


def test_another_table_is_refused(tmp_path: Path) -> None:
    (tmp_path / "growth.csv").write_text("path,seconds\noracle,1\n")
    with pytest.raises(TableError, match=r"growth.csv is no table of a regret figure; name fig2a.csv of a report"):
        main(["10000", str(tmp_path / "growth.csv")])


PAPER = ["main", "multistage", "reinforce", "rewards", "sensitivity", "difficulty"]


@pytest.mark.parametrize("name", ["demo", "published", "ablation", "ranking", *(f"paper/{name}" for name in PAPER)])
def test_the_pictures_in_docs_are_those_of_their_tables(name: str, root: Path, tmp_path: Path) -> None:
    table = root / "docs" / f"{name}.csv"
    (tmp_path / table.name).write_text(table.read_text())
    main(["0" if table.stem == "difficulty" else "10000", str(tmp_path / table.name)])
    assert (tmp_path / f"{table.stem}.svg").read_text() == table.with_suffix(".svg").read_text()


class Table:
    """What the lines of a regret figure end at, for the README's tables."""

    def __init__(self, path: Path) -> None:
        self.last = {
            (s.panel, s.label): [(float(line.x[line.y <= line.y[-1]][0]), 1 - float(line.y[-1])) for line in s.lines]
            for s in read_plot(path, 10_000).series
        }

    def median(self, panel: str, label: str) -> float:
        """Of the best scores."""
        return float(np.median([best for _, best in self.last[panel, label]]))

    def found(self, panel: str, label: str) -> str:
        """The ends of the rounds by which the optimum was found."""
        ends = self.last[panel, label]
        counts = sorted(500 * math.ceil(count / 500) for count, best in ends if best == 1)
        bounds = "-".join(f"{count:,}" for count in dict.fromkeys(counts[:1] + counts[-1:]))
        return f"{bounds}, in {len(counts)} of {len(ends)}" if counts else "not found"


def test_what_the_readme_says_that_a_ranking_costs(root: Path) -> None:
    with open(root / "docs/ranking_cost.csv", newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    likelihood, leon, shares = (np.array([row[name] for row in rows]) for name in ("likelihood", "leon", "share"))
    np.testing.assert_allclose(shares, 1 - likelihood / leon, atol=1e-3)
    error = 2 * shares.std(ddof=1) / len(shares) ** 0.5
    assert shares.mean() + error < 0.25
    said = " ".join((root / "README.md").read_text().split())
    assert f"LEON took {leon.mean():.1f} s where one by likelihood took {likelihood.mean():.1f}" in said
    assert f"{100 * shares.mean():.0f} % ± {100 * error:.0f} % of the round (twelve pairs" in said
    assert len(rows) == 12


def test_the_table_of_the_readme_is_that_of_the_published_functions(root: Path) -> None:
    table = Table(root / "docs/published.csv")
    assert {len(ends) for ends in table.last.values()} == {5}
    expected = []
    for panel in dict.fromkeys(panel for panel, _ in table.last):
        tuned = max(table.median(panel, label) for label in ("GA", "GA (tunedslow)", "GA (tunedslower)"))
        expected.append(
            f"| `ehr_{panel}` | {table.median(panel, 'LLOME sft40'):.3f} | {table.found(panel, 'LLOME sft40')}"
            f" | {table.median(panel, 'GA (paper)'):.3f} | {tuned:.3f} |"
        )
    lines = (root / "README.md").read_text().splitlines()
    assert [line for line in lines if line.startswith("| `ehr_")] == expected


def test_the_table_of_the_readme_is_that_of_the_ablation(root: Path) -> None:
    table = Table(root / "docs/ablation.csv")
    assert {len(ends) for ends in table.last.values()} == {3}
    rows = [line.split(" | ") for line in (root / "README.md").read_text().splitlines() if line.startswith("| with")]
    said = {row[0].split("`")[1]: row[1:] for row in rows}
    expected = {
        label: [f"{table.median(panel, label):.3f}", f"{table.found(panel, label)} |"]
        for panel, label in table.last
        if label != "GA"
    }
    assert said == expected


def test_the_table_of_the_readme_is_that_of_the_rankings(root: Path) -> None:
    """Means and two standard errors of the best scores; what the rankings recover, of the proposals that likelihood refined."""
    table = Table(root / "docs/ranking.csv")
    with open(root / "docs/ranking_chosen.csv", newline="") as file:
        shares = {(row["variant"], row["ranking"]): float(row["share"]) for row in csv.DictReader(file)}
    expected = []
    for panel in dict.fromkeys(panel for panel, _ in table.last):
        cells = []
        for label in ("GA", "likelihood", "surrogate", "leon"):
            best = np.array([score for _, score in table.last[panel, label]])
            assert len(best) == 3
            cells.append(f"{best.mean():.3f} ± {2 * best.std(ddof=1) / math.sqrt(3):.3f}")
        names = ("by likelihood", "by the surrogate", "by LEON")
        cells += [f"{shares[f'{panel}_likelihood', name]:.2f}" for name in names]
        expected.append(f"| `{panel}` | {' | '.join(cells)} |")
    assert [line for line in (root / "README.md").read_text().splitlines() if line.startswith("| `v")] == expected


def sections_of(page: str) -> dict[str, list[str]]:
    """The lines of a Markdown page by heading of second rank."""
    parts = page.split("\n## ")[1:]
    return {part.splitlines()[0]: part.splitlines()[1:] for part in parts}


def test_the_claims_on_the_papers_page_are_those_of_the_reports(root: Path) -> None:
    """Whole rows; every row of `main`, and those that are about an experiment's own figure of the others."""
    sections = sections_of((root / "docs/paper.md").read_text())
    about = {
        "multistage": ["Fig. 8a", "Fig. 8b"],
        "reinforce": ["Fig. 9"],
        "sensitivity": ["Fig. 7"],
        "difficulty": ["Fig. 10"],
    }
    for name in ("main", *about):
        with open(root / f"docs/paper/{name}_claims.csv", newline="") as file:
            claims = [row for row in csv.DictReader(file) if row["paper"] in about.get(name, [row["paper"]])]
        assert claims
        expected = [
            f"| {row['paper']} | {row['the paper says']} | {row['we see']} | {row['agrees']}"
            f"{': ' + row['because'] if row['agrees'] == 'undecided' else ''} |"
            for row in claims
        ]
        assert [line for line in sections[name] if line.startswith("| Fig.")] == expected


def test_the_best_scores_on_the_papers_page_are_those_of_the_curves(root: Path) -> None:
    """Means of the replicates, at the end of each method's curve."""
    rows = [line.split(" | ") for line in sections_of((root / "docs/paper.md").read_text())["main"]]
    said = {row[0]: row[1] for row in rows if len(row) == 8}
    last = Table(root / "docs/paper/main.csv").last
    assert len(last) == 4
    for (_, label), ends in last.items():
        named = next(
            text
            for text in said
            if f"`{label.removeprefix('LLOME ')}`" in text or (label == "GA" and "genetic" in text)
        )
        assert said[named] == f"{np.mean([best for _, best in ends]):.3f}"


def test_the_readme_counts_the_verdicts_of_the_main_experiment(root: Path) -> None:
    with open(root / "docs/paper/main_claims.csv", newline="") as file:
        count = Counter(row["agrees"] for row in csv.DictReader(file))
    said = f"agrees with {count['yes']}, disagrees with {count['no']} and leaves {count['undecided']} undecided"
    assert said in " ".join((root / "README.md").read_text().split())


def test_the_searches_on_the_papers_page_are_those_of_their_points(root: Path) -> None:
    rows = [line.strip("| ").split(" | ") for line in sections_of((root / "docs/paper.md").read_text())["tune"]]
    said = {row[0].lower(): row[1:] for row in rows if len(row) == 6 and row[1].isdigit()}
    symbols = {"optimizer.init_args.lr": "learning rate", "batch_size": "batch", "beta": "β", "lambda_": "λ"}
    for name in ("sft", "dpo", "marge"):
        with open(root / f"docs/paper/tune_{name}.csv", newline="") as file:
            points = list(csv.DictReader(file))
        fit = [point for point in points if point["eligible"] == "1"]
        best = min(fit, key=lambda point: float(point["val_loss"]))
        values = {key.removeprefix("model.init_args.").removeprefix("data."): value for key, value in best.items()}
        chosen = ", ".join(f"{symbol} {values[key]}" for key, symbol in symbols.items() if key in values)
        loss, perplexity = float(best["val_loss"]), float(best["perplexity"])
        assert said[name] == [str(len(points)), str(len(fit)), chosen, f"{loss:.3f}", f"{perplexity:.2f}"]
