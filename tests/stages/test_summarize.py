from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llome import __version__, provenance
from llome.cli import main
from llome.tables import Domain, Labeled, Meta, Proposals, Selected

DOMAIN = Domain(5, 3, "0123456789abcdef")
INFEASIBLE = -np.inf


def sequences(*texts: str) -> np.ndarray:
    return np.array([[int(c) for c in t] for t in texts], dtype=np.int16).reshape(len(texts), 3)


def write_labeled(
    path: Path, texts: list[str], scores: list[float], spent: int, origin: str, version: str = __version__
) -> Path:
    n = len(texts)
    meta = Meta(DOMAIN, spent=spent, version=version)
    query, number = np.arange(spent - n, spent), np.ones(n, dtype=np.int32)
    Labeled(meta, sequences(*texts), np.array(scores), query, number, np.array([origin] * n, dtype=object)).write(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Round sft2 of replicate 3: seeds (5 calls, 3 different), two rounds of labels, proposals, a policy's card."""
    rep = tmp_path / "r3"
    provenance.write_json(tmp_path / "oracle.json", {"optimum": 1.0, "fingerprint": DOMAIN.fingerprint})
    write_labeled(rep / "seed" / "labeled.parquet", ["000", "001", "002"], [INFEASIBLE, 0.25, 0.0], 5, "ga")
    write_labeled(rep / "sft1" / "labeled.parquet", ["010", "011"], [0.5, INFEASIBLE], 7, "sft1")
    here = rep / "sft2"
    write_labeled(here / "labeled.parquet", ["100", "101", "102", "103"], [0.5, INFEASIBLE, 0.25, 0.75], 11, "sft2")
    written = sequences("100", "100", "101", "010", "000", "000")
    written[5] = -1
    parsed = np.array([True] * 5 + [False])
    zeros, ints = np.zeros(6), np.zeros(6, dtype=np.int32)
    source = sequences("000", "111", "000", "010", "000", "000")
    Proposals(Meta(DOMAIN), written, source, ints, ints, np.zeros(6, dtype=np.float32), zeros, zeros, parsed).write(
        here / "proposals.parquet"
    )
    Selected(Meta(DOMAIN), sequences("100", "101", "102", "103"), sequences(*["000"] * 4), np.zeros(4)).write(
        here / "selected.parquet"
    )
    card = {"objective": "sft", "domain": vars(DOMAIN), "facts": {"pairs": 12}, "files": {}, "version": __version__}
    provenance.write_json(here / "model" / "llome.json", card)
    for stage, seconds in (("train", 20.5), ("refine", 30.25)):
        (here / "benchmarks").mkdir(exist_ok=True)
        (here / "benchmarks" / f"{stage}.tsv").write_text(f"s\th:m:s\tmax_rss\n{seconds}\t0:00:20\t-\n")
    return tmp_path


def arguments(folder: Path, **changed: Any) -> list[str]:
    here = folder / "r3" / "sft2"
    labeled = changed.pop("labeled", ["seed", "sft1", "sft2"])
    options = {
        "oracle": folder / "oracle.json",
        "history": "sft2",
        "proposals": here / "proposals.parquet",
        "selected": here / "selected.parquet",
        "model": here / "model",
        "benchmarks": here / "benchmarks",
        "out": here / "summary.json",
    } | changed
    line = ["summarize", "--labeled", *(str(folder / "r3" / h / "labeled.parquet") for h in labeled)]
    return line + [word for key, value in options.items() for word in (f"--{key}", str(value))]


def test_counts_and_the_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments(folder)) == 0
    summary = json.loads((folder / "r3" / "sft2" / "summary.json").read_text())
    versions, seconds = summary.pop("versions"), summary.pop("seconds")
    assert versions["llome"] == __version__
    assert seconds == {"train": 20.5, "refine": 30.25}
    # scores .5, 0 (infeasible), .25, .75: mean .375, standard deviation .3227, standard error .1614
    assert summary.pop("se_regret") == pytest.approx(0.1613743)
    # changed positions 1, 2, 2, 0, 0 of 3 in the five parsed proposals
    assert summary.pop("mean_hamming") == pytest.approx(5 / 15)
    assert summary == {
        "history": "sft2",
        "round": 2,
        "objective": "sft",
        "generated": 6,
        "parsed": 5,
        "unique": 4,
        "novel": 2,
        "selected": 4,
        "counted": 11,
        "distinct": 9,
        "feasible": 3,
        "best": 0.75,
        "best_of_round": 0.75,
        "mean": 0.375,
        "regret": 0.25,
        "mean_regret": 0.625,
        "labeled": 4,
        "train": {"pairs": 12},
    }
    captured = capsys.readouterr()
    assert captured.out == "r3 sft2: best 0.750, regret 0.250 after 11 evaluations; 3 of 4 feasible; 51 s\n"
    assert captured.err == ""


