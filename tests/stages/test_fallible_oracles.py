"""What fails is no label, from the first stage to the last: seed, label, gather, filter and summarize's counts."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from llome.cli import main
from llome.domain import Domain
from llome.provenance import hash_file
from llome.reporting.counts import count_labels
from llome.scoring import load_oracle, make_oracle
from llome.tables import Failed, Labeled, Meta, Proposals, Selected

FIRST = 10
SCRIPT = """
import json, sys
for line in sys.stdin:
    asked = json.loads(line)
    text = asked["sequence"]
    open("asked.log", "a").write(text + "\\n")
    print(json.dumps({"id": asked["id"], "score": None if "GG" in text else text.count("C"), "message": "GG sticks"}), flush=True)
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def problem(script: str = SCRIPT, **settings) -> Domain:
    Path("score.py").write_text(script)
    spec = {
        "name": "command",
        "alphabet": "dna",
        "length": 6,
        "command": [sys.executable, "-S", "score.py"],
        "start": "ACACAC",
    }
    Path("oracle.yaml").write_text(yaml.safe_dump(spec | settings))
    assert main(["oracle", "--spec", "oracle.yaml", "--out", "oracle.json"]) == 0
    return load_oracle("oracle.json").domain


def sequences(count: int) -> np.ndarray:
    numbers = np.random.default_rng(0).permutation(4**6)[:count]
    return (numbers[:, None] // 4 ** np.arange(6) % 4).astype(np.int16)


def sticky(table: np.ndarray) -> np.ndarray:
    return ((table[:, 1:] == 2) & (table[:, :-1] == 2)).any(axis=1)


def candidates(domain: Domain, count: int = 60) -> np.ndarray:
    rows = sequences(count + 1)
    origin = np.array(["ga"], dtype=object)
    seed = Labeled(Meta(domain, spent=FIRST), rows[:1], np.ones(1), np.zeros(1, int), np.ones(1, np.int32), origin)
    seed.write("seed.parquet")
    Selected(Meta(domain), rows[1:], np.repeat(rows[:1], count, axis=0), np.zeros(count)).write("selected.parquet")
    return rows[1:]


def label(out: str, *more: str) -> int:
    files = ["--oracle", "oracle.json", "--selected", "selected.parquet", "--parent", "seed.parquet"]
    return main(["label", *files, "--history", "sft1", "--out", out, *more])


@pytest.mark.parametrize("settings", [{}, {"repeats": 3}, {"retries": 0}, {"repeats": 2, "retries": 2}])
def test_labels_in_parts_joined_are_the_whole_to_the_byte(settings, capsys):
    rows = candidates(problem(**settings))
    assert label("whole.parquet", "--batch_size", "7") == 0
    table, bad, repeats = Labeled.read("whole.parquet"), sticky(rows), settings.get("repeats", 1)
    assert f"{bad.sum()} of 60 sequences failed, the first with: GG sticks" in capsys.readouterr().out
    np.testing.assert_array_equal(table.sequence, rows[~bad])
    np.testing.assert_array_equal(table.score, (rows[~bad] == 1).sum(axis=1))
    np.testing.assert_array_equal(table.failed.sequence, rows[bad])
    assert set(table.failed.message) == {"GG sticks"}
    assert table.measurements.shape == (len(table), repeats if repeats > 1 else 0)
    assert table.meta.spent == FIRST + 60 * repeats + bad.sum() * repeats * settings.get("retries", 1)
    assert sorted([*table.query, *table.failed.query]) == list(range(FIRST, FIRST + 60))
    for number in (1, 2, 3):
        assert label(f"{number}.parquet", "--shard", f"{number}/3") == 0
    assert main(["gather", "--parts", "2.parquet", "3.parquet", "1.parquet", "--out", "joined.parquet"]) == 0
    assert Path("joined.parquet").read_bytes() == Path("whole.parquet").read_bytes()
    Labeled.read("whole.parquet").write("again.parquet")
    assert Path("again.parquet").read_bytes() == Path("whole.parquet").read_bytes()


def test_the_budget_and_the_rounds_are_hard_stops(capsys):
    rows = candidates(problem(retries=5))
    assert label("a.parquet", "--round_budget", "59") == 2
    assert label("a.parquet", "--budget", "69") == 2
    assert not Path("asked.log").exists()
    assert label("a.parquet", "--round_budget", "63") == 0
    assert len(Path("asked.log").read_text().splitlines()) == 63
    assert Labeled.read("a.parquet").meta.spent == FIRST + 63
    Path("asked.log").unlink()
    for number in (1, 2):
        assert label(f"{number}.parquet", "--shard", f"{number}/2", "--budget", str(FIRST + 63)) == 0
    assert len(Path("asked.log").read_text().splitlines()) == 63
    assert sticky(rows).sum() > 3


def test_all_failed_is_no_table_and_is_asked_again_when_it_is_mended(capsys):
    candidates(problem(SCRIPT.replace('"GG" in text', "True")), 5)
    assert label("a.parquet") == 2
    assert "all 5 sequences failed, the first with: GG sticks; mend the oracle" in capsys.readouterr().err
    assert not Path("a.parquet").exists()
    Path("score.py").write_text(SCRIPT)
    assert label("a.parquet", "--budget", str(FIRST + 14)) == 2
    assert "calls were spent on an oracle that answered nothing, and 5 more do not fit" in capsys.readouterr().err
    assert label("a.parquet") == 0
    assert len(Labeled.read("a.parquet")) > 0
    assert Labeled.read("a.parquet").meta.spent == FIRST + 15 + len(Labeled.read("a.parquet").failed)


def test_what_failed_is_not_selected_again():
    domain = problem()
    rows = candidates(domain, 9)
    origin = np.array(["ga"] * 3, dtype=object)
    failed = Failed(rows[3:5], np.arange(3, 5), np.ones(2, np.int32), origin[:2], np.array(["no", "way"], dtype=object))
    Labeled(
        Meta(domain, spent=5), rows[:3], np.arange(3.0), np.arange(3), np.ones(3, np.int32), origin, failed=failed
    ).write("l.parquet")
    n, zeros = np.arange(9, dtype=np.int32), np.zeros(9)
    source = np.repeat(rows[:1], 9, axis=0)
    Proposals(Meta(domain, spent=5), rows, source, n, 0 * n, zeros.astype(np.float32), zeros, zeros, zeros == 0).write(
        "p.parquet"
    )
    options = ["--out", "s.parquet", "--k", "9", "--likelihood_quantile", "0"]
    assert main(["filter", "--proposals", "p.parquet", "--labeled", "l.parquet", *options]) == 0
    assert {row.tobytes() for row in Selected.read("s.parquet").sequence} == {row.tobytes() for row in rows[5:]}
    counts = count_labels([Labeled.read("l.parquet")], None)
    assert (counts["labeled"], counts["failed"], counts["regret"], counts["mean"]) == (3, 2, None, 1.0)


def test_the_genetic_algorithm_on_an_oracle_that_fails(capsys):
    problem()
    small = ["--population", "30", "--mutation_probability", "0.2", "--random_seed", "1"]
    assert main(["seed", "--oracle", "oracle.json", "--out", "whole", "--rounds", "3", *small]) == 0
    table = Labeled.read("whole/labeled.parquet")
    assert "sequences failed, the last with: GG sticks" in capsys.readouterr().out
    assert len(table.failed) > 0
    assert sticky(table.failed.sequence).all()
    assert not sticky(table.sequence).any()
    np.testing.assert_array_equal(table.score, (table.sequence == 1).sum(axis=1))
    failures = sum(generation.get("failed", 0) for generation in table.meta.facts["rounds"])
    assert table.meta.spent == 90 + failures == table.meta.facts["rounds"][-1]["counted"]
    assert table.meta.spent == len(Path("asked.log").read_text().splitlines())
    assert main(["seed", "--oracle", "oracle.json", "--out", "two", "--rounds", "2", *small]) == 0
    assert (
        main(["seed", "--oracle", "oracle.json", "--out", "three", "--rounds", "3", *small, "--resume_from", "two"])
        == 0
    )
    carried = Labeled.read("three/labeled.parquet")
    for name, column in table.columns.items():
        np.testing.assert_array_equal(carried.columns[name], column)
    np.testing.assert_array_equal(carried.failed.sequence, table.failed.sequence)
    assert carried.meta.facts == table.meta.facts


def test_retries_leave_the_later_rounds_what_they_need():
    problem(retries=9)
    small = ["--population", "30", "--mutation_probability", "0.2", "--random_seed", "1", "--rounds", "3"]
    assert main(["seed", "--oracle", "oracle.json", "--out", "exact", *small, "--budget", "90"]) == 0
    assert Labeled.read("exact/labeled.parquet").meta.spent == 90
    assert main(["seed", "--oracle", "oracle.json", "--out", "more", *small, "--budget", "93"]) == 0
    assert Labeled.read("more/labeled.parquet").meta.spent == 93


def test_a_table_with_failures_holds_what_it_says():
    domain = problem()
    rows = sequences(4)
    origin = np.array(["ga"] * 2, dtype=object)
    failed = Failed(rows[2:], np.array([0, 3]), np.ones(2, np.int32), origin, np.array(["no", "way"], dtype=object))
    measured = np.array([[1.0, 3.0, np.nan], [-np.inf, 2.0, -np.inf]])
    score = np.array([2.0, -np.inf])
    table = Labeled(
        Meta(domain, spent=9), rows[:2], score, np.array([1, 2]), np.ones(2, np.int32), origin, measured, failed
    )
    table.write("a.parquet")
    read = Labeled.read("a.parquet")
    np.testing.assert_array_equal(read.measurements, measured)
    assert read.failed.message.tolist() == ["no", "way"]
    assert (read.failed.query.tolist(), read.query.tolist(), len(read)) == ([0, 3], [1, 2], 2)
    assert len(read.take(np.array([1])).measurements) == 1
    import pyarrow.parquet as pq

    disk = pq.read_table("a.parquet").to_pydict()
    assert disk["score"] == [None, 2.0, -np.inf, None]
    assert disk["message"] == ["no", None, None, "way"]
    assert disk["measurements"] == [[], [1.0, 3.0], [-np.inf, 2.0, -np.inf], []]
    from dataclasses import replace

    from llome.errors import TableError

    with pytest.raises(TableError, match="duplicate"):
        replace(table, failed=replace(failed, sequence=rows[1:3])).write("b.parquet")
    with pytest.raises(TableError, match="queries run to 3, but only 3"):
        replace(table, meta=Meta(domain, spent=3)).write("b.parquet")


def test_a_program_that_changes_is_told(capsys):
    domain = problem()
    candidates(domain)
    assert label("one.parquet") == 0
    program = Labeled.read("one.parquet").meta.facts["program"]
    assert program == {"score.py": hash_file("score.py")}
    Path("seed.parquet").unlink()
    Labeled.read("one.parquet").write("seed.parquet")
    again = sequences(80)[61:]
    Selected(Meta(domain), again, again, np.zeros(len(again))).write("selected.parquet")
    capsys.readouterr()
    assert label("two.parquet") == 0
    assert "changed" not in capsys.readouterr().out
    Path("score.py").write_text(SCRIPT + "\n# better\n")
    assert label("three.parquet") == 0
    assert "warning: score.py changed since the round before was labelled" in capsys.readouterr().out
    assert Labeled.read("three.parquet").meta.facts["program"] != program


def test_parts_that_two_versions_of_a_program_scored_name_both():
    candidates(problem())
    assert label("one.parquet", "--shard", "1/2") == 0
    first = hash_file("score.py")
    Path("score.py").write_text(SCRIPT + "\n# better\n")
    assert label("two.parquet", "--shard", "2/2") == 0
    assert main(["gather", "--parts", "one.parquet", "two.parquet", "--out", "whole.parquet"]) == 0
    both = Labeled.read("whole.parquet").meta.facts["program"]["score.py"]
    assert sorted(both.split()) == sorted([first, hash_file("score.py")])


def test_the_module_of_a_function_is_its_program():
    Path("mine.py").write_text("def score(texts):\n    return [t.count('C') for t in texts]\n")
    settings = {"name": "python", "alphabet": "dna", "length": 4, "function": "mine:score"}
    assert make_oracle(settings).program == {"mine.py": hash_file("mine.py")}
    command = {"name": "command", "alphabet": "dna", "length": 4, "command": [sys.executable, "missing.py", "data.csv"]}
    assert make_oracle(command).program == {}
