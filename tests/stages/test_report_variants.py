"""The comparison of variants, on copies of the hand-made experiment (`report_fixtures`): the sums are in the comments."""

from __future__ import annotations

import csv
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml
from report_fixtures import DOMAIN, Page, make_experiment, write_table  # noqa: F401

from llome import paths, provenance
from llome.cli import main

REPORT = Path("results/pencil/report")


@pytest.fixture
def variants(experiment: Path) -> Path:
    """The hand-made experiment twice: `plain` as it is, and `double`, whose optimum is 2, with a round less in replicate 0."""
    Path("results/pencil").rename("results/plain")
    Path("results/pencil").mkdir()
    Path("results/plain").rename("results/pencil/plain")
    shutil.copytree("results/pencil/plain", "results/pencil/double")
    provenance.write_json("results/pencil/double/oracle.json", {"optimum": 2.0, "fingerprint": DOMAIN.fingerprint})
    shutil.rmtree("results/pencil/double/r0/sft1-marge2")
    write_settings(experiment, {"plain": {}, "double": {"random_seed": 1}})
    return experiment


def write_settings(experiment: Path, variants: dict[str, Any], **changes: Any) -> None:
    experiment.write_text(
        yaml.safe_dump(yaml.safe_load(experiment.read_text()) | changes | {"variants": variants}, sort_keys=False)
    )


def compare(experiment: Path) -> str:
    assert main(["report", "--experiment", str(experiment)]) == 0
    return (REPORT / "report.html").read_text()


def read(name: str) -> list[dict[str, str]]:
    with open(REPORT / f"{name}.csv", newline="") as file:
        return list(csv.DictReader(file))


def points(
    name: str, panel: str | None, series: str, replicate: str, x: str = "evaluations"
) -> list[tuple[float, float]]:
    rows = [r for r in read(name) if (r.get("panel"), r["series"], r["replicate"]) == (panel, series, replicate)]
    return [(float(r[x]), round(float(r["value"]), 6)) for r in rows]


