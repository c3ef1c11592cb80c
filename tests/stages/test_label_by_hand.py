"""`llome label` with a laboratory as its oracle; the test plays the scientist, partial plates and mistakes included."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from llome.cli import main
from llome.domain import Domain
from llome.scoring import load_oracle
from llome.tables import Labeled, Meta, Selected

TEXTS = ["AAAA", "CAAA", "CCAA", "CCCA", "CCCC", "ACAC"]
FIRST = 10
"""Calls before this round."""


def rows(texts: list[str]) -> np.ndarray:
    return np.array([["ACGT".index(letter) for letter in text] for text in texts], dtype=np.int16)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem(**settings) -> Domain:
    """Write the oracle, the seed's labels and six candidates."""
    spec = {"name": "manual", "alphabet": "dna", "length": 4, **settings}
    Path("oracle.yaml").write_text(yaml.safe_dump(spec))
    assert main(["oracle", "--spec", "oracle.yaml", "--out", "oracle.json"]) == 0
    domain = load_oracle("oracle.json").domain
    origin = np.array(["mine"], dtype=object)
    seed = Labeled(
        Meta(domain, spent=FIRST), rows(["GGGG"]), np.ones(1), np.zeros(1, int), np.ones(1, np.int32), origin
    )
    seed.write("seed.parquet")
    Selected(Meta(domain), rows(TEXTS), rows(["GGGG"] * 6), np.zeros(6)).write("selected.parquet")
    return domain


def label(*more: str) -> int:
    files = ["--oracle", "oracle.json", "--selected", "selected.parquet", "--parent", "seed.parquet"]
    return main(["label", *files, "--history", "sft1", "--out", "sft1/labeled.parquet", *more])


