"""`llome verify`: silent on a run that holds, and exactly one line where exactly one thing was changed."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_run import write_run

from llome.cli import main
from llome.domain import Domain
from llome.provenance import hash_file, hash_json, read_json, write_json
from llome.tables import Failed, Labeled

OTHER = Domain(5, 3, "fedcba9876543210")


def verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit code, and the lines, paths without the folder."""
    code = main(["verify", str(folder)])
    captured = capsys.readouterr()
    assert captured.err == ""
    return code, captured.out.replace(f"{folder}/", "").splitlines()


def test_a_run_that_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path)
    # oracle, 2 tables of the genetic algorithm, 3 policies of 2 files, 2 rounds of 3 tables and a summary
    assert verify(tmp_path, capsys) == (0, ["17 files checked, 0 do not hold (scores were not asked for again)"])


def with_meta(**changes: Any) -> Callable[[Any], Any]:
    return lambda table: replace(table, meta=replace(table.meta, **changes))


def column(name: str, row: int, value: Any) -> Callable[[Any], Any]:
    def change(table: Any) -> Any:
        values = getattr(table, name).copy()
        values[row] = value
        return replace(table, **{name: values})

    return change


def swapped(table: Any) -> Any:
    return replace(table, sequence=table.sequence[::-1])


BROKEN: list[tuple[str, Callable[[Any], Any], str]] = [
    ("oracle", lambda spec: {**spec, "kind": "other"}, "oracle.json: expected fingerprint"),
    (
        "seed/labeled",
        column("query", 2, 1),
        "r0/seed/labeled.parquet: expected queries that rise from row to row, found query 1 in row 2",
    ),
    (
        "ga/labeled",
        with_meta(facts={"rounds": [{"counted": 8}]}),
        "r0/ga/labeled.parquet: expected 8 calls counted by its generations, found 9 spent",
    ),
    (
        "base/model",
        lambda card: replace(card, data="0" * 16),
        "r0/base/model/llome.json: expected made from r0/seed/labeled.parquet of hash 0000",
    ),
    (
        "sft2/model",
        lambda card: replace(card, parent="0" * 16),
        "r0/sft2/model/llome.json: expected made from r0/sft1/model of hash 0000000000000000",
    ),
    ("sft2/model", lambda card: replace(card, data="0" * 16), "r0/sft2/model/llome.json: expected labels of hash"),
    ("sft1/model", lambda card: replace(card, domain=OTHER), "r0/sft1/model/llome.json: expected oracle"),
    (
        "sft2/model",
        lambda card: replace(card, files={"model.safetensors": [15, "0" * 16]}),
        "r0/sft2/model/model.safetensors: expected hash 0000",
    ),
    (
        "sft2/proposals",
        lambda t: with_meta(inputs={**t.meta.inputs, "model": "0" * 16})(t),
        "r0/sft2/proposals.parquet: expected made from r0/sft2/model of hash 0000",
    ),
    (
        "sft2/proposals",
        with_meta(spent=6),
        "r0/sft2/proposals.parquet: expected 7 oracle calls counted so far, found 6",
    ),
    ("sft2/selected", with_meta(domain=OTHER), "r0/sft2/selected.parquet: expected oracle"),
    (
        "sft2/selected",
        lambda t: with_meta(inputs={**t.meta.inputs, "labeled": "0" * 16})(t),
        "r0/sft2/selected.parquet: expected made from r0/seed/labeled.parquet to r0/sft1/labeled.parquet of hash 0000",
    ),
    (
        "sft2/selected",
        column("sequence", 1, [4, 4, 4]),
        "r0/sft2/selected.parquet: expected parsed proposals of proposals.parquet, found [4, 4, 4] in row 1 (1 such in all)",
    ),
    ("sft2/labeled", with_meta(spent=10), "r0/sft2/labeled.parquet: expected 7 + 2 = 9 calls spent, found 10"),
    ("sft2/labeled", column("query", 1, 6), "r0/sft2/labeled.parquet: expected query 8 in row 1, found 6"),
    (
        "sft2/labeled",
        column("origin", 1, "marge1"),
        "r0/sft2/labeled.parquet: expected labels of 'sft2', found labels of 'marge1'",
    ),
    ("sft2/labeled", column("round", 1, 3), "r0/sft2/labeled.parquet: expected labels of round 2, found of round 3"),
    (
        "sft2/labeled",
        swapped,
        "r0/sft2/labeled.parquet: expected the 2 candidates of selected.parquet, in order, found [0, 4, 1] in row 0",
    ),
    (
        "sft1/summary",
        lambda facts: {**facts, "novel": 99},
        "r0/sft1/summary.json: expected novel 3 (counted from the tables), found 99",
    ),
    (
        "sft1/summary",
        lambda facts: {**facts, "mean": 0.3},
        "r0/sft1/summary.json: expected mean 0.25 (counted from the tables), found 0.3",
    ),
    (
        "sft2/summary",
        lambda facts: {**facts, "reward_max": 0.25},
        "r0/sft2/summary.json: expected reward_max 0.5 (counted from the tables), found 0.25",
    ),
    (
        "sft2/summary",
        lambda facts: {**facts, "counted": 8},
        "r0/sft2/summary.json: expected counted 9 (counted from the tables), found 8",
    ),
]


