"""`llome import` and `llome export` through the command line: what goes in comes out, deduplicated, checked and counted."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.tables import Labeled, Meta, Proposals


@pytest.fixture
def oracle(at_root: Path, tmp_path: Path) -> Path:
    out = tmp_path / "oracle.json"
    assert main(["oracle", "--spec", "configs/oracles/tiny.yaml", "--out", str(out)]) == 0
    return out


def run_import(oracle: Path, table: Path, *args: str) -> int:
    out = oracle.parent / "seed" / "labeled.parquet"
    return main(["import", "--oracle", str(oracle), "--table", str(table), "--out", str(out), *args])


def test_labels_are_taken_over_and_each_counts(
    oracle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [[0] * 12, [1] * 12, [2] * 12]
    text = [" ".join(map(str, row)) for row in rows]
    said = [
        (text[1], "0.5"),
        (text[0], "1"),
        (text[1], "0.7"),
        (text[2], "-inf"),
        (text[2], "3"),
        (text[0], "-inf"),
        (text[0], "2"),
    ]
    table = tmp_path / "mine.csv"
    table.write_text("sequence,score\n" + "".join(f"{s},{v}\n" for s, v in said))
    assert run_import(oracle, table) == 0
    labeled = Labeled.read(tmp_path / "seed" / "labeled.parquet")
    assert labeled.sequence.tolist() == [rows[1], rows[0], rows[2]]
    np.testing.assert_allclose(labeled.score, [0.6, 1.5, -np.inf], rtol=1e-15)  # half infeasible: infeasible
    assert (labeled.query.tolist(), labeled.meta.spent, set(labeled.origin)) == ([0, 1, 3], 7, {"table"})
    assert labeled.meta.facts == {"rows": 7, "repeated": 4, "feasible": 2}
    printed = capsys.readouterr().out
    assert "3 sequences" in printed
    assert "4 rows repeat a sequence" in printed
    assert "2 feasible, best 1.5" in printed


def test_exported_and_imported_again_it_is_the_same(oracle: Path, tmp_path: Path) -> None:
    assert (
        main(["seed", "--config", "configs/seed/tiny.yaml", "--oracle", str(oracle), "--out", str(tmp_path / "ga")])
        == 0
    )
    seeds = Labeled.read(tmp_path / "ga" / "labeled.parquet")
    for ending in ("csv", "parquet", "fasta"):
        mine = tmp_path / f"mine.{ending}"
        assert main(["export", "--table", str(tmp_path / "ga" / "labeled.parquet"), "--out", str(mine)]) == 0
        assert run_import(oracle, mine, "--feasible_column", "feasible") == 0
        found = Labeled.read(tmp_path / "seed" / "labeled.parquet")
        assert found.meta.domain == seeds.meta.domain
        assert dict(zip(map(bytes, found.sequence), found.score, strict=True)) == dict(
            zip(map(bytes, seeds.sequence), seeds.score, strict=True)
        )


def test_a_minimised_score_goes_out_in_its_own_sense(tmp_path: Path) -> None:
    domain = Domain(4, 3, "print", letters=tuple("ACGT"), maximize=False)
    sequence = np.array([[0, 1, 2], [3, 3, 3], [1, 1, 1]], dtype=np.int16)
    table = Labeled(
        meta=Meta(domain, spent=3),
        sequence=sequence,
        score=np.array([2.5, -np.inf, 7.0]),
        query=np.arange(3),
        round=np.ones(3, dtype=np.int32),
        origin=np.full(3, "sft1", dtype=object),
    )
    table.write(tmp_path / "labeled.parquet")
    assert main(["export", "--table", str(tmp_path / "labeled.parquet"), "--out", str(tmp_path / "out.csv")]) == 0
    header, *lines = (tmp_path / "out.csv").read_text().replace('"', "").splitlines()
    assert header == "sequence,score,feasible,query,round,origin"
    assert lines == ["CCC,-7,yes,2,1,sft1", "ACG,-2.5,yes,0,1,sft1", "TTT,,no,1,1,sft1"]
    args = [
        "export",
        "--table",
        str(tmp_path / "labeled.parquet"),
        "--out",
        str(tmp_path / "best.fasta"),
        "--best",
        "1",
    ]
    assert main(args) == 0
    assert (tmp_path / "best.fasta").read_text() == ">0 score=-7.0 feasible=yes query=2 round=1 origin=sft1\nCCC\n"


def test_proposals_have_no_score_to_be_best_in(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    domain = Domain(4, 2, "print", letters=tuple("ACGT"))
    one = np.zeros(1)
    Proposals(
        meta=Meta(domain),
        sequence=np.array([[0, 1]], dtype=np.int16),
        source=np.array([[0, 0]], dtype=np.int16),
        trajectory=one.astype(np.int32),
        step=one.astype(np.int32),
        temperature=one.astype(np.float32),
        logp_mean=one - 0.5,
        logp_sum=one - 1.5,
        parsed=one == 0,
    ).write(tmp_path / "proposals.parquet")
    args = ["export", "--table", str(tmp_path / "proposals.parquet"), "--out", str(tmp_path / "out.csv")]
    assert main([*args, "--best", "3"]) == 2
    assert "has no scores" in capsys.readouterr().err
    assert main(args) == 0
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith('"AC","AA"')


@pytest.mark.parametrize(
    ("text", "said"),
    [("sequence,score\n", "holds no sequence"), ("sequence,score\n1 2,x\n", "2 faults: line 2: '1 2' has length 2")],
)
def test_a_table_that_cannot_be_taken_leaves_nothing(
    oracle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "mine.csv").write_text(text)
    assert run_import(oracle, tmp_path / "mine.csv") == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "seed" / "labeled.parquet").exists()
