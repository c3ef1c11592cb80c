"""The typed tables that flow between stages: Parquet on disk, NumPy arrays in memory, validated on write and on read.

Three kinds, one class each: `Labeled` (scores), `Proposals` and `Selected` (no score: what has not been labelled has none). Each file
carries in its metadata the schema's name, the oracle's fingerprint, the hashes of its inputs, the resolved settings and the version.
A fourth, which no stage of the loop reads, is in llome.reporting.analysis.
Sequences of a table share one length L, or have lengths up to L: then the array holds -1 after an end, and the file just the sequence.
A proposal that could not be parsed is an empty list on disk and a row of -1 in memory.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llome import __version__
from llome.domain import PAD, Domain
from llome.errors import TableError
from llome.provenance import canonical_json, replacing

SCORED = "scored"
"""Name of the table of `llome analyze` (llome.reporting.analysis), which is none of the loop's."""
_KEY = b"llome"
_SEQUENCE = pa.list_(pa.int16())
_TYPES = {
    "sequence": _SEQUENCE,
    "source": _SEQUENCE,
    "score": pa.float64(),
    "query": pa.int64(),
    "measurements": pa.list_(pa.float64()),
    "message": pa.string(),
    "round": pa.int32(),
    "origin": pa.string(),
    "trajectory": pa.int32(),
    "step": pa.int32(),
    "temperature": pa.float32(),
    "logp_mean": pa.float64(),
    "logp_sum": pa.float64(),
    "parsed": pa.bool_(),
}


@dataclass(frozen=True)
class Meta:
    """The provenance of a table."""

    domain: Domain
    inputs: dict[str, str] = field(default_factory=dict)
    """Content hash of each input, by its role."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Resolved settings of the stage that wrote the table."""
    spent: int = 0
    """Oracle calls counted up to and including this table, repeats included."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Small results of the stage that cannot be read off the rows (counts per GA round, for example)."""
    version: str = __version__


