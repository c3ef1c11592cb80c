from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llome import __version__, provenance
from llome.cli import main
from llome.domain import Domain
from llome.tables import Labeled, Meta, Proposals, Selected

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


def write_proposals(path: Path, rows: list[tuple[str | None, str, int, int]]) -> Path:
    """`rows` are sequence (None: not parsed), source, trajectory, step."""
    n = len(rows)
    written = sequences(*(row[0] or "000" for row in rows))
    parsed = np.array([row[0] is not None for row in rows], dtype=bool)
    written[~parsed] = -1
    trajectory, step = (np.array([row[i] for row in rows], dtype=np.int32) for i in (2, 3))
    zeros = np.zeros(n)
    source = sequences(*(row[1] for row in rows))
    Proposals(
        Meta(DOMAIN), written, source, trajectory, step, np.zeros(n, dtype=np.float32), zeros, zeros, parsed
    ).write(path)
    return path


def write_selected(path: Path, edits: dict[str, str]) -> Path:
    """`edits` are sources by their sequences."""
    Selected(Meta(DOMAIN), sequences(*edits), sequences(*edits.values()), np.zeros(len(edits))).write(path)
    return path


PROPOSALS: list[tuple[str | None, str, int, int]] = [
    ("111", "001", 0, 0),
    ("100", "000", 1, 0),
    ("000", "000", 1, 0),
    (None, "000", 1, 0),
    ("101", "010", 2, 0),
    ("100", "010", 2, 0),
    ("103", "111", 0, 1),
    ("102", "100", 1, 1),
    ("102", "100", 2, 1),
]
SELECTED = {"100": "000", "101": "010", "102": "100", "103": "111"}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Round sft2 of replicate 3: seeds (5 calls, 3 different), two rounds of labels, proposals, a policy's card."""
    rep = tmp_path / "r3"
    provenance.write_json(tmp_path / "oracle.json", {"optimum": 1.0, "fingerprint": DOMAIN.fingerprint})
    write_labeled(rep / "seed" / "labeled.parquet", ["000", "001", "002"], [INFEASIBLE, 0.25, 0.0], 5, "ga")
    write_labeled(rep / "sft1" / "labeled.parquet", ["010", "011"], [0.5, INFEASIBLE], 7, "sft1")
    here = rep / "sft2"
    write_labeled(here / "labeled.parquet", ["100", "101", "102", "103"], [0.5, INFEASIBLE, 0.25, 0.75], 11, "sft2")
    write_proposals(here / "proposals.parquet", PROPOSALS)
    write_selected(here / "selected.parquet", SELECTED)
    card = {"objective": "sft", "domain": vars(DOMAIN), "facts": {"pairs": 12}, "files": {}, "version": __version__}
    provenance.write_json(here / "model" / "llome.json", card)
    for stage, seconds in (("train", 20.5), ("refine", 30.25), ("surrogate", 4.0)):
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
    assert list(summary.pop("made_by")) == ["summarize"]  # the other stages were not run
    assert versions["llome"] == __version__
    assert seconds == {"train": 20.5, "refine": 30.25, "surrogate": 4.0}
    # scores .5, 0 (infeasible), .25, .75: mean .375, standard deviation .3227, standard error .1614
    assert summary.pop("se_regret") == pytest.approx(0.1613743)
    # changed positions 2, 1, 0, 3, 2, 2, 1, 1 of 3 in the eight parsed proposals
    assert summary.pop("mean_hamming") == pytest.approx(12 / 24)
    # 100 from 000 (infeasible): .5; 101 (infeasible) from 010: 0; 102 in trajectory 1 before 2, so from 000: .25; 103 by way of 111
    # from 001: .75 - .25; deviations from the mean .1875, .3125, .0625, .1875, standard deviation .2393568
    assert summary.pop("se_reward") == pytest.approx(0.2393568 / 2)
    assert summary == {
        "history": "sft2",
        "round": 2,
        "objective": "sft",
        "generated": 9,
        "parsed": 8,
        "unique": 6,
        "novel": 5,
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
        "reward_mean": 0.3125,
        "reward_max": 0.5,
        "improved": 3,
        "train": {"pairs": 12},
    }
    captured = capsys.readouterr()
    assert captured.out == "r3 sft2: best 0.750, regret 0.250 after 11 evaluations; 3 of 4 feasible; 55 s\n"
    assert captured.err == ""


def first_round(folder: Path, texts: list[str]) -> list[str]:
    """Command line of a round sft1 after one infeasible seed, with infeasible labels of `texts`; three rows are not parsed."""
    here = folder / "r3" / "sft1"
    write_labeled(folder / "r3" / "seed" / "labeled.parquet", ["000"], [INFEASIBLE], 5, "ga")
    write_labeled(here / "labeled.parquet", texts, [INFEASIBLE] * len(texts), 5 + len(texts), "sft1")
    return arguments(
        folder,
        labeled=["seed", "sft1"],
        history="sft1",
        proposals=write_proposals(
            here / "proposals.parquet", [*[(None, "000", 0, 0)] * 3, *((t, "000", 0, 0) for t in texts)]
        ),
        selected=write_selected(here / "selected.parquet", dict.fromkeys(texts, "000")),
        benchmarks=folder / "nowhere",
        out=here / "summary.json",
    )


def test_unknown_optimum_nothing_feasible(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    provenance.write_json(folder / "oracle.json", {"optimum": None, "fingerprint": DOMAIN.fingerprint})
    line = first_round(folder, ["001"])
    assert main(line) == 0
    summary = json.loads((folder / "r3" / "sft1" / "summary.json").read_text())
    for key in ("best", "best_of_round", "regret", "mean_regret", "se_regret", "se_reward"):
        assert summary[key] is None
    assert (summary["mean"], summary["parsed"], summary["unique"], summary["novel"]) == (0.0, 1, 1, 1)
    assert (summary["reward_mean"], summary["reward_max"], summary["improved"]) == (0.0, 0.0, 0)
    assert capsys.readouterr().out == "r3 sft1: nothing feasible yet after 6 evaluations; 0 of 1 feasible\n"
    provenance.write_json(folder / "oracle.json", {"optimum": 1.0, "fingerprint": DOMAIN.fingerprint})
    assert main(line) == 0
    assert json.loads((folder / "r3" / "sft1" / "summary.json").read_text())["regret"] == 1.0


def test_nothing_parsed_and_nothing_labelled(folder: Path) -> None:
    assert main(first_round(folder, [])) == 0
    summary = json.loads((folder / "r3" / "sft1" / "summary.json").read_text())
    for key in ("mean", "mean_regret", "se_regret", "mean_hamming", "reward_mean", "se_reward", "reward_max"):
        assert summary[key] is None
    assert (summary["generated"], summary["parsed"], summary["unique"], summary["novel"]) == (3, 0, 0, 0)
    assert (summary["labeled"], summary["improved"]) == (0, 0)


def test_a_trajectory_from_a_sequence_without_a_label_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = folder / "r3" / "sft2"
    write_proposals(here / "proposals.parquet", [("111", "004", 0, 0), *PROPOSALS[1:]])
    assert main(arguments(folder)) == 2
    error = capsys.readouterr().err
    before = ", ".join(str(folder / "r3" / history / "labeled.parquet") for history in ("seed", "sft1"))
    assert (
        f"{here / 'proposals.parquet'} starts a trajectory from [0, 0, 4], which none of {before} has a label of"
        in error
    )
    assert error.count("\n") == 1
    assert not (here / "summary.json").exists()


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
