"""The paper's claims on the hand-made experiment of `report_fixtures`; the sums are in the comments."""

from __future__ import annotations

import csv
import math
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from report_fixtures import LABELS, SEED, make_experiment, write_round, write_table  # noqa: F401

from llome.cli import main
from llome.reporting.analysis.bins import DISTANCES, LIKELIHOODS, Means, as_json
from llome.reporting.claims import CLAIMS, check_claims, judge
from llome.reporting.multistage import find_families
from llome.reporting.reading import read_run
from llome.reporting.runs import Run

UNKNOWN = math.nan


def run_of(experiment: Path, **options: object) -> Run:
    from llome import paths
    from llome.experiment import load_experiment

    settings = load_experiment(experiment)
    layout = paths.Layout("results", settings.name)
    return read_run(
        layout, settings.histories, settings.replicates, ends_with=settings.ends_with, rivals=list(settings.rivals)
    )


@pytest.mark.parametrize(
    ("gains", "verdict"),
    [
        ([0.25], ("undecided", "seen once, as the paper says")),
        ([-0.25], ("undecided", "seen once, not so")),
        ([0.0], ("undecided", "seen once, no difference")),
        ([0.25, 0.25], ("yes", "beyond two standard errors in 2 replicates")),
        ([-0.5, -0.25, -0.25], ("no", "beyond two standard errors in 3 replicates")),
        # mean .25, standard error .25
        ([0.5, 0.0], ("undecided", "within two standard errors in 2 replicates")),
        ([0.0, 0.0], ("undecided", "no difference in 2 replicates")),
        ([], ("undecided", "nothing was seen")),
    ],
)
def test_verdicts(gains: list[float], verdict: tuple[str, str]) -> None:
    assert judge(gains) == verdict


def test_what_two_schedules_and_two_replicates_show(experiment: Path) -> None:
    findings, lacking = check_claims(run_of(experiment), {})
    found = {f.paper: (f.seen, f.agrees, f.reason) for f in findings}
    marge, sft = "LLOME sft1-marge2", "LLOME sft2"
    yes, spread = "beyond two standard errors in 2 replicates", "within two standard errors in 2 replicates"
    # at 12: sft .5 and .75, as the genetic algorithm; marge .75 and 1 (found at 11)
    name = "LLOME-MargE reaches a lower minimum regret than "
    assert found[f"{name}LLOME-SFT"] == (f"regret at 12 evaluations: {marge} 0.125; {sft} 0.375", "yes", yes)
    assert found[f"{name}the GA (significantly)"] == (f"regret at 12 evaluations: {marge} 0.125; GA 0.375", "yes", yes)
    assert found["LLOME-SFT reaches a lower minimum regret than the GA (significantly)"][1:] == (
        "undecided",
        "no difference in 2 replicates",
    )
    assert found["LLOME-MargE alone finds the optimum"] == (
        f"found the optimum: {marge} in 1 of 2; {sft} in 0 of 2",
        "undecided",
        spread,
    )
    # 10, 20 and 30 of 40, and 10 and 20; the genetic algorithm (.25 + .5) / 2
    unique = "LLOME-MargE writes a larger share of unique sequences than the GA"
    assert found[unique] == (f"unique: {marge} 43.8%; GA 37.5%", "undecided", spread)
    # feasible in two rounds: 4 of 6 and 6 of 6, against 5 of 6 twice
    feasible = "LLOME-MargE writes the largest share of feasible sequences"
    assert found[feasible] == (f"feasible: {marge} 83.3%; {sft} 83.3%", "undecided", spread)
    # in two rounds 10 and 20 of 40 each, whatever marge wrote in its third
    largest = "LLOME-MargE writes the largest share of unique sequences"
    assert found[largest] == (f"unique: {marge} 37.5%; {sft} 37.5%", "undecided", "no difference in 2 replicates")
    # 2 of 3, then 3; and the other way round
    dip = "LLOME-SFT writes more feasible sequences after an initial dip"
    assert found[dip] == (f"feasible, {sft}: 83.3% in the first round, 83.3% in the last", "undecided", spread)
    # replicate 1 has one round of marge: it has no trend
    assert found[dip.replace("SFT", "MargE")][1:] == ("undecided", "seen once, no difference")
    assert len(found) == 3 + 1 + 2 + 2 + 2
    assert "Fig. 9 (a schedule of marge and one of reinforce)" in lacking
    assert "Fig. 5 (analyze: true)" in lacking
    assert not any(line.startswith("Fig. 2a (a schedule of marge and one of sft)") for line in lacking)