@dataclass(frozen=True)
class Table:
    """Common ground of the tables; use `Labeled`, `Proposals` or `Selected`."""

    name: ClassVar[str]

    meta: Meta

    def __len__(self) -> int:
        return len(self.columns["sequence"])

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns by name, in the order of the file."""
        return {name: getattr(self, name) for name in self._names()}

    @classmethod
    def _names(cls) -> list[str]:
        return [f.name for f in fields(cls) if f.name != "meta"]

    def take(self, rows: np.ndarray) -> Self:
        """The table of these rows (indices or a mask)."""
        return replace(self, **{name: column[rows] for name, column in self.columns.items()})

    def validate(self, where: str) -> None:
        """Check the invariants of the schema; raises TableError that names the file, the row and the value."""
        sizes = {name: len(column) for name, column in self.columns.items()}
        if len(set(sizes.values())) != 1:
            raise TableError(f"{where}: columns differ in length: {sizes}")
        parsed = self.columns.get("parsed")
        self._check_sequences("sequence", where, parsed)
        if "source" in self.columns:
            self._check_sequences("source", where, None)

    def _check_sequences(self, column: str, where: str, parsed: np.ndarray | None) -> None:
        values, domain = self.columns[column], self.meta.domain
        if values.ndim != 2 or values.shape[1] != domain.length:
            raise TableError(f"{where}: {column} has shape {values.shape}, expected (N, {domain.length})")
        outside = (values < 0) | (values >= domain.num_states)
        if not domain.fixed_length:
            lengths = (values >= 0).sum(axis=1)
            ended = np.arange(domain.length) >= np.maximum(lengths, domain.least)[:, None]
            outside = np.where(ended, values != PAD, outside)
        bad = outside.any(axis=1)
        if parsed is not None:
            bad &= parsed
        if bad.any():
            row = int(bad.argmax())
            found = f"{where}: row {row} has an element outside 0..{domain.num_states - 1} in {column}"
            if not domain.fixed_length:
                found += f", or no length from {domain.least} to {domain.length}"
            raise TableError(f"{found}: {values[row].tolist()}")

    def _check_unique(self, where: str) -> None:
        _, first, counts = np.unique(row_keys(self.columns["sequence"]), return_index=True, return_counts=True)
        if (counts > 1).any():
            row = int(first[counts > 1].min())
            raise TableError(
                f"{where}: {int((counts - 1).sum())} duplicate sequences; the first repeated one is row {row}:"
                f" {self.columns['sequence'][row].tolist()}"
            )

    def _check_scores(self, where: str) -> None:
        score = self.columns["score"]
        bad = np.isnan(score) | (score == np.inf)
        if bad.any():
            row = int(bad.argmax())
            raise TableError(f"{where}: row {row} has score {score[row]}; scores are finite, or -inf where infeasible")

    def write(self, path: str | Path) -> None:
        """Validate, then write Parquet beside `path` and rename."""
        self.validate(str(path))
        arrays = self._arrays()
        meta = {
            "schema": self.name,
            "domain": asdict(self.meta.domain),
            "inputs": self.meta.inputs,
            "settings": self.meta.settings,
            "spent": self.meta.spent,
            "facts": self.meta.facts,
            "version": self.meta.version,
        }
        schema = pa.schema([(name, _TYPES[name]) for name in arrays], metadata={_KEY: canonical_json(meta)})
        with replacing(path) as temporary:
            pq.write_table(
                pa.Table.from_arrays(list(arrays.values()), schema=schema),
                temporary,
                compression="zstd",
                write_page_checksum=True,
            )

    def _arrays(self) -> dict[str, pa.Array]:
        """The columns as they lie on disk."""
        return {
            name: _to_lists(column, self.columns.get("parsed") if name == "sequence" else None)
            if _TYPES[name] == _SEQUENCE
            else pa.array(column, type=_TYPES[name])
            for name, column in self.columns.items()
        }

    @classmethod
    def read(cls, path: str | Path) -> Self:
        """Read and validate. Raises TableError on a missing, corrupt, truncated or foreign file."""
        if Path(path).is_dir():
            raise TableError(f"{path} is a folder where a {cls.name} table belongs; give the file")
        try:
            result = cls._decode(path)
        except FileNotFoundError as err:
            raise TableError(f"{path} does not exist; run the stage that writes it") from err
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError) as err:
            with open(path, "rb") as file:
                head = file.read(4)
            if not b"PAR1".startswith(head):
                raise TableError(
                    f"{path} is not a {cls.name} table, it is no Parquet file; give the right file"
                ) from err
            reason = " ".join(str(err).split("\n")[:1]) or type(err).__name__
            raise TableError(
                f"{path} is corrupt or truncated ({reason}); delete it and run the stage that writes it again"
            ) from err
        result.validate(str(path))
        return result

    @classmethod
    def _decode(cls, path: str | Path) -> Self:
        table = pq.read_table(path, page_checksum_verification=True)
        raw = json.loads((table.schema.metadata or {}).get(_KEY, b"{}"))
        kind = raw.get("schema", "no llome table")
        if kind != cls.name:
            why = "what an analysis scored never goes back into the loop, " if kind == SCORED else ""
            raise TableError(f"{path} is not a {cls.name} table (it is {kind!r}); {why}give the right file")
        domain = Domain(**raw["domain"])
        meta = Meta(domain, raw["inputs"], raw["settings"], raw["spent"], raw["facts"], raw["version"])
        return cls._of(table, meta, path)

    @classmethod
    def _of(cls, table: pa.Table, meta: Meta, path: str | Path) -> Self:
        """From what lies on disk."""
        return cls(meta=meta, **cls._decode_columns(table, meta.domain, path))

    @classmethod
    def _decode_columns(cls, table: pa.Table, domain: Domain, path: str | Path) -> dict[str, np.ndarray]:
        names = cls._names()
        if table.schema.names != names or any(table.schema.field(n).type != _TYPES[n] for n in names):
            raise TableError(
                f"{path}: columns are {table.schema.names}, a {cls.name} table has {names} with fixed types"
            )
        for name in names:
            if table[name].null_count:
                raise TableError(f"{path}: column {name} has {table[name].null_count} missing values")
        columns: dict[str, np.ndarray] = {}
        for name in names:
            column = table[name].combine_chunks()
            if _TYPES[name] == _SEQUENCE:
                empty_allowed = name == "sequence" and "parsed" in names
                columns[name] = _from_lists(column, domain, empty_allowed, f"{path}: {name}")
            elif name == "origin":
                columns[name] = np.array(column.to_pylist(), dtype=object)
            else:
                columns[name] = column.to_numpy(zero_copy_only=False)
        return columns


@dataclass(frozen=True)
class Failed:
    """Sequences that the oracle was asked for, as often as its retries allow, and gave no score of."""

    sequence: np.ndarray
    """(M, L) int16."""
    query: np.ndarray
    """(M,) int64, running number of the first call."""
    round: np.ndarray
    """(M,) int32, as of a label."""
    origin: np.ndarray
    """(M,) str, as of a label."""
    message: np.ndarray
    """(M,) str, why the last call failed."""

    def __len__(self) -> int:
        return len(self.query)

    @classmethod
    def none(cls, length: int) -> Failed:
        """No sequence of the length L."""
        empty = np.empty(0, dtype=object)
        return cls(np.empty((0, length), np.int16), np.empty(0, np.int64), np.empty(0, np.int32), empty, empty)


@dataclass(frozen=True)
class Labeled(Table):
    """Sequences and what the oracle said of them. What failed is no label: it stands beside them, in `failed`.

    On disk a row that failed has no score and a message, in a column of its own, and what was measured several times has all its
    measurements in another; a table without either has neither column.
    """

    name: ClassVar[str] = "labeled"

    sequence: np.ndarray
    """(N, L) int16, unique."""
    score: np.ndarray
    """(N,) float64, higher is better, -inf infeasible."""
    query: np.ndarray
    """(N,) int64, running number (from 0) of the oracle call that first scored it."""
    round: np.ndarray
    """(N,) int32, GA round (from 1) or LLOME round (from 1)."""
    origin: np.ndarray
    """(N,) str, "ga" or the history of the round."""
    measurements: np.ndarray = field(default=None)  # type: ignore[arg-type]
    """(N, R) float64, of which the score is the mean; NaN where there were fewer; R = 0 where all were measured once."""
    failed: Failed = field(default=None)  # type: ignore[assignment]
    """What was asked for and has no score."""

    def __post_init__(self) -> None:
        """Unless said otherwise, nothing failed and all were measured once."""
        if self.measurements is None:
            object.__setattr__(self, "measurements", np.empty((len(self.score), 0)))
        if self.failed is None:
            object.__setattr__(self, "failed", Failed.none(self.meta.domain.length))

    @property
    def columns(self) -> dict[str, np.ndarray]:
        """The columns that every labelled table has, by name, in the order of the file."""
        return {name: getattr(self, name) for name in self._names()}

    def take(self, rows: np.ndarray) -> Self:
        """The table of these labels (indices or a mask), with all that failed."""
        return replace(super().take(rows), measurements=self.measurements[rows])

    @property
    def asked(self) -> np.ndarray:
        """(N + M, L) int16, the labelled sequences, then those that failed: all that is not to be asked for again."""
        return np.concatenate([self.sequence, self.failed.sequence.astype(self.sequence.dtype)])

    def validate(self, where: str) -> None:
        """See `Table.validate`; scores are no NaN and no +inf, sequences are unique, queries lie below `spent`."""
        super().validate(where)
        self._check_scores(where)
        query = np.concatenate([self.query, self.failed.query])
        if len(query) and (query.min() < 0 or query.max() >= self.meta.spent):
            raise TableError(f"{where}: queries run to {int(query.max())}, but only {self.meta.spent} were counted")
        if len(self.measurements) != len(self):
            raise TableError(f"{where}: {len(self.measurements)} rows of measurements for {len(self)} labels")
        self._check_unique(where)
        if len(self.failed):
            both = Selected(self.meta, self.asked, self.asked, np.zeros(len(self.asked)))
            both.validate(f"{where}, with what failed")

    @classmethod
    def _names(cls) -> list[str]:
        return [name for name in super()._names() if name not in ("measurements", "failed")]

    def _arrays(self) -> dict[str, pa.Array]:
        """Rows that failed stand among the labels, in the order of their queries."""
        failed = len(self.failed)
        rows = {
            name: np.concatenate([c, getattr(self.failed, name, np.full(failed, np.nan))])
            for name, c in self.columns.items()
        }
        order = np.argsort(rows["query"], kind="stable") if failed else np.arange(len(self))
        arrays = {
            name: _to_lists(column[order], None)
            if name == "sequence"
            else pa.array(column[order], _TYPES[name], from_pandas=name == "score")
            for name, column in rows.items()
        }
        if self.measurements.size:
            kept = [row[~np.isnan(row)] for row in self.measurements] + [np.empty(0)] * failed
            arrays["measurements"] = pa.array([kept[i] for i in order], _TYPES["measurements"])
        if failed:
            messages = np.concatenate([np.full(len(self), None, dtype=object), self.failed.message])
            arrays["message"] = pa.array(messages[order], _TYPES["message"])
        return arrays

    @classmethod
    def _of(cls, table: pa.Table, meta: Meta, path: str | Path) -> Self:
        more = {}
        for name in ("message", "measurements"):
            if table.schema.names[-1:] == [name] and table.schema.field(name).type == _TYPES[name]:
                more[name] = table[name].combine_chunks()
                table = table.drop_columns(name)
        failed = np.zeros(table.num_rows, dtype=bool)
        if "message" in more:
            failed = more["message"].is_valid().to_numpy(zero_copy_only=False)
            if not np.array_equal(failed, table["score"].combine_chunks().is_null().to_numpy(zero_copy_only=False)):
                raise TableError(
                    f"{path}: a row has a score or a message of why there is none; some have both or neither"
                )
            at = table.schema.names.index("score")
            table = table.set_column(at, "score", table["score"].fill_null(0.0))
        rows = cls._decode_columns(table, meta.domain, path)
        kept: dict[str, Any] = {name: column[~failed] for name, column in rows.items()}
        if "measurements" in more:
            lists = [row for row, bad in zip(more["measurements"].to_pylist(), failed, strict=True) if not bad]
            width = max((len(row or ()) for row in lists), default=0)
            values = [[*(row or ()), *[np.nan] * (width - len(row or ()))] for row in lists]
            kept["measurements"] = np.array(values, dtype=np.float64).reshape(len(lists), width)
        if failed.any():
            message = np.array(more["message"].to_pylist(), dtype=object)[failed]
            of = {name: rows[name][failed] for name in ("sequence", "query", "round", "origin")}
            return cls(meta=meta, **kept, failed=Failed(**of, message=message))
        return cls(meta=meta, **kept)


@dataclass(frozen=True)
class Proposals(Table):
    """Everything the policy wrote in one refinement. No score: the oracle has not seen it."""

    name: ClassVar[str] = "proposals"

    sequence: np.ndarray
    """(N, L) int16; rows of -1 where the text could not be parsed."""
    source: np.ndarray
    """(N, L) int16, the input that was edited."""
    trajectory: np.ndarray
    """(N,) int32, seed number times number of temperatures plus temperature number."""
    step: np.ndarray
    """(N,) int32, inner iteration from 0."""
    temperature: np.ndarray
    """(N,) float32, 0 for greedy decoding."""
    logp_mean: np.ndarray
    """(N,) float64, mean log-probability a token (nats), policy at temperature 1."""
    logp_sum: np.ndarray
    """(N,) float64, summed log-probability (nats), policy at temperature 1."""
    parsed: np.ndarray
    """(N,) bool, well-formed, of the right length and in range."""

    @property
    def starts(self) -> np.ndarray:
        """(N,) for each row, the row of the lowest step of its trajectory; what that one edited has a label."""
        order = np.lexsort((self.step, self.trajectory))
        _, first, inverse = np.unique(self.trajectory[order], return_index=True, return_inverse=True)
        rows = np.empty(len(order), dtype=np.int64)
        rows[order] = order[first][inverse]
        return rows


@dataclass(frozen=True)
class Selected(Table):
    """The candidates that go to the oracle."""

    name: ClassVar[str] = "selected"

    sequence: np.ndarray
    """(N, L) int16, unique, never labelled before."""
    source: np.ndarray
    """(N, L) int16, the input that was edited."""
    logp_mean: np.ndarray
    """(N,) float64, mean log-probability a token (nats)."""

    def validate(self, where: str) -> None:
        """See `Table.validate`; sequences are unique."""
        super().validate(where)
        self._check_unique(where)


def kind_of(path: str | Path) -> str:
    """The schema name that a table's file says. Raises TableError where the file is no table of ours."""
    if Path(path).is_dir():
        raise TableError(f"{path} is a folder; name its tables, such as {Path(path) / 'r*' / '*' / 'labeled.parquet'}")
    try:
        raw = json.loads((pq.read_schema(path).metadata or {}).get(_KEY, b"{}"))
    except FileNotFoundError as err:
        raise TableError(f"{path} does not exist; run the stage that writes it") from err
    except (pa.ArrowException, OSError, ValueError) as err:
        raise TableError(f"{path} is no table, or corrupt; delete it and run the stage that writes it again") from err
    return str(raw.get("schema", "no llome table"))


