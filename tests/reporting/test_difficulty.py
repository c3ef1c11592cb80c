"""The genetic algorithm against the settings of functions (paper Fig. 10), on tables of two labels made by hand."""

from __future__ import annotations

import csv
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from llome import paths, provenance
from llome.cli import main
from llome.domain import Domain
from llome.tables import Labeled, Meta

BASE = {"num_states": 5, "dim": 3, "num_motifs": 2, "motif_length": 4, "quantization": 4, "random_seed": 0}
# name -> what differs, and by replicate the best score after 6 and after 12 counted evaluations
VARIANTS: dict[str, tuple[dict[str, Any], list[tuple[float, float]]]] = {
    "long": ({"dim": 4}, [(0.0, 0.25), (0.25, 0.25)]),
    "plain": ({"random_seed": 7}, [(0.25, 0.75), (0.5, 0.5)]),
    "coarse": ({"quantization": 2}, [(0.0, 0.0), (0.0, 0.0)]),
    "both": ({"dim": 4, "quantization": 2}, [(0.0, 0.0), (0.0, 0.0)]),
}
REPORT = Path("results/hard/report")


@pytest.fixture
def hard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    Path("oracle.yaml").write_text("name: ehrlich\n")
    Path("seed.yaml").write_text("rounds: 1\npopulation: 6\n")
    for name, (changes, replicates) in VARIANTS.items():
        layout = paths.Layout("results", "hard", name)
        arguments = BASE | changes
        domain = Domain(5, arguments["dim"], f"{name:_>16}")
        spec = {"optimum": 1.0, "fingerprint": domain.fingerprint, "arguments": arguments}
        provenance.write_json(layout.oracle, spec)
        for rep, (early, late) in enumerate(replicates):
            sequence = np.eye(2, arguments["dim"], dtype=np.int16)
            ones, origin = np.ones(2, dtype=np.int32), np.array(["ga", "ga"], dtype=object)
            whole = Labeled(Meta(domain, spent=12), sequence, np.array([early, late]), np.array([2, 8]), ones, origin)
            seed = Labeled(Meta(domain, spent=6), sequence[:1], np.array([early]), np.array([2]), ones[:1], origin[:1])
            seed.write(layout.round(rep, "seed") / "labeled.parquet")
            whole.write(layout.round(rep, "ga") / "labeled.parquet")
            whole.write(layout.round(rep, "ga-tuned") / "labeled.parquet")
    settings = {"name": "hard", "oracle": "oracle.yaml", "seed": "seed.yaml", "schedules": [], "baseline": 12}
    settings |= {"replicates": 2, "variants": {name: {} for name in VARIANTS}, "rivals": {"tuned": "seed.yaml"}}
    Path("hard.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return tmp_path / "hard.yaml"


def compare(experiment: Path) -> str:
    assert main(["report", "--experiment", str(experiment)]) == 0
    return (REPORT / "report.html").read_text()


def points(name: str, panel: str, series: str, replicate: str, x: str) -> list[tuple[float, float]]:
    with open(REPORT / f"{name}.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    rows = [r for r in rows if (r["panel"], r["series"], r["replicate"]) == (panel, series, replicate)]
    return [(float(r[x]), round(float(r["value"]), 6)) for r in rows]


def test_one_setting_is_varied_at_a_time(hard: Path) -> None:
    """`long` and `coarse` differ from two others in one setting each, as `plain` does; the first of them is the reference."""
    compare(hard)
    # from `long` (L 4, q 4): L 3 is plain, q 2 is both
    assert points("fig10", "length L", "L = 3", "0", "evaluations") == [(3, 0.75), (9, 0.25), (12, 0.25)]
    assert points("fig10", "length L", "L = 4", "1", "evaluations") == [(3, 0.75), (12, 0.75)]
    assert points("fig10", "quantization q", "q = 2", "0", "evaluations") == [(3, 1.0), (12, 1.0)]
    assert points("fig10_last", "length L", "GA", "0", "setting") == [(3, 0.25), (4, 0.75)]
    assert points("fig10_last", "length L", "GA", "mean", "setting") == [(3, 0.375), (4, 0.75)]
    assert points("fig10_last", "quantization q", "GA (tuned)", "mean", "setting") == [(2, 1.0), (4, 0.75)]
    svg = (REPORT / "fig10_last.svg").read_text()
    texts = re.findall(r">([^<>\n]+)</text>", svg)
    assert [t for t in texts if t in ("length L", "quantization q", "GA", "GA (tuned)")] == [
        "length L", "quantization q", "GA", "GA (tuned)"
    ]  # fmt: skip


def test_what_the_paper_says_of_difficulty(hard: Path) -> None:
    compare(hard)
    with open(REPORT / "claims.csv", newline="") as file:
        found = {r["the paper says"]: (r["variant"], r["we see"], r["agrees"]) for r in csv.DictReader(file)}
    # .5 and .25 in the two replicates: mean .375, standard error .125
    longer = found["The GA does worse the larger the length L"]
    assert longer == ("", "L = 3: regret 0.375; L = 4: regret 0.750 (one function each)", "yes")
    # .25 and .25 of q against .5 and .25 of L
    strongest = found["Difficulty depends most strongly on the quantization q"]
    assert strongest == ("", "L changes regret by 0.375; q changes regret by 0.250", "undecided")
    assert not any("hypervolume" in paper for paper in found)


def test_exact_counts_stand_beside_the_settings(hard: Path) -> None:
    assert "<td>3</td><td>2</td><td>4</td><td>4</td><td>\u2013</td><td>\u2013</td><td>0.625 ± 0.250</td>" in compare(
        hard
    )
    counts = {"log10_sequences": 2.5, "log10_feasible": 2.25, "log10_optimal": None, "why_not": "too many states"}
    layout = paths.Layout("results", "hard", "plain")
    fingerprint = provenance.read_json(layout.oracle)["fingerprint"]
    provenance.write_json(layout.counts, counts | {"fingerprint": fingerprint})
    text = compare(hard)
    assert (
        "<th scope=row>plain</th><td>5</td><td>3</td><td>2</td><td>4</td><td>4</td><td>10^-0.25</td><td>\u2013</td>"
        in text
    )
    assert "Optimal sequences were not counted for plain: too many states." in text
    provenance.write_json(layout.counts, counts | {"fingerprint": fingerprint, "log10_optimal": -1.0, "why_not": None})
    assert "<td>10^-0.25</td><td>10^-3.50</td>" in compare(hard)


def test_counts_of_another_function_are_refused(hard: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance.write_json("results/hard/plain/counts.json", {"fingerprint": "ffff"})
    assert main(["report", "--experiment", str(hard)]) == 2
    assert "results/hard/plain/counts.json was counted with oracle ffff" in capsys.readouterr().err