def test_one_replicate_decides_nothing(experiment: Path) -> None:
    shutil.rmtree("results/pencil/r1")
    findings, _ = check_claims(run_of(experiment), {})
    assert findings
    assert {(f.agrees, f.reason.split(",")[0]) for f in findings} == {("undecided", "seen once")}


def test_rounds_that_two_methods_share_say_nothing(experiment: Path) -> None:
    for rep in (0, 1):
        shutil.rmtree(f"results/pencil/r{rep}/sft2")
    found = [f.paper for f in check_claims(run_of(experiment), {})[0]]
    assert not any("LLOME-MargE" in paper and "LLOME-SFT" in paper for paper in found)
    assert "LLOME-MargE writes the largest share of feasible sequences" not in found
    # a schedule that goes on may still find the optimum
    assert "LLOME-MargE alone finds the optimum" not in found
    assert "LLOME-SFT writes a larger share of unique sequences than the GA" in found


def test_rivals_stand_in_what_we_see(experiment: Path) -> None:
    experiment.write_text(experiment.read_text() + "rivals: {tuned: seed.yaml}\n")
    for rep in (0, 1):
        write_table(Path(f"results/pencil/r{rep}/ga-tuned/labeled.parquet"), [0.5, 0.75], [2, 6], 12, "ga")
    findings, _ = check_claims(run_of(experiment), {})
    seen = next(f.seen for f in findings if f.paper.startswith("LLOME-SFT reaches"))
    assert seen == "regret at 12 evaluations: LLOME sft2 0.375; GA 0.375; GA (tuned) 0.250"