def row_keys(sequences: np.ndarray) -> np.ndarray:
    """(N, L) integers -> (N,) opaque keys that compare as the rows do; for unique, isin and the like."""
    rows = np.ascontiguousarray(sequences, dtype=">u2")
    return rows.view(np.dtype((np.void, rows.shape[1] * 2))).reshape(-1)


def lowest_value(scores: np.ndarray) -> float:
    """What an infeasible sequence counts as: 0 (below Eq. 9), or the lowest of the (N,) scores, should that lie below 0."""
    return float(scores[np.isfinite(scores)].min(initial=0.0))


def best_rows(score: np.ndarray, query: np.ndarray, count: int) -> np.ndarray:
    """Rows of the `count` best scores, best first; equal ones in the order of their labelling."""
    return np.lexsort((query, -score))[:count]


def best_sequences(tables: Sequence[Labeled], count: int) -> np.ndarray:
    """The `count` best distinct sequences of the tables, (n, L) int16, best first."""
    sequences, score, query = (
        np.concatenate([getattr(table, name) for table in tables]) for name in ("sequence", "score", "query")
    )
    order = best_rows(score, query, len(score))
    first = np.unique(row_keys(sequences[order]), return_index=True)[1]
    return sequences[order[np.sort(first)[:count]]]


def same_problem(tables: Sequence[tuple[str, Meta]]) -> Domain:
    """The domain that all tables share. Raises TableError naming the two files whose oracles differ."""
    (first, meta), *rest = tables
    for path, other in rest:
        if other.domain != meta.domain:
            raise TableError(
                f"{path} was made with oracle {other.domain.fingerprint} ({other.domain.describe()}), but"
                f" {first} with {meta.domain.fingerprint} ({meta.domain.describe()}); use files of one oracle"
            )
    return meta.domain