def asked() -> list[dict[str, str]]:
    with open("sft1/to_label.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def fill(scores: dict[str, str], **changed: str) -> None:
    """Save to_label.csv as labeled.csv with these scores, by sequence; a score that is a word is a message."""
    with open("sft1/labeled.csv", "w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["id", "sequence", "score", "feasible", "message"])
        table.writeheader()
        for row in asked():
            said = scores.get(row["sequence"], "")
            row["message" if said[:1].isalpha() else "score"] = said
            table.writerow(row | {"feasible": changed.get(row["sequence"], "")})


def result() -> Labeled:
    return Labeled.read("sft1/labeled.parquet")


def said(capsys) -> list[str]:
    return capsys.readouterr().err.strip().splitlines()


def test_a_whole_plate(capsys):
    problem()
    assert label() == 3
    (line,) = said(capsys)
    assert line.startswith(
        "llome label: waiting: 6 sequences are to be measured: fill in the score of each in sft1/to_label.csv"
    )
    assert "save it as labeled.csv in the same folder, and run the same command again" in line
    assert [(row["id"], row["sequence"], row["score"]) for row in asked()] == [
        (str(FIRST + i), text, "") for i, text in enumerate(TEXTS)
    ]
    before = Path("sft1/to_label.csv").read_bytes()
    assert label() == 3
    assert Path("sft1/to_label.csv").read_bytes() == before
    fill({text: str(i / 2) for i, text in enumerate(TEXTS)}, CCCC="no")
    assert label() == 0
    table = result()
    np.testing.assert_array_equal(table.sequence, rows(TEXTS))
    assert table.score.tolist() == [0, 0.5, 1, 1.5, -np.inf, 2.5]
    assert table.query.tolist() == list(range(FIRST, FIRST + 6))
    assert (table.meta.spent, len(table.failed), table.meta.facts) == (FIRST + 6, 0, {})
    assert not Path("sft1/to_label.csv").exists()
    assert Path("sft1/labeled.csv").exists()
    whole = Path("sft1/labeled.parquet").read_bytes()
    Path("sft1/labeled.parquet").unlink()
    assert label() == 0
    assert Path("sft1/labeled.parquet").read_bytes() == whole


def test_plate_by_plate(capsys):
    problem(maximize=False)
    assert label() == 3
    fill({"AAAA": "1.5", "CCAA": "did not express", "CCCC": "-2"})
    said(capsys)
    assert label() == 3
    assert "3 sequences are to be measured (3 are measured and kept)" in said(capsys)[0]
    assert [row["sequence"] for row in asked()] == ["CAAA", "CCCA", "ACAC"]
    assert label() == 3  # the old plate again
    fill({"CAAA": "0", "CCCA": "7", "ACAC": "8"})
    assert label() == 0
    table = result()
    assert table.sequence.tolist() == rows([t for t in TEXTS if t != "CCAA"]).tolist()
    assert table.score.tolist() == [-1.5, 0, -7, 2, -8]
    assert table.query.tolist() == [10, 11, 13, 14, 15]
    assert table.failed.sequence.tolist() == rows(["CCAA"]).tolist()
    assert (table.failed.query.tolist(), table.failed.message.tolist()) == ([12], ["did not express"])
    assert table.meta.spent == FIRST + 6


def test_a_later_plate_repeats_contradicts_and_mends(capsys):
    problem()
    assert label() == 3
    fill({"AAAA": "1.5", "CCAA": "broken tube"})
    full = asked()
    assert label() == 3
    plate = {"AAAA": "1.50", "CAAA": "2", "CCAA": "3", "CCCA": "4", "CCCC": "5", "ACAC": "6"}

    def save(scores: dict[str, str]) -> None:
        with open("sft1/labeled.csv", "w", newline="") as file:
            table = csv.DictWriter(file, ["id", "sequence", "score"], extrasaction="ignore")
            table.writeheader()
            table.writerows(row | {"score": scores[row["sequence"]]} for row in full)

    save(plate | {"AAAA": "1.6"})
    said(capsys)
    assert label() == 2
    note, line = said(capsys)
    assert (
        note
        == "labeled.csv, line 2: id 10 has the score 1.6 here, and 1.5 (higher is better) was taken from an earlier plate"
    )
    assert "1 mistake (line 2); nothing was taken from it" in line
    save(plate)
    assert label() == 0
    assert result().score.tolist() == [1.5, 2, 3, 4, 5, 6]
    assert len(result().failed) == 0
    assert result().meta.spent == FIRST + 7  # the tube that broke was a call as well
    assert result().meta.facts == {"again": 1}


def test_every_mistake_is_said_at_once_and_nothing_is_taken(capsys):
    problem()
    assert label() == 3
    text = """id,sequence,score,feasible,message
10,AAAA,1.5,,
11,CAAA,high,,
12,CCAT,1,,
10,AAAA,2,,
99,CCCC,2,,
x,CCCC,2,,
13,CCCA,"0,5",,
14,CCCC,1,maybe,
15,ACAC,1e999,,

15,ACAC,1,2,3,4
"""
    Path("sft1/labeled.csv").write_text(text)
    said(capsys)
    assert label() == 2
    *notes, line = said(capsys)
    assert "has 9 mistakes (line 3, 4, 5, 6, 7, 8, 9, 10, 12); nothing was taken" in line
    for number, words in [
        (3, "id 11: the score 'high' is no number"),
        (4, "id 12 is the sequence 'CCAA', not 'CCAT'"),
        (5, "id 10 stands in line 2 as well"),
        (6, "'99' is the id of no sequence that was asked for in this round (10 to 15)"),
        (7, "'x' is the id of no sequence"),
        (8, "the score '0,5' is no number; the file is separated by commas, so a decimal comma is not taken"),
        (9, "feasible is 'maybe'; say yes or no"),
        (10, "the score is inf"),
        (12, "6 cells under 5 columns; a decimal comma?"),
    ]:
        assert any(note.startswith(f"labeled.csv, line {number}: ") and words in note for note in notes), number
    assert len(notes) == 9
    fill({})
    assert label() == 3
    assert "6 sequences are to be measured: " in said(capsys)[0]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"id,score\n10,1\n", "the column sequence is missing; the columns are id, score"),
        (b"nothing\n", "the column id and sequence and score is missing"),
        (b"id,sequence,score,score\n", "the column score comes twice"),
        ("id,sequence,score\n10,AAAA,1\n".encode("utf-16"), "is no plain text"),
        (b"PK\x03\x04", "is no plain text (a workbook"),
        (b"id;sequence;score\n10;AAAA;1.5\n11;CAAA;0,5\n", "a decimal comma, but line 2 has a decimal point"),
    ],
)
def test_a_plate_that_is_no_table(content, words, capsys):
    problem()
    assert label() == 3
    Path("sft1/labeled.csv").write_bytes(content)
    said(capsys)
    assert label() == 2
    assert words in "\n".join(said(capsys))


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffid,sequence,score\r\n10,AAAA,1.5\r\n11,CAAA,2\r\n".encode(),
        b"id;sequence;score\r\n10;AAAA;1,5\r\n11;CAAA;2\r\n",
        b"ID\tSequence\tScore\n10\tAAAA\t1,5\n11\tCAAA\t2,0\n",
        b'"id","sequence","score","note"\n"10","AAAA","1.5","\xfc"\n"11","CAAA","2",""\n\n\n',
        b"score,id,sequence\n+1.5E0,10, AAAA \n2.,11,CAAA\n",
        "id;sequence;score;message\n10;AAAA;1,5;\n11;CAAA;2;größer\n".encode("cp1252"),
    ],
)
def test_what_spreadsheets_make_of_it_is_read(content):
    problem(wait=False)
    assert label() == 3
    Path("sft1/labeled.csv").write_bytes(content)
    assert label() == 0
    assert result().score.tolist() == [1.5, 2.0]