def test_a_row_a_variant_and_method(variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = compare(variants)
    lines = capsys.readouterr().out.splitlines()
    cells = [re.split(r"\s{2,}", line.strip()) for line in lines]
    rows = {row[0]: row[1:] for row in cells}
    assert rows["plain: LLOME sft2"] == ["2", "0.625", "0.625", "0.375", "0.375 +/- 0.250", "12", "83.3%", "37.5%"]
    assert rows["double: LLOME sft2"][3:5] == ["1.375", "1.375 +/- 0.250"]
    assert rows["double: LLOME sft1-marge2, 2 of 3 rounds"][:3] == ["2", "0.875", "0.875"]
    assert lines[-2:] == ["not run yet: double: r0: rounds sft1-marge2", f"Report: {REPORT}/report.html"]
    assert (REPORT / "summary.txt").read_text().splitlines() == lines
    assert max(map(len, lines)) <= 120
    found = {(r["variant"], r["method"]): r for r in read("results")}
    assert len(found) == 6
    marge = found["plain", "LLOME sft1-marge2"]
    assert [marge[k] for k in ("best_median", "best", "regret", "regret_two_se")] == ["0.875", "0.875", "0.125", "0.25"]
    assert "<th scope=row>plain: GA</th><td>2</td><td>0.625</td>" in page


def test_median_of_three(variants: Path) -> None:
    """A third replicate of the genetic algorithm alone: .5, .75 and 1."""
    write_settings(variants, {"plain": {}, "double": {}}, replicates=3)
    folder = Path("results/pencil/plain/r2")
    write_table(folder / "seed/labeled.parquet", [0.25], [0], 6, "ga")
    write_table(folder / "ga/labeled.parquet", [0.25, 1.0], [0, 7], 12, "ga")
    compare(variants)
    (row,) = (r for r in read("results") if (r["variant"], r["method"]) == ("plain", "GA"))
    assert (row["replicates"], row["best_median"], row["best"]) == ("3", "0.75", "0.75")


def test_page_links_the_reports_and_loads_nothing(variants: Path) -> None:
    text = compare(variants)
    page = Page()
    page.feed(text)
    assert page.loads == ["../plain/report/report.html", "../double/report/report.html"]
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert page.figures == ["regret", "fig7"]
    assert len(set(page.ids)) == len(page.ids)
    assert "Unfinished. Not run yet: double: r0: rounds sft1-marge2." in text
    assert compare(variants) == text


def test_regrets_have_a_panel_a_variant(variants: Path) -> None:
    compare(variants)
    assert list(dict.fromkeys(r["panel"] for r in read("regret"))) == ["plain", "double"]
    assert points("regret", "plain", "GA", "0") == [(1, 1.0), (2, 0.75), (8, 0.5), (12, 0.5)]
    assert points("regret", "double", "GA", "0") == [(1, 2.0), (2, 1.75), (8, 1.5), (12, 1.5)]


def test_ways_to_optimise_one_function_share_a_panel(variants: Path) -> None:
    """Functions are told apart by their files, ways by what their names do not share; the genetic algorithm stands there once."""
    names = ("l3_plain", "l3_double", "l4_plain", "l4_double")
    for name in names:
        shutil.copytree(f"results/pencil/{name[3:]}", f"results/pencil/{name}")
        shutil.copy("results/pencil/plain/oracle.json", f"results/pencil/{name}/oracle.json")
    shutil.copy("oracle.yaml", "other.yaml")
    write_settings(
        variants,
        {name: {"oracle": "other.yaml"} if name.startswith("l4") else {} for name in names},
        schedules=[[{"sft": 2}]],
    )
    text = compare(variants)
    series = dict.fromkeys((r["panel"], r["series"]) for r in read("regret"))
    assert list(series) == [(p, s) for p in ("l3", "l4") for s in ("GA", "plain", "double")]
    assert points("regret", "l4", "plain", "0") == points("regret", "l3", "double", "0")
    rows = [(r["variant"], r["method"]) for r in read("results")]
    assert rows == [
        (f"{f}_{w}", m)
        for f in ("l3", "l4")
        for w, m in (("plain", "LLOME sft2"), ("plain", "GA"), ("double", "LLOME sft2"))
    ]
    assert "a panel a function" in text
    assert "hypervolume" not in text
    hard = text.split("How hard they are")[1].split("</section>")[0]
    assert [hard.count(f">{name}<") for name in ("l3", "l4", "l3_plain", "l4_double")] == [1, 1, 0, 0]


def test_frontiers_and_hypervolumes_up_to_what_all_have_reached(variants: Path) -> None:
    text = compare(variants)
    # all replicates of both: GA 0.75 at 1 (r1 of plain), .5 at 4, .25 at 11
    assert points("fig7", None, "GA", "0") == [(1, 0.75), (4, 0.5), (11, 0.25), (12, 0.25)]
    assert points("fig7", None, "LLOME sft1-marge2", "0") == [(1, 0.75), (4, 0.5), (9, 0.25), (11, 0.0), (12, 0.0)]
    # up to 12, mean regret of GA: r0 (1 + 1 + 6 * .75 + 4 * .5) / 12, r1 (1 + 3 * .75 + 7 * .5 + 1 * .25) / 12: 8.5 and 7
    # of 2 the gains count half: r0 (12 + 8.5) / 24, r1 (12 + 7) / 24; errors |8.5 - 7| / 12 / 2 and half of that
    mean = (8.5 / 12 + 7 / 12 + 20.5 / 24 + 19 / 24) / 4
    error = 2 * ((1.5 / 24) ** 2 + (1.5 / 48) ** 2) ** 0.5 / 2
    assert f"<th scope=row>GA</th><td>{mean:.3f} ± {error:.3f}</td>" in text
    assert "Last budgets, in counted evaluations: plain 12; double 12." in text
    rows = {r["the paper says"]: r for r in read("claims") if not r["variant"]}
    # of 12, marge leaves 8 and 6.25, sft 8.5 and 6.5, the GA 8.5 and 7: gains of .5 and .75, of 0 and .5; of .5 and .25
    shares = "share not dominated, mean of the variants: "
    for paper, seen, agrees in (
        (
            "LLOME-MargE has a significantly lower average hypervolume than the GA",
            "LLOME sft1-marge2 0.695; GA 0.734",
            "yes",
        ),
        (
            "LLOME-SFT has a significantly lower average hypervolume than the GA",
            "LLOME sft2 0.719; GA 0.734",
            "undecided",
        ),
        ("LLOME-MargE is the most sample efficient", "LLOME sft1-marge2 0.695; LLOME sft2 0.719", "yes"),
    ):
        row = rows[paper]
        assert (row["paper"], row["we see"], row["agrees"]) == ("Fig. 7", shares + seen, agrees)


def test_the_claims_of_each_variant_side_by_side(variants: Path) -> None:
    text = compare(variants)
    assert "<th scope=col>plain</th><th scope=col>double</th>" in text
    claim = "LLOME-MargE reaches a lower minimum regret than LLOME-SFT"
    assert f"<td>{claim}</td><td>yes</td><td>yes</td>" in text
    seen = {r["variant"]: r["we see"] for r in read("claims") if r["the paper says"] == claim}
    assert seen == {
        "plain": "regret at 12 evaluations: LLOME sft1-marge2 0.125; LLOME sft2 0.375",
        "double": "regret at 12 evaluations: LLOME sft1-marge2 1.125; LLOME sft2 1.375",
    }
    shutil.rmtree("results/pencil/plain/r1")
    assert f"<td>{claim}</td><td>seen once, as the paper says</td><td>yes</td>" in compare(variants)


def test_what_evolved_on_a_surrogate_speaks_to_no_claim(variants: Path) -> None:
    Path("evolved.yaml").write_text("k: 3\nevolve: {generations: 1}\n")
    Path("surrogate.yaml").write_text("members: 2\n")
    write_settings(variants, {"plain": {}, "double": {"filter": "evolved.yaml", "surrogate": "surrogate.yaml"}})
    compare(variants)
    assert {r["variant"] for r in read("claims")} == {"plain"}


def test_a_variant_that_has_not_begun_is_told(variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results/pencil/double")
    text = compare(variants)
    assert "not run yet: double: everything" in capsys.readouterr().out
    assert "1 variant, each with a report of its own" in text
    shutil.rmtree("results/pencil/plain")
    assert main(["report", "--experiment", str(variants)]) == 2
    assert "none of results/pencil/plain, results/pencil/double holds labelled seeds" in capsys.readouterr().err


def test_methods_that_not_all_variants_have_are_in_no_average(variants: Path) -> None:
    write_settings(variants, {"plain": {"schedules": [[{"sft": 2}]]}, "double": {}})
    text = compare(variants)
    hypervolumes = text.split("Average hypervolume")[1]
    assert "<th scope=row>LLOME sft2</th>" in hypervolumes
    assert "<th scope=row>LLOME sft1-marge2</th>" not in hypervolumes
    # colours and names are those of the experiment as a whole
    assert {r["series"] for r in read("regret")} == {"GA", "LLOME sft2", "LLOME sft1-marge2"}


def test_an_unknown_optimum_shows_scores(variants: Path) -> None:
    provenance.write_json("results/pencil/double/oracle.json", {"optimum": None, "fingerprint": DOMAIN.fingerprint})
    text = compare(variants)
    assert points("regret", "plain", "GA", "0") == [(1, 0.0), (2, 0.25), (8, 0.5), (12, 0.5)]
    assert "Best score of every variant" in text
    # only the other one has a frontier
    assert "Last budgets, in counted evaluations: plain 12." in text


def test_a_variant_alone_is_still_reported_apart(variants: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shared = {k: v for k, v in yaml.safe_load(variants.read_text()).items() if k != "variants"}
    one = Path("results/pencil/plain/experiment.yaml")
    one.write_text(yaml.safe_dump(shared | {"variant": "plain"}))
    assert main(["report", "--experiment", str(one)]) == 0
    assert "Report: results/pencil/plain/report/report.html" in capsys.readouterr().out
    assert not REPORT.exists()
    assert (paths.Layout("results", "pencil", "plain").report / "fig2a.csv").exists()
