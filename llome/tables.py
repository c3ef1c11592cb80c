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
        return {f.name: getattr(self, f.name) for f in fields(self) if f.name != "meta"}

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
        arrays = []
        for name, column in self.columns.items():
            if _TYPES[name] == _SEQUENCE:
                arrays.append(_to_lists(column, self.columns.get("parsed") if name == "sequence" else None))
            else:
                arrays.append(pa.array(column, type=_TYPES[name]))
        meta = {
            "schema": self.name,
            "domain": asdict(self.meta.domain),
            "inputs": self.meta.inputs,
            "settings": self.meta.settings,
            "spent": self.meta.spent,
            "facts": self.meta.facts,
            "version": self.meta.version,
        }
        schema = pa.schema([(name, _TYPES[name]) for name in self.columns], metadata={_KEY: canonical_json(meta)})
        with replacing(path) as temporary:
            pq.write_table(
                pa.Table.from_arrays(arrays, schema=schema), temporary, compression="zstd", write_page_checksum=True
            )

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
        names = [f.name for f in fields(cls) if f.name != "meta"]
        if table.schema.names != names or any(table.schema.field(n).type != _TYPES[n] for n in names):
            raise TableError(
                f"{path}: columns are {table.schema.names}, a {cls.name} table has {names} with fixed types"
            )
        for name in names:
            if table[name].null_count:
                raise TableError(f"{path}: column {name} has {table[name].null_count} missing values")
        domain = Domain(**raw["domain"])
        meta = Meta(domain, raw["inputs"], raw["settings"], raw["spent"], raw["facts"], raw["version"])
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
        return cls(meta=meta, **columns)


@dataclass(frozen=True)
class Labeled(Table):
    """Sequences and what the oracle said of them."""

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

    def validate(self, where: str) -> None:
        """See `Table.validate`; scores are no NaN and no +inf, sequences are unique, queries lie below `spent`."""
        super().validate(where)
        self._check_scores(where)
        if len(self) and (self.query.min() < 0 or self.query.max() >= self.meta.spent):
            raise TableError(
                f"{where}: queries run to {int(self.query.max())}, but only {self.meta.spent} were counted"
            )
        self._check_unique(where)


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