def test_without_waiting_a_partial_plate_is_enough_and_costs_what_was_measured(capsys):
    problem(wait=False)
    assert label() == 3
    fill({})
    assert label() == 3
    assert "6 sequences are to be measured" in said(capsys)[-1]
    fill({"CAAA": "1", "CCCA": "no DNA", "ACAC": "3"})
    assert label("--budget", str(FIRST + 6), "--round_budget", "6") == 0
    assert said(capsys) == []
    table = result()
    assert table.sequence.tolist() == rows(["CAAA", "ACAC"]).tolist()
    assert table.query.tolist() == [FIRST, FIRST + 2]
    assert table.failed.query.tolist() == [FIRST + 1]
    assert (table.meta.spent, table.meta.facts) == (FIRST + 3, {"unmeasured": 3})


def test_patience_may_change_in_the_middle():
    problem()
    assert label() == 3
    fill({"CAAA": "1"})
    assert label() == 3
    before = Path("oracle.json").read_bytes()
    spec = yaml.safe_load(Path("oracle.yaml").read_text())
    Path("oracle.yaml").write_text(yaml.safe_dump(spec | {"wait": False}))
    assert main(["oracle", "--spec", "oracle.yaml", "--out", "oracle.json"]) == 0
    assert Path("oracle.json").read_bytes() == before
    assert label() == 0
    assert result().score.tolist() == [1]


def test_nobody_measures_for_the_genetic_algorithm_or_in_parts(capsys):
    problem()
    assert main(["seed", "--oracle", "oracle.json", "--out", "seed", "--rounds", "1"]) == 2
    assert "seed: {table: mine.csv}" in said(capsys)[0]
    assert label("--shard", "1/2") == 2
    assert "leave --shard out" in said(capsys)[0]
    assert label("--round_budget", "5") == 2
    assert "round_budget is 5, and the 6 candidates of selected.parquet take 6 calls" in said(capsys)[0]


def test_what_failed_is_left_out_of_an_export_and_said_to_be(capsys):
    problem()
    assert label() == 3
    fill(dict(zip(TEXTS, ["1", "2", "broken", "4", "5", "6"], strict=True)))
    assert label() == 0
    capsys.readouterr()
    assert main(["export", "--table", "sft1/labeled.parquet", "--out", "best.csv"]) == 0
    assert "5 sequences, 1 that failed left out: best.csv" in capsys.readouterr().out
    with open("best.csv", newline="", encoding="utf-8") as file:
        assert [row["score"] for row in csv.DictReader(file)] == ["6", "5", "4", "2", "1"]
    assert main(["export", "--table", "sft1", "--out", "best.csv"]) == 2
    assert "sft1 is a folder; name its tables" in capsys.readouterr().err


DYING = """
import os, signal, sys
from llome.cli import main
left = int(sys.argv[1])
def dying(name):
    call = getattr(os, name)
    def counted(*args, **kwargs):
        global left
        left -= 1
        if left < 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    setattr(os, name, counted)
for name in ("fsync", "replace", "rename", "unlink"):
    dying(name)
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_killed_at_each_write_no_measurement_is_lost_and_none_asked_for_again():
    """Three partial plates. Each run of the stage is killed at its first write, its second, and so on until it gets through.

    Nobody is asked again for what was measured, whatever was on the disk when the stage died.
    """
    problem()
    files = ["--oracle", "oracle.json", "--selected", "selected.parquet", "--parent", "seed.parquet"]
    line = ["label", *files, "--history", "sft1", "--out", "sft1/labeled.parquet"]
    scores = dict(zip(TEXTS, ["0.1", "0.2", "broken", "0.4", "0.5", "0.6"], strict=True))
    kills, measured, ended = 0, set[str](), -9
    for plate in range(4):
        for writes in range(100):
            run = subprocess.run(
                [sys.executable, "-c", DYING, str(writes), *line], capture_output=True, env=os.environ, check=False
            )
            ended = run.returncode
            if ended != -9:
                break
            kills += 1
        assert ended == (0 if plate == 3 else 3), run.stderr
        if ended == 3:
            open_ = {row["sequence"] for row in asked()}
            assert open_ == set(TEXTS) - measured
            now = sorted(open_)[:2]
            fill({text: scores[text] for text in now})
            measured |= set(now)
    assert kills > 10  # as many as there are writes
    table = result()
    found = dict(zip(load_oracle("oracle.json").domain.alphabet.decode(table.sequence), table.score, strict=True))
    assert found == {text: float(score) for text, score in scores.items() if score != "broken"}
    assert table.failed.message.tolist() == ["broken"]
    assert table.meta.spent == FIRST + 6
