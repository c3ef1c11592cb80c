"""The figures of what the loop never labelled, from hand-made facts: two schedules, two replicates, one round not analysed."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
import yaml

from llome import paths, provenance
from llome.cli import main
from llome.domain import Domain
from llome.reporting.analysis.bins import DISTANCES, LIKELIHOODS
from llome.tables import Labeled, Meta

DOMAIN = Domain(5, 3, "0123456789abcdef")
SFT, MARGE = "LLOME sft2", "LLOME sft1-marge1"
LAYOUT = paths.Layout("results", "pencil")
REPORT = Path("results/pencil/report")
NOTHING = (None, None, None)
Bin = tuple[int, int, float, float | None]


def write_labels(path: Path, origin: str, spent: int, start: int) -> None:
    numbers = np.arange(start, start + 3)
    sequence = np.stack([numbers // 25, numbers // 5 % 5, numbers % 5], axis=1).astype(np.int16)
    number = np.full(3, 1 if origin == "ga" else paths.round_number(origin), dtype=np.int32)
    query, scores = np.arange(spent - 3, spent), np.array([0.25, 0.5, 0.0])
    Labeled(
        Meta(DOMAIN, spent=spent), sequence, scores, query, number, np.array([origin] * 3, dtype=object)
    ).write(path)  # fmt: skip


def columns(edges: np.ndarray, **bins: list[Bin]) -> dict[str, list[Any]]:
    """Bins given as (number, count, mean, error)."""
    found: dict[str, list[Any]] = {"low": edges[:, 0].tolist(), "high": edges[:, 1].tolist()}
    for name, rows in bins.items():
        found |= {"count": [0] * len(edges), name: [None] * len(edges), f"se_{name}": [None] * len(edges)}
        for number, count, mean, error in rows:
            found["count"][number], found[name][number], found[f"se_{name}"][number] = count, mean, error
    return found


def facts(
    written: list[float | None],
    passed_on: list[float | None],
    choice: tuple[float | None, float | None, float | None],
    distance: list[Bin],
    likelihood: list[Bin],
    rank_correlation: float | None,
) -> dict[str, Any]:
    best = zip(range(3), written, passed_on, strict=True)
    return {
        "fingerprint": DOMAIN.fingerprint,
        "iterations": [{"iteration": i, "best": a, "best_passed_on": b} for i, a, b in best],
        "selection": {f"best_{name}": v for name, v in zip(("selected", "oracle", "random"), choice, strict=True)},
        "distance": columns(DISTANCES, feasible=distance),
        "likelihood": columns(LIKELIHOODS, score=likelihood, reward=[(i, n, m / 2, e) for i, n, m, e in likelihood]),
        "rank_correlation": rank_correlation,
    }


# share .75 of 4 has the error sqrt(.1875 / 3) = .25; of .25 and .75 the error is .25
FACTS = {
    (0, "sft1"): facts([0.25, 0.5, 0.5], [0.25, 0.25, None], (0.5, 0.75, 0.625), [(0, 4, 0.75, 0.25)], [(9, 2, 0.5, 0.25)], 0.5),
    (1, "sft1"): facts([0.5, 0.5, 0.75], [0.5, 0.25, None], (0.75, 0.75, 0.5), [(0, 4, 0.25, 0.25)], [(9, 1, 0.25, None)], 0.25),
    (0, "sft2"): facts([0.5, 0.75, 0.5], [0.5, 0.75, None], NOTHING, [(0, 4, 1.0, 0.0), (5, 1, 0.0, None)], [(2, 1, 1.0, None)], None),
    (1, "sft2"): facts([0.5, 0.5, 1.0], [0.5, 0.5, None], (0.5, 1.0, 0.75), [(5, 3, 1.0, 0.0)], [(9, 1, 0.75, None)], 0.75),
    (0, "sft1-marge1"): facts([0.5, None, 0.25], [0.5, 0.5, None], (0.0, 1.0, 0.5), [], [], None),
}  # fmt: skip


@pytest.fixture
def experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Seeds of 6 calls, rounds of 3 labels and no genetic algorithm; only sft1-marge1 of replicate 1 has no facts."""
    monkeypatch.chdir(tmp_path)
    settings = {name: f"{name}.yaml" for name in ("oracle", "seed", "base", "refine", "filter")}
    texts = {"oracle": "name: ehrlich", "seed": "rounds: 2\npopulation: 3", "filter": "k: 3"}
    for name in (*settings, "sft", "marge"):
        Path(f"{name}.yaml").write_text(f"{texts.get(name, '')}\n")
    settings |= {"name": "pencil", "train": {"sft": "sft.yaml", "marge": "marge.yaml"}, "replicates": 2}
    settings |= {"schedules": [[{"sft": 2}], [{"sft": 1}, {"marge": 1}]], "analyze": True}
    Path("pencil.yaml").write_text(yaml.safe_dump(settings))
    provenance.write_json(LAYOUT.oracle, {"optimum": 1.0, "fingerprint": DOMAIN.fingerprint})
    for rep in (0, 1):
        write_labels(LAYOUT.round(rep, "seed") / "labeled.parquet", "ga", 6, 0)
        for history, spent in (("sft1", 9), ("sft2", 12), ("sft1-marge1", 12)):
            write_labels(LAYOUT.round(rep, history) / "labeled.parquet", history, spent, spent)
    for (rep, history), found in FACTS.items():
        provenance.write_json(LAYOUT.analysis(rep, history) / "facts.json", found)
    return tmp_path / "pencil.yaml"


