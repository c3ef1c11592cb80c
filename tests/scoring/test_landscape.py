"""Tables as oracles: every look-up is the table's own score, and a table that is wrong is said to be, with its line."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llome.errors import ConfigError, LlomeError, OracleError
from llome.scoring import Budget, load_oracle, make_oracle, save_oracle

DNA = "ACGT"
TEXTS = ["".join(letters) for letters in itertools.product(DNA, repeat=4)]
SCORES = np.random.default_rng(0).normal(size=256)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table(content: str | dict[str, Any] | None = None, **settings: Any) -> Any:
    path = "mine.csv"
    if isinstance(content, dict):
        path = "mine.parquet"
        pq.write_table(pa.table(content), path)
    else:
        whole = "sequence,score\n" + "".join(f"{t},{s!r}\n" for t, s in zip(TEXTS, SCORES.tolist(), strict=True))
        Path(path).write_text(whole if content is None else content)
    oracle = make_oracle({"name": "table", "alphabet": "dna", "length": 4, "path": path} | settings)
    save_oracle(oracle, "oracle.json")
    return load_oracle("oracle.json")


def rows(texts: list[str], length: int = 4) -> np.ndarray:
    return np.array([[DNA.index(c) for c in text] + [-1] * (length - len(text)) for text in texts])


@pytest.mark.parametrize("parquet", [False, True])
def test_a_complete_landscape(parquet):
    oracle = table({"sequence": TEXTS, "score": SCORES} if parquet else None)
    order = np.random.default_rng(1).permutation(256)
    np.testing.assert_array_equal(oracle(rows([TEXTS[i] for i in order])), SCORES[order])
    assert oracle(rows(TEXTS)[:0]).tolist() == []
    assert oracle.optimum == SCORES.max()
    assert oracle.deterministic
    assert Budget(oracle)(rows(TEXTS[:3])).tolist() == SCORES[:3].tolist()
    assert not Path("oracle.patience.json").exists()
    assert str(Path.cwd()) not in Path("oracle.json").read_text()


def test_the_lowest_is_best_and_some_are_not_feasible():
    content = "dG;ok;variant\n".replace(";", ",") + "-2.5,yes,AAAA\n,no,CCCC\n3,TRUE,GGGG\n9,0,TTTT\n"
    names = {"sequence_column": "variant", "score_column": "dG", "feasible_column": "ok", "missing": "infeasible"}
    oracle = table(content, maximize=False, **names)
    assert oracle(rows(["AAAA", "CCCC", "GGGG", "TTTT", "ACGT"])).tolist() == [2.5, -np.inf, -3, -np.inf, -np.inf]
    assert oracle.optimum == 2.5


def test_lengths_that_differ():
    oracle = table("sequence,score\nAC,1\nACGT,2\nACG,3\n", length=[2, 4], missing="infeasible")
    assert oracle(rows(["ACG", "AC", "ACGT", "AA"])).tolist() == [3, 1, 2, -np.inf]


def test_letters_of_several_characters():
    oracle = table("sequence,score\nhi lo,1\nlo lo,2\n", alphabet=["lo", "hi"], length=2, missing="infeasible")
    assert oracle(np.array([[1, 0], [0, 0], [1, 1]])).tolist() == [1, 2, -np.inf]
    assert table("sequence,score\n0 1,7\n", alphabet=2, length=2)(np.array([[0, 1]])).tolist() == [7]


def test_what_is_missing_is_an_error_where_that_is_said():
    oracle = table("sequence,score\nAAAA,1\n", missing="error")
    with pytest.raises(
        OracleError, match=r"mine\.csv has no score of 'CCCC' \(2 of 3 asked for are missing\).*missing: infeasible"
    ):
        oracle(rows(["AAAA", "CCCC", "GGGG"]))


def test_a_table_that_changed_is_refused_and_one_that_is_gone():
    oracle = table()
    fingerprint = oracle.fingerprint
    assert table().fingerprint == fingerprint
    Path("mine.csv").write_text("sequence,score\nAAAA,1\n")
    with pytest.raises(OracleError, match=r"mine\.csv has changed since the oracle was drawn"):
        load_oracle("oracle.json")(rows(["AAAA"]))
    Path("mine.csv").unlink()
    with pytest.raises(ConfigError, match=r"there is no table mine\.csv"):
        load_oracle("oracle.json")(rows(["AAAA"]))
    assert load_oracle("oracle.json").domain.fingerprint == fingerprint
    assert table("sequence,score\nAAAA,1\n").fingerprint != fingerprint


@pytest.mark.parametrize(
    ("content", "settings", "words"),
    [
        ("sequence,score\nAAAA,1\nAAAA,2\n", {}, "two scores of 'AAAA', in line 2 and line 3"),
        ("sequence,score\nAAAA,1\nAAXA,2\n", {}, "line 3: sequence: 'AAXA' has the letter 'X'"),
        ("sequence,score\nAAAA,1\nAAA,2\n", {}, "line 3: sequence: 'AAA' has 3 elements; sequences have 4"),
        ("sequence,score\nAAAA,1\nCCCC,high\n", {}, "line 3: score is 'high', which is no number"),
        ("sequence,score\nAAAA,1\nCCCC,inf\n", {}, "line 3: score is inf; scores are finite"),
        ("sequence,score\nAAAA,1\nCCCC,\n", {}, "line 3: score is None; scores are finite"),
        ("sequence,score\nAAAA,1\n", {"score_column": "dG"}, "has no column 'dG'; it has sequence, score"),
        ("sequence,score\n", {}, "has no row"),
        ("sequence,score\nAAAA,1,2\n", {}, r"mine\.csv cannot be read"),
        (
            "sequence,score,ok\nAAAA,1,yes\nCCCC,1,perhaps\n",
            {"feasible_column": "ok"},
            "line 3: ok is 'perhaps'; say yes or no",
        ),
        (None, {"missing": "zero"}, "missing is 'zero'; say infeasible, or error"),
        (None, {"repeats": 2}, "a table always says the same"),
        ({"sequence": [1, 2], "score": [1, 2]}, {}, "sequence holds int64; sequences are text"),
        ({"sequence": ["AAAA", None], "score": [1, 2]}, {}, "row 1 has no sequence"),
    ],
)
def test_a_table_that_is_wrong(content, settings, words):
    with pytest.raises(LlomeError, match=words):
        table(content, **settings)(rows(["AAAA"]))
