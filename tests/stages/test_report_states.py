"""Reports of runs that are half finished, have variants or rivals, ended early or were made by other versions."""

from __future__ import annotations

import csv
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from report_fixtures import DOMAIN, Page, benchmark, generation, make_experiment, read_series, write_table  # noqa: F401

from llome import provenance
from llome.cli import main
from llome.stages.report import report
from llome.tables import Labeled

REWARD_KEYS = ("reward_mean", "se_reward", "reward_max", "improved")


def read_errors(figure: str) -> list[float]:
    with open(f"results/pencil/report/{figure}.csv", newline="") as file:
        return [float(r["two_se"]) for r in csv.DictReader(file) if r["series"] == "LLOME sft2"]


def test_a_variant_is_reported_in_its_own_folder(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0
    alone = capsys.readouterr().out
    Path("results/pencil").rename("results/hard")
    Path("results/pencil").mkdir()
    Path("results/hard").rename("results/pencil/hard")
    shutil.rmtree("results/pencil/hard/report")
    settings = yaml.safe_load(experiment.read_text())
    experiment.write_text(yaml.safe_dump(settings | {"variant": "hard"}))
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert capsys.readouterr().out == alone.replace("results/pencil/", "results/pencil/hard/")
    assert "<h1>LLOME: pencil/hard</h1>" in Path("results/pencil/hard/report/report.html").read_text()


def test_rivals_stand_beside_the_genetic_algorithm(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    experiment.write_text(experiment.read_text() + "rivals: {tuned: seed.yaml, other: seed.yaml}\n")
    facts = [generation(1, 1.0, 1.0, 0.5), generation(2, 0.5, 0.25, 0.5), generation(4, 0.25, 0.75, 0.25)]
    for rep, scores in ((0, [0.25, 0.75]), (1, [0.5, 0.75])):
        folder = Path(f"results/pencil/r{rep}/ga-tuned")
        write_table(folder / "labeled.parquet", scores, [2, 6 + rep], 12, "ga", rounds=facts)
        benchmark(folder / "benchmarks/seed.tsv", 4.0)
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = capsys.readouterr().out
    # after the seeds' 6 there is one generation: .25 feasible, .75 unique
    assert re.search(r"\nGA +0.625 .*\nGA \(tuned\) +0.750 +0.250 \+/- 0.000 +12 +2 +25.0% +75.0% +4\n", out)
    assert "not run yet: r0, r1: GA (other)" in out
    assert "tuned" not in out.split("GA (tuned)")[1]
    assert read_series("fig2a", "GA (tuned)", "0") == [(3, 0.75), (7, 0.25), (12, 0.25)]
    assert read_series("fig2a_distinct", "GA (tuned)", "1") == [(1, 0.5), (2, 0.25)]
    assert read_series("fig2a", "GA (tuned)", "mean") == [(3, 0.625), (7, 0.375), (8, 0.25), (12, 0.25)]
    assert read_series("fig2b", "GA (tuned)", "0") == [(3, 0.5), (6, 0.5), (12, 0.75)]
    assert read_series("fig3a", "GA (tuned)", "0") == [(3, 1.0), (6, 0.25), (12, 0.75)]
    assert read_series("fig3b", "GA (tuned)", "mean") == [(3, 1.0), (6, 0.5), (12, 0.25)]
    assert "GA (tuned)" not in Path("results/pencil/report/fig11a.csv").read_text()
    text = Path("results/pencil/report/report.html").read_text()
    assert provenance.hash_file("results/pencil/r1/ga-tuned/labeled.parquet") in text
    assert "GA (tuned), GA (other): genetic algorithms with other settings, from scratch" in text
    svg = Path("results/pencil/report/fig2a.svg").read_text()
    assert [t for t in re.findall(r">([^<>\n]+)</text>", svg) if t.startswith(("GA", "LLOME"))] == [
        "GA", "LLOME sft2", "GA (tuned)", "LLOME sft1-marge2"
    ]  # fmt: skip


def test_the_headline_names_the_rivals_where_they_have_come_as_far(experiment: Path) -> None:
    shutil.rmtree("results/pencil/r0/sft1-marge2")
    experiment.write_text(experiment.read_text() + "rivals: {tuned: seed.yaml}\n")
    for rep in (0, 1):
        write_table(Path(f"results/pencil/r{rep}/ga-tuned/labeled.parquet"), [0.5, 0.75], [2, 6], 12, "ga")
    assert main(["report", "--experiment", str(experiment)]) == 0
    text = Path("results/pencil/report/report.html").read_text()
    assert (
        "LLOME is ahead by 0.250. Of the other genetic algorithms, GA (tuned) has 0.750 (regret 0.250) at that count."
        in text
    )


def test_the_genetic_algorithm_alone(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(experiment.read_text())
    kept = {key: settings[key] for key in ("name", "oracle", "seed", "replicates")}
    experiment.write_text(yaml.safe_dump(kept | {"schedules": [], "baseline": 12}))
    for folder in Path("results/pencil").glob("r*/*"):
        if folder.name not in ("seed", "ga"):
            shutil.rmtree(folder)
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"GA +0.625 +0.375 \+/- 0.250 +12 ", out)
    assert "LLOME" not in out
    assert "not run yet" not in out
    page = Page()
    page.feed(Path("results/pencil/report/report.html").read_text())
    assert page.figures == ["fig2a", "fig2a_distinct", "fig2b", "fig3a", "fig3b"]
    assert read_series("fig2a", "GA", "0") == [(1, 1.0), (2, 0.75), (8, 0.5), (12, 0.5)]


def test_better_than_the_genetic_algorithm_at_equal_counts(experiment: Path) -> None:
    shutil.rmtree("results/pencil/r0/sft1-marge2")
    assert main(["report", "--experiment", str(experiment)]) == 0
    text = Path("results/pencil/report/report.html").read_text()
    assert (
        "after 12 counted evaluations; at the same count the genetic algorithm has 0.625 (regret 0.375): LLOME is ahead by 0.250."
        in text
    )
    assert "It found the optimum in 1 of 2." in text
    assert "passed the genetic algorithm&#x27;s last best score (0.625 after 12) at evaluation 10." in text
    assert "It took 75 s, the genetic algorithm 6 s." in text


def test_half_finished(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for gone in ("r0/ga", "r1/ga", "r0/sft2", "r0/sft1-marge1", "r0/sft1-marge2", "r1/sft2/summary.json"):
        target = Path("results/pencil") / gone
        target.unlink() if target.is_file() else shutil.rmtree(target)
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = capsys.readouterr().out
    assert "not run yet: r0: rounds sft2, sft1-marge1, sft1-marge2" in out
    assert "not run yet: r0, r1: the genetic algorithm carried on" in out
    assert "not run yet: r1: summary.json of sft2" in out
    # replicate 1 has labels of sft2 and no summary of it, so nobody knows its unique share, rewards and seconds
    assert re.search(r"LLOME sft2, 1 to 2 of 2 rounds .* 75.0% +- +- +- +-\n", out)
    assert re.search(r"GA \(seeds only\) .* 55.0% +75.0% ", out)
    text = Path("results/pencil/report/report.html").read_text()
    assert "Unfinished. Not run yet: r0: rounds sft2" in text
    # the mean ends with replicate 0, at 9
    assert read_series("fig2a", "LLOME sft2", "mean")[-1] == (9, 0.375)


@pytest.mark.parametrize("rounds", [(), ("sft1",)])
def test_only_just_begun(experiment: Path, rounds: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results/pencil/r1")
    for folder in Path("results/pencil/r0").iterdir():
        if folder.name not in ("seed", *rounds):
            shutil.rmtree(folder)
    shutil.rmtree("results/pencil/r0/seed/benchmarks")
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert "not run yet: r1: everything from the seeds on" in capsys.readouterr().out
    text = Path("results/pencil/report/report.html").read_text()
    expected = (
        "the genetic algorithm has not been run as far yet (it has 0.250 (regret 0.750) after 6)"
        if rounds
        else "No round of LLOME has been"
    )
    assert expected in text


def test_nothing_to_report(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results")
    assert main(["report", "--experiment", str(experiment)]) == 2
    assert "results/pencil holds no labelled seeds" in capsys.readouterr().err
    assert not Path("results").exists()


def test_a_chain_that_spent_its_budget_is_no_fault(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(experiment.read_text()) | {"budget": 12}
    experiment.write_text(yaml.safe_dump(settings))
    shutil.rmtree("results/pencil/r0/sft1-marge2")
    assert main(["report", "--experiment", str(experiment)]) == 0
    out = capsys.readouterr().out
    assert "not run yet" not in out
    assert " of 3 rounds" not in out


def test_chains_that_used_up_their_hours_are_told(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = yaml.safe_load(experiment.read_text())
    # seeds 2 s, base 10 s, a round 31.5 s: 72 s end r0's second of three rounds; sft2 is complete then, and marge1 of r1 the optimum
    experiment.write_text(yaml.safe_dump(settings | {"hours": 0.02}))
    assert main(["report", "--experiment", str(experiment)]) == 0
    lines = capsys.readouterr().out.splitlines()
    told = "sft1-marge2 r0: stopped after 2 of 3 rounds: 0.021 of 0.02 hours used"
    assert [line for line in lines if "hours" in line] == [told]
    assert not any("not run yet" in line for line in lines)
    assert f"Unfinished. {told}." in Path("results/pencil/report/report.html").read_text()
    assert read_series("fig2a", "LLOME sft1-marge2", "0")[-1] == (12, 0.25)
    # a base policy of 100 s in r1: after its first round 133.5 s of 108
    experiment.write_text(yaml.safe_dump(settings | {"hours": 0.03}))
    benchmark(Path("results/pencil/r1/base/benchmarks/base.tsv"), 100.0)
    assert main(["report", "--experiment", str(experiment)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if "hours" in line] == [
        "sft2 r1: stopped after 1 of 2 rounds: 0.037 of 0.03 hours used",
        "sft1-marge2 r1: stopped after 1 of 3 rounds: 0.037 of 0.03 hours used",
    ]
    assert read_series("fig2a", "LLOME sft2", "mean")[-1] == (9, 0.375)
    text = Path("results/pencil/report/report.html").read_text()
    assert "The mean of a best score ends with the shortest of them." in text


def test_mean_reward_weighs_every_label_the_same(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("results/pencil/r1")
    write_table(Path("results/pencil/r0/sft2/labeled.parquet"), [0.5], [9], 12, "sft2", start=26)
    assert main(["report", "--experiment", str(experiment)]) == 0
    # three labels of .125 and one of .375
    assert re.search(r"LLOME sft2 .* 0.188 +0.750 +75\n", capsys.readouterr().out)
    assert read_errors("fig11a") == [0.1, 0.1]


def test_summaries_made_before_there_were_rewards(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in Path("results/pencil").glob("r*/*/summary.json"):
        old = {key: value for key, value in provenance.read_json(path).items() if key not in REWARD_KEYS}
        provenance.write_json(path, old)
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert re.search(r"LLOME sft2 .* 37.5% +- +- +75\n", capsys.readouterr().out)
    text = Path("results/pencil/report/report.html").read_text()
    assert "(paper Fig. 11)" not in text
    assert "<td>\u2013</td><td>\u2013</td><td>\u2013</td><td>0.125</td>" in text
    assert not Path("results/pencil/report/fig11a.csv").exists()


def test_a_report_by_hand_does_not_pass_for_that_of_a_run(experiment: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, oracle = Path("results/pencil/report/report.html"), Path("results/pencil/oracle.json")
    monkeypatch.delenv("LLOME_WORKFLOW_PID", raising=False)
    report(experiment=experiment)
    assert out.stat().st_mtime_ns == oracle.stat().st_mtime_ns - 10**9
    monkeypatch.setenv("LLOME_WORKFLOW_PID", "1")
    report(experiment=experiment)
    made = out.stat().st_mtime_ns
    assert made > oracle.stat().st_mtime_ns
    monkeypatch.delenv("LLOME_WORKFLOW_PID")
    text = out.read_text()
    out.write_text("")
    os.utime(out, ns=(made, made))
    report(experiment=experiment)
    assert (out.read_text(), out.stat().st_mtime_ns) == (text, made)


def test_mixed_versions_are_told(experiment: Path) -> None:
    path = Path("results/pencil/r1/sft2/summary.json")
    provenance.write_json(path, provenance.read_json(path) | {"versions": {"llome": "0.1.0", "torch": "2.1"}})
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert "Mixed versions: torch 2.0 and 2.1." in Path("results/pencil/report/report.html").read_text()


def test_a_program_that_changed_in_between_is_told(experiment: Path) -> None:
    for history, content in (("sft1", "a"), ("sft2", "b")):
        path = Path(f"results/pencil/r1/{history}/labeled.parquet")
        table = Labeled.read(path)
        facts = table.meta.facts | {"program": {"score.py": content, "rules.py": "c"}}
        replace(table, meta=replace(table.meta, facts=facts)).write(path)
    assert main(["report", "--experiment", str(experiment)]) == 0
    page = Path("results/pencil/report/report.html").read_text()
    assert (
        "score.py changed while the run went on: scores of several versions of the oracle stand side by side." in page
    )


def test_unknown_optimum_draws_scores(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance.write_json("results/pencil/oracle.json", {"optimum": None, "fingerprint": DOMAIN.fingerprint})
    assert main(["report", "--experiment", str(experiment)]) == 0
    assert re.search(r"GA +0.625 \+/- 0.250 +12", capsys.readouterr().out)
    assert read_series("fig2a", "GA", "0") == [(1, 0.0), (2, 0.25), (8, 0.5), (12, 0.5)]
    assert "Best score against counted evaluations" in Path("results/pencil/report/report.html").read_text()


def test_tables_of_another_oracle_are_refused(experiment: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance.write_json("results/pencil/oracle.json", {"optimum": 1.0, "fingerprint": "ffff"})
    assert main(["report", "--experiment", str(experiment)]) == 2
    assert "is oracle ffff" in capsys.readouterr().err
    assert not Path("results/pencil/report/report.html").exists()