def rewrite(experiment: Path, **changes: Any) -> None:
    experiment.write_text(yaml.safe_dump(yaml.safe_load(experiment.read_text()) | changes))


def draw(experiment: Path) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0


def read(figure: str, column: str, series: str, replicate: object, panel: str | None = None) -> list[tuple[float, ...]]:
    """Place, value and, where they are told, two standard errors and the count of each point."""
    with open(REPORT / f"{figure}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert set(rows[0]) <= {"panel", "series", "replicate", column, "value", "two_se", "count"}
    ours = [r for r in rows if (r["series"], r["replicate"], r.get("panel")) == (series, str(replicate), panel)]
    told = [[r[column], r["value"], r["two_se"], r.get("count", "")] for r in ours]
    return [tuple(round(float(number), 6) for number in row if number) for row in told]


def test_minimum_regret_by_iteration_has_a_panel_a_round(experiment: Path) -> None:
    draw(experiment)
    first, second = "round 1, after 6", "round 2, after 9"
    assert read("fig4", "iteration", f"{SFT}, all it wrote", 0, first) == [(0, 0.75), (1, 0.5), (2, 0.5)]
    assert read("fig4", "iteration", f"{SFT}, passed on", 0, first) == [(0, 0.75), (1, 0.75)]
    # regrets .75 and .5, .5 and .5, .5 and .25
    mean = [(0, 0.625, 0.25), (1, 0.5, 0.0), (2, 0.375, 0.25)]
    assert read("fig4", "iteration", f"{SFT}, all it wrote", "mean", first) == mean
    assert read("fig4", "iteration", f"{MARGE}, all it wrote", "mean", first) == mean  # they share the round
    assert read("fig4", "iteration", f"{MARGE}, all it wrote", 0, second) == [(0, 0.5), (2, 0.75)]
    assert read("fig4", "iteration", f"{MARGE}, all it wrote", "mean", second) == []
    svg = (REPORT / "fig4.svg").read_text()
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    assert {first, second, SFT, MARGE, "all it wrote", "passed on", "minimum regret"} <= set(texts)
    assert (texts.count(SFT), texts.count("passed on")) == (1, 1)
    names = re.findall(r' id="([^"]+)"', svg)
    assert len(set(names)) == len(names)


def test_candidates_against_the_oracles_choice_and_a_random_one(experiment: Path) -> None:
    draw(experiment)
    found = {
        v: read("fig5", "evaluations", f"{SFT}, {v}", 1, SFT) for v in ("by likelihood", "by the oracle", "at random")
    }
    assert found == {
        "by likelihood": [(9, 0.25), (12, 0.5)],
        "by the oracle": [(9, 0.25), (12, 0.0)],
        "at random": [(9, 0.5), (12, 0.25)],
    }
    assert read("fig5", "evaluations", f"{SFT}, by likelihood", 0, SFT) == [
        (9, 0.5)
    ]  # nothing was selected in its second
    assert read("fig5", "evaluations", f"{SFT}, by likelihood", "mean", SFT) == [(9, 0.375, 0.25), (12, 0.5)]
    assert read("fig5", "evaluations", f"{MARGE}, at random", 0, MARGE) == [(9, 0.375), (12, 0.5)]


def test_bins_are_pooled_over_the_rounds_of_a_chain(experiment: Path) -> None:
    draw(experiment)
    # replicate 0: seven of eight copies feasible, sqrt(7/64 / 7) = 1/8; nothing of one in (.2, .25]
    assert read("fig12", "distance", SFT, 0) == [(0, 0.875, 0.25, 8), (0.225, 0, 1)]
    assert read("fig12", "distance", SFT, 1) == [(0, 0.25, 0.5, 4), (0.225, 1, 0, 3)]
    # means of .875 and .25, and of 0 and 1
    assert read("fig12", "distance", SFT, "mean") == [(0, 0.5625, 0.625), (0.225, 0.5, 1)]
    assert read("fig6a", "likelihood", SFT, 0) == [(0.25, 0, 1), (0.95, 0.5, 0.5, 2)]
    # scores .25 and .75 together: mean .5, error .25
    assert read("fig6a", "likelihood", SFT, 1) == [(0.95, 0.5, 0.5, 2)]
    assert read("fig6a", "likelihood", SFT, "mean") == [(0.25, 0), (0.95, 0.5, 0)]
    # the same, halved by hand: rewards .5, .25 with error .25; .125 and .375
    assert read("fig6b", "likelihood", SFT, 0) == [(0.25, 0.5, 1), (0.95, 0.25, 0.5, 2)]
    assert read("fig6b", "likelihood", SFT, 1) == [(0.95, 0.25, 0.25, 2)]
    text = (REPORT / "report.html").read_text()
    assert f"mean of the rounds: {SFT} 0.50, {MARGE} 0.38." in text  # of .5, .25 and .75; of .5 and .25


def test_the_page_shows_them_and_says_what_was_not_analysed(
    experiment: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw(experiment)
    text = (REPORT / "report.html").read_text()
    figures = re.findall(r'<figure id="(\w+)"', text)
    assert figures[-5:] == ["fig12", "fig6a", "fig6b", "fig5", "fig4"]
    assert all(f"(paper {name})" in text for name in ("Figs. 4 and 13", "Fig. 5", "Fig. 6a", "Fig. 6b", "Fig. 12"))
    assert "Not analysed, so left out of figures 4, 5, 6 and 12: r1: sft1-marge1." in text
    assert "not analysed: r1: sft1-marge1\n" in capsys.readouterr().out
    for figure in figures[-5:]:
        ElementTree.parse(REPORT / f"{figure}.svg")
        assert "inf" not in (REPORT / f"{figure}.csv").read_text().replace("feasible", "")
        assert "nan" not in (REPORT / f"{figure}.csv").read_text()
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(set(ids)) == len(ids)
    draw(experiment)
    assert (REPORT / "report.html").read_text() == text


def test_one_replicate_has_the_errors_within_its_rounds(experiment: Path) -> None:
    rewrite(experiment, replicates=1, schedules=[[{"sft": 2}]])
    draw(experiment)
    assert read("fig12", "distance", SFT, 0) == [(0, 0.875, 0.25, 8), (0.225, 0, 1)]
    assert read("fig5", "evaluations", f"{SFT}, by likelihood", 0) == [(9, 0.5)]  # one schedule needs no panels
    assert ",mean," not in "".join((REPORT / f"{name}.csv").read_text() for name in ("fig12", "fig4", "fig5", "fig6a"))
    text = (REPORT / "report.html").read_text()
    assert "Bands: two standard errors (95 %), as if proposals were independent." in text
    assert "Not analysed" not in text


def test_an_unknown_optimum_shows_scores(experiment: Path) -> None:
    provenance.write_json(LAYOUT.oracle, {"optimum": None, "fingerprint": DOMAIN.fingerprint})
    draw(experiment)
    assert read("fig6a", "likelihood", SFT, 0) == [(0.25, 1, 1), (0.95, 0.5, 0.5, 2)]
    assert read("fig5", "evaluations", f"{SFT}, by the oracle", 1, SFT) == [(9, 0.75), (12, 1)]
    assert "Best score of the selected candidates (paper Fig. 5)" in (REPORT / "report.html").read_text()


def test_without_the_key_facts_change_nothing(experiment: Path) -> None:
    rewrite(experiment, analyze=False)
    draw(experiment)
    text = (REPORT / "report.html").read_text()
    assert "fig12" not in text
    assert "analysed" not in text
    for path in Path("results").rglob("facts.json"):
        path.unlink()
    draw(experiment)
    assert (REPORT / "report.html").read_text() == text


def test_nothing_analysed_yet(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("results").rglob("facts.json"):
        path.unlink()
    draw(experiment)
    out = capsys.readouterr().out
    assert "not analysed: r0: sft1, sft2, sft1-marge1\nnot analysed: r1: sft1, sft2, sft1-marge1\n" in out
    assert not (REPORT / "fig4.svg").exists()


def test_facts_of_another_oracle_are_refused(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = LAYOUT.analysis(0, "sft2") / "facts.json"
    provenance.write_json(path, FACTS[0, "sft2"] | {"fingerprint": "ffff"})
    assert main(["report", "--experiment", str(experiment)]) == 2
    assert f"{path} was made with oracle ffff" in capsys.readouterr().err


def test_a_comparison_says_what_rankings_would_have_chosen(experiment: Path) -> None:
    """Chance .2, the oracle .6; likelihood .3 and the surrogate .5 in each round."""
    for (rep, history), found in FACTS.items():
        ranked = {
            name: {"best": mean, "mean": mean, "feasible": 1.0, "rank_correlation": 0.5, "tenths": [mean] * 10}
            for name, mean in (("likelihood", 0.3), ("surrogate", 0.5), ("leon", 0.6))
        }
        chosen = found["selection"] | {"mean_oracle": 0.6, "mean_random": 0.2}
        provenance.write_json(
            LAYOUT.analysis(rep, history) / "facts.json", found | {"rankings": ranked, "selection": chosen}
        )
    Path("results/pencil").rename("results/only")
    Path("results/pencil").mkdir()
    Path("results/only").rename("results/pencil/only")
    rewrite(experiment, variants={"only": {}})
    draw(experiment)
    with open(REPORT / "rankings.csv", newline="") as file:
        rows = {row["ranking"]: row for row in csv.DictReader(file)}
    shares = {name: round(float(row["share"]), 6) for name, row in rows.items()}
    assert shares == {
        "by likelihood": 0.25,
        "by the surrogate": 0.75,
        "by LEON": 1.0,
        "by the oracle": 1.0,
        "at random": 0.0,
    }
    text = (REPORT / "report.html").read_text()
    assert "What each ranking would have chosen" in text
    assert "0.750 ± 0.000 (rank correlation 0.50)" in text