@pytest.mark.parametrize(("name", "change", "line"), BROKEN, ids=[line.split(", found")[0] for _, _, line in BROKEN])
def test_one_thing_wrong_is_one_line(
    name: str, change: Callable[[Any], Any], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path, {name: change})
    code, lines = verify(tmp_path, capsys)
    assert code == 1
    assert lines[0].startswith(line), lines
    assert "; " in lines[0]  # a remedy
    assert lines[1:] == ["17 files checked, 1 do not hold (scores were not asked for again)"]


def test_a_label_that_was_known_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The seed's second sequence is proposed, chosen and labelled once more."""
    again = column("sequence", 0, [0, 0, 1])
    write_run(tmp_path, {"sft2/proposals": again, "sft2/selected": again})
    code, lines = verify(tmp_path, capsys)
    said = "expected sequences that no earlier round labelled, found [0, 0, 1] in row 0 (1 such in all)"
    assert code == 1
    assert [line.split(";")[0] for line in lines[:-1]] == [
        f"r0/sft2/{name}.parquet: {said}" for name in ("selected", "labeled")
    ]


def test_a_table_of_an_earlier_round_that_was_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All that was made from it says so; its own records still hold, but for its summary."""
    folder = write_run(tmp_path)
    file = folder / "sft1" / "labeled.parquet"
    column("score", 0, 0.75)(Labeled.read(file)).write(file)
    code, lines = verify(tmp_path, capsys)
    assert code == 1
    changed = {line.split(":")[0] for line in lines[:-1]}
    tables = {f"r0/sft2/{name}.parquet" for name in ("proposals", "selected", "labeled")}
    assert changed == {*tables, "r0/sft2/model/llome.json", "r0/sft1/summary.json"}
    assert f"found hash {hash_file(file)}" in next(line for line in lines if line.startswith("r0/sft2/labeled"))


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path)
    table, weights = folder / "sft2" / "labeled.parquet", folder / "sft2" / "model" / "model.safetensors"
    table.write_bytes(table.read_bytes()[:-20])
    weights.write_bytes(weights.read_bytes()[:-1])
    code, lines = verify(tmp_path, capsys)
    assert code == 1
    assert [line.partition(": ")[0] for line in lines[:-1]] == ["r0/sft2/model/llome.json", "r0/sft2/labeled.parquet"]
    assert "has 14 bytes instead of 15; delete the directory" in lines[0]
    assert "is corrupt or truncated" in lines[1]


def test_what_is_not_run_yet_is_said_and_no_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path)
    for name in ("labeled.parquet", "summary.json"):
        (folder / "sft2" / name).unlink()
    (folder / "sft2-dpo1").mkdir()
    (tmp_path / "r1").mkdir()
    code, lines = verify(tmp_path, capsys)
    assert code == 0
    assert lines == [
        "not run yet: r0/sft2: not finished, it lacks labeled.parquet, summary.json",
        "not run yet: r0/sft2-dpo1: its parent sft2 is not labelled, so it was not checked",
        "not run yet: r1: the seed is not labelled yet",
        "15 files checked, 0 do not hold (scores were not asked for again)",
    ]


def test_labels_of_all_rounds_are_as_good(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """train_on: all."""
    folder = tmp_path / "r0"

    def on_all(card: Any) -> Any:
        files = [folder / name / "labeled.parquet" for name in ("seed", "sft1")]
        return replace(card, data=hash_json([hash_file(file) for file in files]))

    write_run(tmp_path, {"sft2/model": on_all})
    assert verify(tmp_path, capsys)[0] == 0


def test_evolved_candidates_need_be_no_proposals(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def evolved(table: Any) -> Any:
        return with_meta(settings={"evolve": {}})(column("sequence", 1, [4, 4, 4])(table))

    write_run(tmp_path, {"sft2/selected": evolved})
    assert verify(tmp_path, capsys)[0] == 0


@pytest.mark.parametrize(
    ("key", "line"),
    [
        (None, None),
        ("weights", "r0/sft2/surrogate/model.safetensors: expected hash 0000000000000000 (in surrogate.json)"),
        (
            "labeled",
            "r0/sft2/surrogate/surrogate.json: expected made from r0/seed/labeled.parquet to r0/sft1/labeled.parquet",
        ),
    ],
)
def test_a_surrogate(key: str | None, line: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "r0"

    def with_surrogate(table: Any) -> Any:
        surrogate = folder / "sft2" / "surrogate"
        surrogate.mkdir()
        (surrogate / "model.safetensors").write_bytes(b"ensemble")
        known = hash_json([hash_file(folder / name / "labeled.parquet") for name in ("seed", "sft1")])
        said = {"weights": hash_file(surrogate / "model.safetensors"), "labeled": known}
        said |= {} if key is None else {key: "0" * 16}
        card = {"weights": said["weights"], "inputs": {"labeled": said["labeled"], "parent": None}}
        write_json(surrogate / "surrogate.json", card)
        return with_meta(inputs={**table.meta.inputs, "surrogate": hash_file(surrogate)})(table)

    write_run(tmp_path, {"sft2/selected": with_surrogate})
    code, lines = verify(tmp_path, capsys)
    assert code == (key is not None)
    assert lines[-1].startswith(f"19 files checked, {code} do not hold")
    assert line is None or (len(lines) == 2 and lines[0].startswith(line))


def test_a_replicate_and_an_experiment_with_variants(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "run" / "one")
    write_run(tmp_path / "run" / "two", {"sft2/labeled": with_meta(spent=10)})
    assert verify(tmp_path / "run" / "one" / "r0", capsys)[1][-1].startswith("17 files checked, 0 do not hold")
    code, lines = verify(tmp_path / "run", capsys)
    assert (code, lines[0].split(":")[0]) == (1, "two/r0/sft2/labeled.parquet")
    assert lines[1].startswith("34 files checked, 1 do not hold")


def test_a_folder_without_results_is_a_mistake(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "holds no results" in error
    assert error.count("\n") == 1


def test_volatile_records_are_no_part_of_any_hash(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_run(tmp_path)
    file = folder / "sft1" / "summary.json"
    before = hash_file(file)
    write_json(file, read_json(file) | {"made_by": {"train": {"commit": "1" * 40}}, "seconds": {"train": 1.0}})
    assert hash_file(file) == before
    assert verify(tmp_path, capsys)[0] == 0


def test_no_oracle_is_loaded(tmp_path: Path) -> None:
    """Nor torch: this is quick."""
    write_run(tmp_path)
    code = f"import sys; from llome.cli import main; main(['verify', {str(tmp_path)!r}]); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert not {name for name in done.stdout.split() if name.startswith(("llome.scoring", "torch", "lightning"))}


def with_failure(again: int, spent: int, message: str = "no fold") -> Callable[[Any], Any]:
    """The second label of the last round is a failure, attempted `again` times more; so many calls are `spent` in all."""

    def change(table: Any) -> Any:
        row = {name: getattr(table, name)[1:] for name in ("sequence", "query", "round", "origin")}
        failed = Failed(**row, message=np.array([message], dtype=object))
        meta = replace(table.meta, spent=spent, facts={"again": again})
        return replace(table.take(np.array([0])), failed=failed, meta=meta)

    return change


def test_a_run_in_which_sequences_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "good", {"sft2/labeled": with_failure(1, 10)})
    assert verify(tmp_path / "good", capsys)[0] == 0
    write_run(tmp_path / "bad", {"sft2/labeled": with_failure(1, 11)})
    code, lines = verify(tmp_path / "bad", capsys)
    assert (code, len(lines)) == (1, 2)
    assert lines[0].startswith("r0/sft2/labeled.parquet: expected 7 + 3 = 10 calls spent, found 11")


def test_a_run_in_which_the_lab_measured_a_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def part(unmeasured: int) -> Callable[[Any], Any]:
        return lambda table: replace(
            table.take(np.array([0])), meta=replace(table.meta, spent=8, facts={"unmeasured": unmeasured})
        )

    write_run(tmp_path / "good", {"sft2/labeled": part(1)})
    assert verify(tmp_path / "good", capsys)[0] == 0
    write_run(tmp_path / "bad", {"sft2/labeled": part(2)})
    code, lines = verify(tmp_path / "bad", capsys)
    assert code == 1
    assert "expected the 2 candidates of selected.parquet, in order" in lines[0]