def _to_lists(values: np.ndarray, parsed: np.ndarray | None) -> pa.ListArray:
    lengths = np.full(len(values), values.shape[1], dtype=np.int32)
    if parsed is not None:
        lengths[~parsed] = 0
        values = values[parsed]
    if (padding := values < 0).any():
        lengths[slice(None) if parsed is None else parsed] -= padding.sum(axis=1, dtype=np.int32)
        values = values[~padding]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(np.ascontiguousarray(values, dtype=np.int16).reshape(-1))
    )


def _from_lists(column: pa.ListArray, domain: Domain, empty_allowed: bool, where: str) -> np.ndarray:
    lengths = np.diff(column.offsets.to_numpy())
    bad = ((lengths < domain.least) | (lengths > domain.length)) & ~((lengths == 0) & empty_allowed)
    if bad.any():
        row = int(bad.argmax())
        expected = f"{domain.length}" if domain.fixed_length else f"{domain.least} to {domain.length}"
        raise TableError(f"{where}: row {row} has length {int(lengths[row])}, expected {expected}")
    elements = column.flatten().to_numpy(zero_copy_only=False)
    if (elements < 0).any():  # on disk nothing stands after an end
        raise TableError(f"{where}: the element {int(elements.min())} is outside 0..{domain.num_states - 1}")
    values = np.full((len(column), domain.length), PAD, dtype=np.int16)
    if domain.fixed_length:
        values[lengths > 0] = elements.reshape(-1, domain.length)
    else:
        values[np.arange(domain.length) < lengths[:, None]] = elements
    return values
