"""The report of a hand-made experiment (`report_fixtures`): every number below can be had with a pencil."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from report_fixtures import DOMAIN, Page, make_experiment, read_series  # noqa: F401

from llome import paths, provenance
from llome.cli import main
from llome.policy.causal_lm import PolicyCard, save_card


def test_table_and_where_the_report_is(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0
    lines = capsys.readouterr().out.splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    assert cells[0] == ["best", "GA's regret", "mean", "max"]
    assert cells[1] == [
        "score",
        "regret",
        "then",
        "counted",
        "distinct",
        "feasible",
        "unique",
        "reward",
        "reward",
        "seconds",
    ]
    # sft2: best .5 and .75; both at 12 counted (6 + 3 + 3), 10 distinct, 10 of 12 labels feasible, 2 + 10 + 2 x 31.5 seconds
    # the genetic algorithm at 12: .5 and .75; 10 and 20 of 40 unique
    # mean rewards (.125 + .375) / 2 and (.25 + .125) / 2, the highest .75 and .5
    assert cells[3] == [
        "LLOME sft2",
        "0.625",
        "0.375 +/- 0.250",
        "0.375 +/- 0.250",
        "12",
        "10",
        "83.3%",
        "37.5%",
        "0.219",
        "0.625",
        "75",
    ]
    # marge: replicate 0 .75 at 15 counted (the genetic algorithm has no 15th), replicate 1 found 1.0 and stopped at 12
    # 10, 20 and 30 of 40 unique, and 10 and 20; mean rewards (.125 + .25 + 0) / 3 and (.25 + .5) / 2, the highest .5 and 1
    assert cells[4] == [
        "LLOME sft1-marge2",
        "0.875",
        "0.125 +/- 0.250",
        "-",
        "14",
        "12",
        "83.3%",
        "43.8%",
        "0.250",
        "0.750",
        "91",
    ]
    # the generations after the seeds: .9 and .7 feasible, .25 and .5 unique; 2 + 3 and 2 + 4 seconds
    assert cells[5] == ["GA", "0.625", "0.375 +/- 0.250", "12", "6", "80.0%", "37.5%", "6"]
    assert max(len(line) for line in lines) <= 120
    assert lines[-1] == "Report: results/pencil/report/report.html"
    assert not any("not run yet" in line for line in lines)


def test_curves(experiment: Path) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert read_series("fig2a", "GA", "0") == [(1, 1.0), (2, 0.75), (8, 0.5), (12, 0.5)]
    assert read_series("fig2a_distinct", "GA", "0") == [(1, 1.0), (2, 0.75), (5, 0.5), (6, 0.5)]
    assert read_series("fig2a", "LLOME sft1-marge2", "1") == [(1, 0.75), (4, 0.5), (9, 0.25), (11, 0.0), (12, 0.0)]
    assert read_series("fig2a_distinct", "LLOME sft1-marge2", "1") == [
        (1, 0.75),
        (3, 0.5),
        (7, 0.25),
        (9, 0.0),
        (10, 0.0),
    ]
    # replicate 1 holds its optimum while replicate 0 goes on to 15
    mean = read_series("fig2a", "LLOME sft1-marge2", "mean")
    assert mean == [(1, 0.875), (2, 0.75), (4, 0.625), (8, 0.5), (9, 0.375), (10, 0.25), (11, 0.125), (15, 0.125)]
    assert read_series("fig2b", "LLOME sft2", "0") == [(9, 0.75), (12, 0.5)]
    assert read_series("fig2b", "GA", "mean") == [(3, 0.875), (6, 0.75), (9, 0.75), (12, 0.625)]
    assert read_series("fig3a", "LLOME sft2", "1") == [(9, 0.25), (12, 0.5)]
    assert read_series("fig3b", "LLOME sft2", "1") == [(9, 1.0), (12, 0.666667)]
    assert read_series("fig3b", "GA", "0") == [(3, 0.5), (6, 0.6), (9, 0.9), (12, 0.7)]
    assert read_series("fig11a", "LLOME sft2", "0") == [(9, 0.125), (12, 0.375)]
    assert read_series("fig11a", "LLOME sft2", "mean") == [(9, 0.1875), (12, 0.25)]
    assert read_series("fig11b", "LLOME sft1-marge2", "0") == [(9, 0.25), (12, 0.5), (15, 0.0)]
    assert read_series("fig11b", "LLOME sft1-marge2", "mean") == [(9, 0.375), (12, 0.75), (15, 0.0)]
    assert "GA," not in Path("results/pencil/report/fig11a.csv").read_text()


def test_page_is_one_file_with_everything(experiment: Path) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = Path("results/pencil/report/report.html")
    text = out.read_text()
    page = Page()
    page.feed(text)
    assert page.loads == []
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert page.figures == ["fig2a", "fig2a_distinct", "fig2b", "fig3a", "fig3b", "fig11a", "fig11b"]
    assert len(set(page.ids)) == len(page.ids)
    assert text.count("<svg ") == 7
    assert all(f"paper Fig. {n}" in text for n in ("2a", "2b", "3a", "3b", "11"))
    assert "LLOME sft1-marge2 has a best score of 0.875 (regret 0.125), in the mean of 2 replicates" in text
    assert "<td>0.375 ± 0.100</td><td>0.750</td><td>1</td>" in text  # rewards of r0 sft2
    assert "b: &lt;tag&gt;" in text
    assert DOMAIN.fingerprint in text
    assert "class=warning" not in text
    assert provenance.hash_file("results/pencil/r1/sft2/labeled.parquet") in text
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert out.read_text() == text


def test_what_made_the_rounds_stands_in_the_report(experiment: Path) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = Path("results/pencil/report/report.html")
    assert "lock file" not in out.read_text()
    known = {
        "dirty": False,
        "lock": "aa",
        "image": None,
        "system": "Linux x86_64",
        "cpu": "A",
        "cores": 8,
        "python": "3.11",
    }
    for history, stage, code in (
        ("sft1", "train", {"commit": "1" * 40}),
        ("sft1", "label", {"commit": "1" * 40, "dirty": True}),
    ):
        for gpu in (None, []):  # one maker: nobody looked, or there is none
            file = Path(f"results/pencil/r0/{history}/summary.json")
            summary = provenance.read_json(file)
            made = summary.get("made_by", {}) | {f"{stage}{gpu}": {**known, **code, "gpu": gpu}}
            provenance.write_json(file, summary | {"made_by": made})
    assert main(["report", "--experiment", str(experiment)]) == 0
    text = out.read_text()
    row = "<td>{}</td><td>aa</td><td>\u2013</td><td>3.11</td><td>Linux x86_64, A x 8</td><td>\u2013</td>"
    assert "<th scope=row>r0 sft1 trainNone, r0 sft1 train[]</th>" + row.format("1" * 12) in text
    assert "<th scope=row>r0 sft1 labelNone, r0 sft1 label[]</th>" + row.format("1" * 12 + " and changes") in text


def test_searches_stand_in_the_report_once_they_are_complete(experiment: Path) -> None:
    Path("marge.yaml").write_text("model: {init_args: {lambda_: 1.0}}\n")
    Path("grid.yaml").write_text("grid: {model.init_args.lambda_: [0.5, 2.0]}\n")
    experiment.write_text(experiment.read_text() + "tune: {marge: grid.yaml}\n")
    layout = paths.Layout("results", "pencil")
    for point, (strength, loss, valid) in zip(
        layout.search_points("marge", 2), [(0.5, -3.25, 0.25), (2.0, 1.125, 0.95)], strict=True
    ):
        facts = {"val_loss": loss, "perplexity": 1.5, "token_accuracy": 0.875, "parsed": 1.0, "valid": valid}
        save_card(
            point, PolicyCard("marge", DOMAIN, settings={"model": {"init_args": {"lambda_": strength}}}, facts=facts)
        )
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = Path("results/pencil/report/report.html")
    assert "Searched settings" not in out.read_text()  # nothing has been chosen yet
    (layout.search("marge") / "values.yaml").write_text("model: {init_args: {lambda_: 2.0}}\n")
    assert main(["report", "--experiment", str(experiment)]) == 0
    text = out.read_text()
    page = Page()
    page.feed(text)
    assert "search_marge" in page.ids
    assert len(set(page.ids)) == len(page.ids)
    assert "marge: 2 points of grid.yaml" in text
    rows = re.findall(r"<th scope=row>([12])</th>(<td>[^/]*</td><td>[^/]*</td>)", text)
    assert rows == [("1", "<td>0.5</td><td>-3.25</td>"), ("2", "<td>2</td><td>1.125</td>")]
    assert "<td>95%</td><td>\u2013</td><td>chosen</td>" in text
    assert "<td>25%</td><td>\u2013</td><td>not valid enough</td>" in text
    assert "grid: {model.init_args.lambda_: [0.5, 2.0]}" in text  # among the settings