def test_unknown_optimum_nothing_feasible_nothing_parsed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance.write_json(folder / "oracle.json", {"optimum": None, "fingerprint": DOMAIN.fingerprint})
    here = folder / "r3" / "sft1"
    write_labeled(folder / "r3" / "seed" / "labeled.parquet", ["000"], [INFEASIBLE], 5, "ga")
    write_labeled(here / "labeled.parquet", ["001"], [INFEASIBLE], 6, "sft1")
    proposals = Proposals.read(folder / "r3" / "sft2" / "proposals.parquet").take(np.array([5]))
    proposals.write(here / "proposals.parquet")
    line = arguments(folder, labeled=["seed", "sft1"], history="sft1", out=here / "summary.json")
    line[line.index("--proposals") + 1] = str(here / "proposals.parquet")
    line[line.index("--benchmarks") + 1] = str(folder / "nowhere")
    assert main(line) == 0
    summary = json.loads((here / "summary.json").read_text())
    expected = {
        "best": None,
        "best_of_round": None,
        "regret": None,
        "mean_regret": None,
        "se_regret": None,
        "mean_hamming": None,
    }
    assert {key: summary[key] for key in expected} == expected
    assert (summary["mean"], summary["parsed"], summary["unique"], summary["novel"]) == (0.0, 0, 0, 0)
    assert capsys.readouterr().out == "r3 sft1: nothing feasible yet after 6 evaluations; 0 of 1 feasible\n"
    provenance.write_json(folder / "oracle.json", {"optimum": 1.0, "fingerprint": DOMAIN.fingerprint})
    assert main(line) == 0
    assert json.loads((here / "summary.json").read_text())["regret"] == 1.0


@pytest.mark.parametrize(
    ("labeled", "message"),
    [
        (["seed", "sft2"], "sft2 needs 3 labelled tables"),
        (["seed", "sft2", "sft1"], "holds labels of 'sft2' where those of 'sft1' belong"),
    ],
)
def test_wrong_tables_are_refused(
    folder: Path, labeled: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(folder, labeled=labeled)) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (folder / "r3" / "sft2" / "summary.json").exists()


def test_another_oracle_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance.write_json(folder / "oracle.json", {"optimum": 1.0, "fingerprint": "fedcba9876543210"})
    assert main(arguments(folder)) == 2
    assert "is oracle fedcba9876543210" in capsys.readouterr().err


def test_a_benchmark_without_seconds_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "r3" / "sft2" / "benchmarks" / "train.tsv").write_text("s\th:m:s\n")
    assert main(arguments(folder)) == 2
    assert "train.tsv is no Snakemake benchmark" in capsys.readouterr().err


def test_mixed_versions_are_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seed = folder / "r3" / "seed" / "labeled.parquet"
    write_labeled(seed, ["000", "001", "002"], [INFEASIBLE, 0.25, 0.0], 5, "ga", version="0.0.9")
    assert main(arguments(folder)) == 0
    assert f"mixes files of llome 0.0.9 and {__version__}" in capsys.readouterr().err
