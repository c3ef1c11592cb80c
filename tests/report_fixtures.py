"""A hand-made experiment: two schedules, two replicates, eight or nine seeds; every number below can be had with a pencil."""

from __future__ import annotations

import csv
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import yaml

from llome import paths, provenance
from llome.domain import Domain
from llome.tables import Labeled, Meta

DOMAIN = Domain(5, 3, "0123456789abcdef")
INFEASIBLE = -np.inf
# labels of each round and replicate; seeds are 6 calls with 4 different sequences, and sft1-marge1 of replicate 1 finds the optimum
SEED = {0: [INFEASIBLE, 0.25, 0.0, 0.25], 1: [0.25, INFEASIBLE, 0.5, 0.0]}
LATER = {0: [0.5, INFEASIBLE], 1: [0.5, 0.75]}
LABELS = {
    "sft1": {0: [0.25, 0.5, INFEASIBLE], 1: [0.5, 0.25, 0.75]},
    "sft2": {0: [0.5, 0.5, 0.5], 1: [INFEASIBLE, 0.75, 0.25]},
    "sft1-marge1": {0: [0.75, INFEASIBLE, 0.25], 1: [0.5, 1.0, 0.75]},
    "sft1-marge2": {0: [0.75, 0.5, INFEASIBLE]},
}
# mean and maximum reward in their summaries
REWARDS = {
    "sft1": {0: (0.125, 0.25), 1: (0.25, 0.5)},
    "sft2": {0: (0.375, 0.75), 1: (0.125, 0.25)},
    "sft1-marge1": {0: (0.25, 0.5), 1: (0.5, 1.0)},
    "sft1-marge2": {0: (0.0, 0.0)},
}


def write_table(
    path: Path,
    scores: list[float],
    query: list[int],
    spent: int,
    origin: str,
    start: int = 0,
    rounds: list[dict] | None = None,
) -> None:
    n = len(scores)
    numbers = np.arange(start, start + n)
    sequence = np.stack([numbers // 25, numbers // 5 % 5, numbers % 5], axis=1).astype(np.int16)
    meta = Meta(DOMAIN, spent=spent, facts={"rounds": rounds} if rounds else {})
    number = np.full(n, paths.round_number(origin) if origin != "ga" else 1, dtype=np.int32)
    Labeled(meta, sequence, np.array(scores), np.array(query), number, np.array([origin] * n, dtype=object)).write(path)


def generation(number: int, feasible: float, unique: float, mean: float) -> dict:
    facts = {"round": number, "counted": 3 * number, "distinct": 2 * number, "feasible": feasible, "unique": unique}
    return facts | {"best": 0.5, "mean": mean, "mean_regret": 1 - mean, "se_regret": 0.05}


def benchmark(path: Path, seconds: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"s\th:m:s\n{seconds}\t-\n")


@pytest.fixture(name="experiment")
def make_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, text in {
        "oracle": "name: ehrlich",
        "seed": "rounds: 2\npopulation: 3",
        "base": "b: <tag>",
        "sft": "",
        "marge": "",
        "refine": "",
        "filter": "k: 3",
    }.items():
        Path(f"{name}.yaml").write_text(text + "\n")
    settings = {name: f"{name}.yaml" for name in ("oracle", "seed", "base", "refine", "filter")}
    settings |= {"name": "pencil", "train": {"sft": "sft.yaml", "marge": "marge.yaml"}, "replicates": 2}
    settings["schedules"] = [[{"sft": 2}], [{"sft": 1}, {"marge": 2}]]
    Path("pencil.yaml").write_text(yaml.safe_dump(settings))
    layout = paths.Layout("results", "pencil")
    provenance.write_json(layout.oracle, {"optimum": 1.0, "fingerprint": DOMAIN.fingerprint})
    for rep in (0, 1):
        facts = [
            generation(1, 0.5, 1.0, 0.125),
            generation(2, 0.6, 0.5, 0.25),
            generation(3, 0.9, 0.25, 0.25),
            generation(4, 0.7, 0.5, 0.375),
        ]
        write_table(layout.round(rep, "seed") / "labeled.parquet", SEED[rep], [0, 1, 3, 4], 6, "ga", rounds=facts[:2])
        write_table(
            layout.round(rep, "ga") / "labeled.parquet",
            SEED[rep] + LATER[rep],
            [0, 1, 3, 4, 7, 10],
            12,
            "ga",
            rounds=facts,
        )
        benchmark(layout.round(rep, "seed") / "benchmarks" / "seed.tsv", 2.0)
        benchmark(layout.round(rep, "ga") / "benchmarks" / "seed.tsv", 3.0 + rep)
        benchmark(layout.round(rep, "base") / "benchmarks" / "base.tsv", 10.0)
        for history, labels in LABELS.items():
            if rep in labels:
                before = [*SEED[rep], *(LABELS["sft1"][rep])]
                write_round(layout.round(rep, history), history, labels[rep], before, REWARDS[history][rep])
    return tmp_path / "pencil.yaml"


def write_round(
    folder: Path, history: str, scores: list[float], before: list[float], rewards: tuple[float, float]
) -> None:
    number = paths.round_number(history)
    spent = 6 + 3 * number
    write_table(
        folder / "labeled.parquet", scores, list(range(spent - 3, spent)), spent, history, start=20 + 3 * number
    )
    values = np.where(np.isneginf(scores), 0.0, scores)
    best = max([*scores, *before])
    summary = {
        "history": history, "round": number, "counted": spent, "distinct": 4 + 3 * number, "generated": 40, "parsed": 38,
        "unique": 10 * number, "novel": 9, "selected": 3, "labeled": 3, "feasible": int(np.isfinite(scores).sum()), "best": best,
        "best_of_round": max(scores), "regret": 1 - best, "mean": float(values.mean()), "mean_regret": float(1 - values.mean()),
        "reward_mean": rewards[0], "se_reward": 0.05, "reward_max": rewards[1], "improved": 1,
        "se_regret": 0.1, "mean_hamming": 0.125, "seconds": {"train": 10.0, "refine": 20.0, "filter": 1.0, "label": 0.5},
        "versions": {"llome": "0.1.0", "torch": "2.0"},
    }  # fmt: skip
    provenance.write_json(folder / "summary.json", summary)


def read_series(figure: str, label: str, replicate: str) -> list[tuple[float, float]]:
    assert Path(f"results/pencil/report/{figure}.svg").read_text().count("<svg") == 1
    with open(f"results/pencil/report/{figure}.csv", newline="") as file:
        rows = [r for r in csv.DictReader(file) if (r["series"], r["replicate"]) == (label, replicate)]
    return [(float(r["evaluations"]), round(float(r["value"]), 6)) for r in rows]


class Page(HTMLParser):
    """What a browser would load, and the cells of the tables."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.figures: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {k: v or "" for k, v in attrs}
        self.loads += [
            v
            for k, v in given.items()
            if k in ("src", "href", "xlink:href", "data", "action") and not v.startswith(("#", "data:"))
        ]
        assert tag not in ("script", "iframe", "object", "embed", "img")
        if tag == "figure":
            self.figures.append(given["id"])
        self.ids += [given["id"]] if "id" in given else []
