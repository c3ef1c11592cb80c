"""Every invariant of a table is checked on write and on read, and a refusal names the file, the row and the value."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from llome.domain import Domain
from llome.errors import TableError
from llome.tables import Labeled, Meta, Proposals, Selected, row_keys, same_problem

DOMAIN = Domain(num_states=4, length=3, fingerprint="f00d")


def labeled(**changes: Any) -> Labeled:
    table = Labeled(
        meta=Meta(DOMAIN, inputs={"oracle": "abc"}, settings={"k": 2}, spent=5, facts={"rounds": [{"round": 1}]}),
        sequence=np.array([[0, 1, 2], [3, 3, 3]], dtype=np.int16),
        score=np.array([0.5, -np.inf]),
        query=np.array([0, 4]),
        round=np.array([1, 1], dtype=np.int32),
        origin=np.array(["ga", "sft1"], dtype=object),
    )
    return replace(table, **changes)


def proposals(**changes: Any) -> Proposals:
    table = Proposals(
        meta=Meta(DOMAIN),
        sequence=np.array([[0, 1, 2], [-1, -1, -1]], dtype=np.int16),
        source=np.array([[0, 1, 1], [0, 1, 1]], dtype=np.int16),
        trajectory=np.array([0, 1], dtype=np.int32),
        step=np.array([0, 0], dtype=np.int32),
        temperature=np.array([0.0, 0.6], dtype=np.float32),
        logp_mean=np.array([-0.1, -2.0]),
        logp_sum=np.array([-0.4, -8.0]),
        parsed=np.array([True, False]),
    )
    return replace(table, **changes)


def selected(**changes: Any) -> Selected:
    table = Selected(
        meta=Meta(DOMAIN),
        sequence=np.array([[0, 1, 2], [0, 0, 0]], dtype=np.int16),
        source=np.array([[0, 1, 1], [0, 1, 1]], dtype=np.int16),
        logp_mean=np.array([-0.1, -2.0]),
    )
    return replace(table, **changes)


@pytest.mark.parametrize("table", [labeled(), proposals(), selected()], ids=lambda t: t.name)
def test_round_trip(tmp_path: Path, table: Any) -> None:
    path = tmp_path / "table.parquet"
    table.write(path)
    back = type(table).read(path)
    assert back.meta == table.meta
    for name, column in table.columns.items():
        np.testing.assert_array_equal(back.columns[name], column)
        assert back.columns[name].dtype == column.dtype
    back.write(tmp_path / "again.parquet")
    assert (tmp_path / "again.parquet").read_bytes() == path.read_bytes()


def test_an_empty_table_round_trips(tmp_path: Path) -> None:
    labeled().take(np.array([], dtype=int)).write(tmp_path / "t.parquet")
    assert len(Labeled.read(tmp_path / "t.parquet")) == 0


def test_tables_without_the_oracle_have_no_score() -> None:
    assert "score" not in proposals().columns
    assert "score" not in selected().columns


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sequence": np.zeros((2, 4), dtype=np.int16)}, r"sequence has shape \(2, 4\), expected \(N, 3\)"),
        (
            {"sequence": np.array([[0, 1, 2], [0, 4, 0]])},
            r"row 1 has an element outside 0\.\.3 in sequence: \[0, 4, 0\]",
        ),
        ({"sequence": np.array([[0, -1, 2], [0, 0, 0]])}, r"row 0 has an element outside 0\.\.3"),
        ({"score": np.array([0.5, np.nan])}, "row 1 has score nan"),
        ({"score": np.array([np.inf, 0.0])}, "row 0 has score inf"),
        (
            {"sequence": np.array([[0, 1, 2], [0, 1, 2]])},
            r"1 duplicate sequences; the first repeated one is row 0: \[0, 1, 2\]",
        ),
        ({"query": np.array([0, 5])}, "queries run to 5, but only 5 were counted"),
        ({"query": np.array([0])}, "columns differ in length"),
    ],
)
def test_a_labelled_table_that_breaks_an_invariant_is_refused_and_not_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    path = tmp_path / "labeled.parquet"
    with pytest.raises(TableError, match=rf"labeled\.parquet: {message}"):
        labeled(**changes).write(path)
    assert not path.exists()


def test_selected_sequences_are_unique_and_proposals_need_not_be(tmp_path: Path) -> None:
    twice = np.array([[0, 1, 2], [0, 1, 2]], dtype=np.int16)
    with pytest.raises(TableError, match="duplicate"):
        selected(sequence=twice).write(tmp_path / "s.parquet")
    proposals(sequence=twice, parsed=np.array([True, True])).write(tmp_path / "p.parquet")
    np.testing.assert_array_equal(Proposals.read(tmp_path / "p.parquet").sequence, twice)


def test_sources_are_checked_as_sequences_are(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"outside 0\.\.3 in source"):
        proposals(source=np.array([[0, 1, 1], [9, 1, 1]])).write(tmp_path / "p.parquet")


def rewrite(path: Path, change: Any) -> None:
    """Write what `change` makes of the Parquet table at `path`, as a foreign program would."""
    pq.write_table(change(pq.read_table(path)), path)


def set_column(name: str, values: pa.Array) -> Any:
    def change(table: pa.Table) -> pa.Table:
        return table.set_column(table.schema.names.index(name), name, values)

    return change


LISTS = pa.list_(pa.int16())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (set_column("sequence", pa.array([[0, 1, 2], [3, 3]], LISTS)), "row 1 has length 2, expected 3"),
        (set_column("sequence", pa.array([[0, 1, 2], [3, 3, 7]], LISTS)), r"outside 0\.\.3"),
        (set_column("sequence", pa.array([[0, 1, 2], [0, 1, 2]], LISTS)), "duplicate"),
        (set_column("score", pa.array([0.1, float("nan")])), "score nan"),
        (set_column("score", pa.array([0.1, None])), "column score has 1 missing values"),
        (set_column("score", pa.array(["a", "b"])), "columns are"),
        (lambda table: table.drop_columns(["query"]), "columns are"),
        (lambda table: table.replace_schema_metadata({}), "not a labeled table"),
    ],
)
def test_a_foreign_file_is_refused_on_reading(tmp_path: Path, change: Any, message: str) -> None:
    path = tmp_path / "labeled.parquet"
    labeled().write(path)
    rewrite(path, change)
    with pytest.raises(TableError, match=message) as refusal:
        Labeled.read(path)
    assert str(path) in str(refusal.value)


def test_a_table_of_another_kind_is_refused(tmp_path: Path) -> None:
    selected().write(tmp_path / "t.parquet")
    with pytest.raises(TableError, match=r"not a labeled table \(it is 'selected'\)"):
        Labeled.read(tmp_path / "t.parquet")


@pytest.mark.parametrize("keep", [0, 3, 100, -5], ids=["empty", "three bytes", "a hundred bytes", "all but five"])
def test_a_truncated_file_is_refused(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "labeled.parquet"
    labeled().write(path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TableError, match=r"labeled\.parquet is corrupt or truncated"):
        Labeled.read(path)


def test_a_corrupt_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "labeled.parquet"
    path.write_bytes(b"PAR1" + bytes(range(256)) * 8 + b"PAR1")
    with pytest.raises(TableError, match="corrupt or truncated"):
        Labeled.read(path)


def test_every_flipped_byte_of_a_small_file_is_refused_or_harmless(tmp_path: Path) -> None:
    """A damaged file is a TableError or reads as valid, never another exception."""
    path = tmp_path / "labeled.parquet"
    labeled().write(path)
    whole = path.read_bytes()
    refused = 0
    for at in range(0, len(whole), 7):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0xFF]) + whole[at + 1 :])
        try:
            Labeled.read(path)
        except TableError:
            refused += 1
    assert refused > len(whole) / 7 / 4


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TableError, match=r"nowhere\.parquet does not exist"):
        Labeled.read(tmp_path / "nowhere.parquet")


def test_tables_of_another_oracle_are_refused() -> None:
    other = Meta(Domain(num_states=4, length=3, fingerprint="beef"))
    assert same_problem([("a", Meta(DOMAIN)), ("b", Meta(DOMAIN))]) == DOMAIN
    with pytest.raises(TableError, match=r"b was made with oracle beef .* but a with f00d"):
        same_problem([("a", Meta(DOMAIN)), ("b", other)])


def test_row_keys_compare_as_rows_do() -> None:
    rows = np.array([[1, 2], [0, 300], [1, 2], [0, 299]], dtype=np.int16)
    keys = row_keys(rows)
    assert len(np.unique(keys)) == 3
    np.testing.assert_array_equal(np.argsort(keys, kind="stable"), np.lexsort((rows[:, 1], rows[:, 0])))
    np.testing.assert_array_equal(np.isin(row_keys(rows), row_keys(rows[:1])), [True, False, True, False])


def test_take_keeps_rows_and_provenance() -> None:
    table = labeled().take(np.array([1]))
    assert table.sequence.tolist() == [[3, 3, 3]]
    assert table.meta == labeled().meta


def test_lengths_may_differ(tmp_path):
    domain = Domain(4, 3, "f00d", shortest=1)
    rows = np.array([[0, 1, 2], [3, -1, -1], [2, 2, -1]], dtype=np.int16)
    columns = {
        "score": np.zeros(3),
        "query": np.arange(3),
        "round": np.ones(3, np.int32),
        "origin": np.array(["ga"] * 3, object),
    }
    Labeled(meta=Meta(domain, spent=3), sequence=rows, **columns).write(tmp_path / "labeled.parquet")
    assert pq.read_table(tmp_path / "labeled.parquet")["sequence"].to_pylist() == [[0, 1, 2], [3], [2, 2]]
    np.testing.assert_array_equal(Labeled.read(tmp_path / "labeled.parquet").sequence, rows)
    parsed = np.array([True, False, True])
    Proposals(
        meta=Meta(domain, spent=3), sequence=np.where(parsed[:, None], rows, -1), source=rows, parsed=parsed,
        trajectory=np.arange(3, dtype=np.int32), step=np.zeros(3, np.int32), temperature=np.zeros(3, np.float32),
        logp_mean=np.zeros(3), logp_sum=np.zeros(3),
    ).write(tmp_path / "proposals.parquet")  # fmt: skip
    assert pq.read_table(tmp_path / "proposals.parquet")["sequence"].to_pylist() == [[0, 1, 2], [], [2, 2]]
    read = Proposals.read(tmp_path / "proposals.parquet")
    np.testing.assert_array_equal(read.sequence, np.where(parsed[:, None], rows, -1))
    np.testing.assert_array_equal(read.source, rows)
    for wrong in ([-1, -1, -1], [0, -1, 1], [4, -1, -1], [-2, -1, -1], [0, -2, -1]):
        bad = rows.copy()
        bad[1] = wrong
        table = Labeled(meta=Meta(domain, spent=3), sequence=bad, **columns)
        with pytest.raises(
            TableError, match=r"row 1 has an element outside 0\.\.3 in sequence, or no length from 1 to 3"
        ):
            table.validate("it")
    longer = Labeled(meta=Meta(replace(domain, shortest=2), spent=3), sequence=rows, **columns)
    with pytest.raises(TableError, match="or no length from 2 to 3"):
        longer.write(tmp_path / "other.parquet")


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        ([[0, 1], [2, 3, 1, 0]], "row 1 has length 4, expected 2 to 3"),
        ([[0, 1], [2, -1]], "element -1 is outside 0..3"),
    ],
)
def test_files_hold_sequences_of_a_right_length_and_no_padding(tmp_path, lists, said):
    domain, file = Domain(4, 3, "f00d", shortest=2), tmp_path / "selected.parquet"
    Selected(
        meta=Meta(domain), sequence=np.array([[0, 1, -1]]), source=np.array([[0, 1, 2]]), logp_mean=np.zeros(1)
    ).write(file)
    table = pq.read_table(file)
    sequence = pa.array(lists, type=pa.list_(pa.int16()))
    changed = pa.table([sequence, sequence, pa.array([0.0, 0.0])], schema=table.schema)
    pq.write_table(changed, file)
    with pytest.raises(TableError, match=said):
        Selected.read(file)
