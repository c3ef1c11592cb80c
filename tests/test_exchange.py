"""People's files of sequences: read whole or not at all, and written so that they read back the same."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llome.domain import PAD, Domain
from llome.errors import ConfigError, TableError
from llome.exchange import read_scored, write_rows

DNA = Domain(4, 4, "print", letters=tuple("ACGT"))
FILES = ("mine.csv", "mine.parquet", "mine.fasta")


@pytest.mark.parametrize("name", FILES)
def test_what_is_written_reads_back(tmp_path: Path, name: str) -> None:
    sequences, scores = ["ACGT", "GGGG", "TTTT"], [0.1 + 0.2, -3.5, None]
    write_rows(tmp_path / name, {"sequence": sequences, "score": scores, "feasible": ["yes", "yes", "no"]})
    found, values = read_scored(tmp_path / name, DNA, feasible_column="feasible")
    assert found.tolist() == [[0, 1, 2, 3], [2] * 4, [3] * 4]
    assert found.dtype == np.int16
    assert values.tolist() == [0.1 + 0.2, -3.5, -np.inf]


def test_columns_of_other_names_small_letters_and_what_is_minimised(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("variant,dG\nacgt,-2.5\nAAAA,inf\n")
    domain = Domain(4, 4, "print", letters=tuple("ACGT"), maximize=False)
    sequences, scores = read_scored(file, domain, sequence_column="variant", score_column="dG")
    assert sequences[0].tolist() == [0, 1, 2, 3]
    assert scores.tolist() == [2.5, -np.inf]


def test_lengths_may_differ_where_the_problem_says_so(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("sequence,score\nAC,1\nACGT,2\n")
    sequences, _ = read_scored(file, Domain(4, 4, "print", letters=tuple("ACGT"), shortest=2))
    assert sequences.tolist() == [[0, 1, PAD, PAD], [0, 1, 2, 3]]
    with pytest.raises(TableError, match=r"line 2: 'AC' has length 2, expected 3 to 4"):
        read_scored(file, Domain(4, 4, "print", letters=tuple("ACGT"), shortest=3))


def test_every_fault_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text(
        "sequence,score,ok\nACGT,0.5,yes\nACGU,0.5,yes\nACG,0.5,yes\nAAAA,high,yes\nCCCC,,yes\nGGGG,1,maybe\nTTTT,nan,yes\nTTTA,,no\n"
    )
    with pytest.raises(TableError) as caught:
        read_scored(file, DNA, feasible_column="ok")
    message = str(caught.value)
    for said in (
        "6 faults",
        "line 3: 'ACGU' has the letter 'U'",
        "line 4: 'ACG' has length 3, expected 4",
        "line 5: score is 'high'",
        "line 6: score is ''",
        "line 7: ok is 'maybe', expected yes or no",
        "line 8: score is 'nan'",
        "nothing was taken",
    ):
        assert said in message
    assert "line 2" not in message
    assert "line 9" not in message


def test_many_faults_are_counted(tmp_path: Path) -> None:
    file = tmp_path / "mine.csv"
    file.write_text("sequence,score\n" + "NNNN,1\n" * 30)
    with pytest.raises(TableError, match=r"30 faults.*line 9: .*and 22 more"):
        read_scored(file, DNA)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("mine.csv", "seq,score\nACGT,1\n", "has no column 'sequence', it has seq, score"),
        ("mine.csv", "sequence,score\nACGT,1,2\n", "cannot be read"),
        ("mine.csv", "", "cannot be read"),
        ("mine.parquet", "not parquet", "cannot be read"),
        ("mine.fasta", "ACGT\n", "line 1 stands before the first header"),
        ("mine.fasta", ">a\nACGT\n", "has no column 'score'"),
    ],
)
def test_files_that_are_not_what_they_should_be(tmp_path: Path, name: str, text: str, said: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(TableError, match=said):
        read_scored(tmp_path / name, DNA)


def test_files_that_are_missing_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(TableError, match="does not exist"):
        read_scored(tmp_path / "mine.csv", DNA)
    with pytest.raises(ConfigError, match=r"ends in \.csv, \.parquet"):
        read_scored(tmp_path / "mine.xlsx", DNA)
    with pytest.raises(ConfigError, match=r"ends in \.csv, \.parquet"):
        write_rows(tmp_path / "mine.xlsx", {"sequence": []})
    assert not list(tmp_path.iterdir())


def test_a_sequence_over_several_lines_of_fasta(tmp_path: Path) -> None:
    (tmp_path / "mine.fa").write_text(">first score=1.5 round=2\nAC\nGT\n\n>second score=-inf\nTTTT\n")
    sequences, scores = read_scored(tmp_path / "mine.fa", DNA)
    assert (sequences.tolist(), scores.tolist()) == ([[0, 1, 2, 3], [3] * 4], [1.5, -np.inf])


def test_scores_that_a_parquet_file_holds_as_numbers(tmp_path: Path) -> None:
    pq.write_table(pa.table({"sequence": ["ACGT", "AAAA"], "score": [1, None]}), tmp_path / "mine.parquet")
    with pytest.raises(TableError, match="line 2: score is ''"):
        read_scored(tmp_path / "mine.parquet", DNA)


def test_nothing_in_a_file_is_code(tmp_path: Path) -> None:
    (tmp_path / "mine.csv").write_text("sequence,score\nACGT,__import__('os').abort()\n")
    with pytest.raises(TableError, match="expected a number"):
        read_scored(tmp_path / "mine.csv", DNA)