def test_the_page_and_its_data_hold_the_claims(experiment: Path) -> None:
    assert main(["report", "--experiment", str(experiment)]) == 0
    text = Path("results/pencil/report/report.html").read_text()
    assert "<h2>The paper says, we see</h2>" in text
    assert "<td>regret at 12 evaluations: LLOME sft1-marge2 0.125; LLOME sft2 0.375</td><td>yes</td>" in text
    assert "This run does not speak, or not yet, to: Fig. 2a (a schedule of dpo)" in text
    with open("results/pencil/report/claims.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows[2]["we see"] == "regret at 12 evaluations: LLOME sft1-marge2 0.125; LLOME sft2 0.375"
    assert {row["agrees"] for row in rows} == {"yes", "undecided"}


def test_schedules_that_belong_together() -> None:
    families = find_families(
        ["sft10", "sft5-marge5", "sft1-marge9", "sft1-dpo9", "sft2-marge2", "marge10", "sft3-dpo7"]
    )
    assert [(f.objective, f.rounds, f.schedules) for f in families] == [
        ("marge", 10, {1: "sft1-marge9", 5: "sft5-marge5", 10: "sft10"}),
        ("dpo", 10, {1: "sft1-dpo9", 3: "sft3-dpo7", 10: "sft10"}),
    ]
    assert find_families(["sft3", "sft1-marge2"]) == []


def test_multistage_schedules(experiment: Path) -> None:
    settings = yaml.safe_load(experiment.read_text())
    settings["schedules"] = [[{"sft": 3}], [{"sft": 1}, {"marge": 2}], [{"sft": 2}, {"marge": 1}]]
    experiment.write_text(yaml.safe_dump(settings))
    for rep, scores in ((0, [0.5, 0.25, 0.0]), (1, [0.75, 0.5, 0.25])):
        before = [*SEED[rep], *LABELS["sft1"][rep], *LABELS["sft2"][rep]]
        for history, labels in (("sft2-marge1", scores), ("sft3", [0.25, 0.25, 0.25])):
            write_round(Path(f"results/pencil/r{rep}/{history}"), history, labels, before, (0.0, 0.0))
    assert main(["report", "--experiment", str(experiment)]) == 0
    report = Path("results/pencil/report")
    with open(report / "fig8a.csv", newline="") as file:
        rows = [(r["replicate"], r["sft_rounds"], r["value"]) for r in csv.DictReader(file)]
    # one round of SFT: .75, and the optimum; two or three: .5 and .75
    ends = {0: (0.25, 0.5, 0.5), 1: (0, 0.25, 0.25), "mean": (0.125, 0.375, 0.375)}
    assert rows == [(str(rep), str(i), str(value)) for rep, found in ends.items() for i, value in enumerate(found, 1)]
    text = (report / "report.html").read_text()
    assert "are also the paper&#x27;s Fig. 8a (schedules that switch from SFT)." in text
    (finding,) = (f for f in check_claims(run_of(experiment), {})[0] if f.source == "Fig. 8a")
    assert finding.seen == "regret after 3 rounds: i = 1 0.125; i = 2 0.375; i = 3 0.375"
    assert finding.agrees == "yes"


def binned(edges: np.ndarray, name: str, values: dict[int, tuple[int, float]]) -> dict[str, list[object]]:
    """Bins given as (count, mean) by number."""
    count = np.array([values.get(i, (0, 0.0))[0] for i in range(len(edges))])
    mean = np.array([values.get(i, (0, UNKNOWN))[1] for i in range(len(edges))])
    return as_json(edges, **{name: Means(count, mean, np.full(len(edges), UNKNOWN))})


def analysis(
    best: list[float | None], selected: float, oracle: float, random: float, feasible: float
) -> dict[str, object]:
    return {
        "iterations": [{"best": value} for value in best],
        "selection": {"best_selected": selected, "best_oracle": oracle, "best_random": random},
        "distance": binned(DISTANCES, "feasible", {6: (9, 1.0), 7: (3, feasible), 20: (1, 0.0)}),
        "likelihood": binned(LIKELIHOODS, "reward", {5: (9, 1.0), 7: (2, 0.25), 9: (2, 0.05)}),
        "rank_correlation": 0.5,
    }


def test_claims_on_what_was_analysed(experiment: Path) -> None:
    analyses = {
        (0, "sft1"): analysis([0.25, 0.5, None, 0.5, 0.625], 0.5, 0.75, 0.5, 0.2),
        (0, "sft2"): analysis([0.5, 0.25, 0.5, 0.25, 0.25], 0.25, 0.75, 0.5, 0.2),
        (1, "sft1"): analysis([0.5, 0.5, 0.75, 0.5, 0.5], 0.5, 1.0, 0.25, 0.4),
    }
    found = {f.paper: (f.seen, f.agrees) for f in check_claims(run_of(experiment), analyses)[0]}
    # best so far .25 .5 .5 .5 .625, and no gain: .1875 a round; .5 .5 .75: .25
    assert found["Iterative refinement reduces regret below that of its inputs"] == (
        "best score written above the best given: +0.219 a round",
        "yes",
    )
    # .25 - .125 and nothing: .0625 a round; .25
    assert found["Early edits reduce regret more than late ones"][0].endswith("in best score: +0.156 a round")
    # .25 and .5; .5
    assert found["Likelihood does not select the very best candidates"] == (
        "the oracle's best above the selected ones': +0.438 a round",
        "yes",
    )
    # 0 and -.25; .25
    assert found["Likelihood selects high-scoring candidates"][1] == "undecided"
    # bins beyond .3 (.30 to .35 and .95 to 1), not the one below: .6 of 4 in both rounds, 1.2 of 4: .15 and .3
    large = found["LLOME-SFT: of edits beyond 0.3 of the positions, less than 20% are feasible"]
    assert large == ("22.5% of the edits beyond 0.3 are feasible", "undecided")
    # -.2 over .2 of likelihood, the bin below .7 left out
    falling = found["LLOME-SFT is overconfident: above a likelihood of 0.7, reward falls as likelihood rises"]
    assert falling == ("above a likelihood of 0.7 the mean reward changes by -0.1000 a bin of 0.1", "yes")


def test_calibration_of_schedules_that_switch(experiment: Path) -> None:
    settings = yaml.safe_load(experiment.read_text())
    settings["schedules"] = [[{"sft": 3}], [{"sft": 1}, {"marge": 2}], [{"sft": 2}, {"marge": 1}]]
    experiment.write_text(yaml.safe_dump(settings))
    for rep in (0, 1):
        before = [*SEED[rep], *LABELS["sft1"][rep], *LABELS["sft2"][rep]]
        for history in ("sft2-marge1", "sft3"):
            write_round(Path(f"results/pencil/r{rep}/{history}"), history, [0.25, 0.25, 0.25], before, (0.0, 0.0))
    correlations = {"sft1": 0.0, "sft1-marge1": 0.5, "sft2": 0.25, "sft2-marge1": 0.5, "sft3": None}
    analyses = {
        (rep, history): {**analysis([0.5, 0.5], 0.5, 0.5, 0.5, 0.2), "rank_correlation": value}
        for rep in (0, 1)
        for history, value in correlations.items()
    }
    # replicate 1 found the optimum in sft1-marge1; sft1-marge2 of replicate 0 has .75
    analyses[0, "sft1-marge2"] = {**analysis([0.5, 0.5], 0.5, 0.5, 0.5, 0.2), "rank_correlation": 0.75}
    (finding,) = (f for f in check_claims(run_of(experiment), analyses)[0] if f.source == "Fig. 8b")
    # i = 1: (0 + .5 + .75) / 3 = .4167 and (0 + .5) / 2 = .25, mean .33; i = 2: (0 + .25 + .5) / 3 = .25; sft3: (0 + .25) / 2 = .125
    told = "LLOME sft1-marge2 0.33; LLOME sft2-marge1 0.25; LLOME sft3 0.12"
    assert finding.seen == f"rank correlation of likelihood and score: {told}"
    # .1667 and 0: mean .083, standard error .083
    assert (finding.agrees, finding.reason) == ("undecided", "within two standard errors in 2 replicates")


def test_marge_against_reinforce(experiment: Path) -> None:
    settings = yaml.safe_load(experiment.read_text())
    Path("reinforce.yaml").write_text("\n")
    settings["train"]["reinforce"] = "reinforce.yaml"
    settings["schedules"] = [[{"sft": 1}, {"marge": 2}], [{"sft": 1}, {"reinforce": 2}]]
    experiment.write_text(yaml.safe_dump(settings))
    for rep, scores in ((0, [0.25, 0.5, 0.0]), (1, [0.5, 0.25, 0.75])):
        before = [*SEED[rep], *LABELS["sft1"][rep]]
        for history in ("sft1-reinforce1", "sft1-reinforce2"):
            write_round(Path(f"results/pencil/r{rep}/{history}"), history, scores, before, (0.0, 0.0))
    found = {f.paper: (f.seen, f.agrees) for f in check_claims(run_of(experiment), {})[0] if f.source == "Fig. 9"}
    # in the end: marge .25 and 0, reinforce .5 and .25
    seen, agrees = found["LLOME-MargE reaches a lower minimum regret than LLOME-REINFORCE"]
    assert "LLOME sft1-marge2 0.125" in seen
    assert "LLOME sft1-reinforce2 0.375" in seen
    assert agrees == "yes"
    assert found["LLOME-REINFORCE does not find the optimum"] == (
        "LLOME sft1-reinforce2 found the optimum in 0 of 2",
        "yes",
    )


def test_every_claim_says_where_it_stands_in_the_paper() -> None:
    assert all(claim.source.startswith("Fig. ") and claim.needs for claim in CLAIMS)
    assert len({claim.paper for claim in CLAIMS}) == len(CLAIMS)
