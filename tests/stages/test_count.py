"""`llome count`: exact numbers in a file and one line; no query; one plain line where it cannot."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from llome.cli import main
from llome.scoring import Ehrlich, load_oracle
from llome.scoring.counting import count_feasible, count_optimal

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def oracle(tmp_path) -> Path:
    path = tmp_path / "oracle.json"
    assert main(["oracle", "--spec", str(ROOT / "configs" / "oracles" / "tiny.yaml"), "--out", str(path)]) == 0
    return path


def count(oracle: Path, out: Path, *more) -> int:
    return main(["count", "--oracle", str(oracle), "--out", str(out), *map(str, more)])


def test_counts(oracle, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(Ehrlich, "__call__", lambda *args, **kwargs: pytest.fail("a query was spent"))
    assert count(oracle, tmp_path / "counts.json") == 0
    counts = json.loads((tmp_path / "counts.json").read_text())
    function = load_oracle(oracle)
    allowed = function.transition_matrix > 0
    feasible = count_feasible(allowed=allowed, length=12)
    optimal = count_optimal(allowed=allowed, motifs=function.motifs, spacings=function.spacings, length=12)
    assert 0 < optimal < feasible < 8**12
    assert counts == {
        "fingerprint": function.fingerprint,
        "num_states": 8,
        "length": 12,
        "sequences": "68719476736",
        "feasible": str(feasible),
        "optimal": str(optimal),
        "feasible_share": feasible / 8**12,
        "optimal_share": optimal / 8**12,
        "log10_sequences": pytest.approx(12 * math.log10(8)),
        "log10_feasible": pytest.approx(math.log10(feasible)),
        "log10_optimal": pytest.approx(math.log10(optimal)),
        "why_not": None,
    }
    said = capsys.readouterr()
    assert said.out == (
        f"8^12 = 10^10.84 sequences, 10^{math.log10(feasible):.2f} feasible, 10^{math.log10(optimal):.2f} optimal\n"
    )
    first = (tmp_path / "counts.json").read_bytes()
    assert count(oracle, tmp_path / "counts.json") == 0
    assert (tmp_path / "counts.json").read_bytes() == first


def test_too_many_states_leave_the_feasible_count(oracle, tmp_path, capsys):
    assert count(oracle, tmp_path / "counts.json", "--max_states", 3) == 0
    counts = json.loads((tmp_path / "counts.json").read_text())
    assert (counts["optimal"], counts["optimal_share"], counts["log10_optimal"]) == (None, None, None)
    assert int(counts["feasible"]) > 0
    assert "motifs [0, 1] takes more than max_states = 3 states, at position" in counts["why_not"]
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert f"feasible, not counted: {counts['why_not']}" in said


def refused(capsys, *words: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]


def test_refusals(oracle, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out" / "counts.json"
    assert count(tmp_path / "none.json", out) == 2
    refused(capsys, "none.json does not exist")
    (tmp_path / "other.json").write_text("{}")
    assert count(tmp_path / "other.json", out) == 2
    refused(capsys, "other.json is not the spec of an oracle", "llome oracle")
    assert count(oracle, out, "--max_states", 0) == 2
    refused(capsys, "max_states is 0", "at least 1")
    assert count(oracle, oracle / "counts.json") == 2
    refused(capsys, "cannot write")
    monkeypatch.setattr("llome.stages.count.load_oracle", lambda path: object())
    assert count(oracle, out) == 2
    refused(capsys, "oracle.json holds no Ehrlich function (object)")
    assert not out.parent.exists()
