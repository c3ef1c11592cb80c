"""What all tables have in common: columns of fixed types, written whole and read back checked.

Sequences of a table share one length L, or have lengths up to L: then the array holds -1 after an end, and the file just the sequence.
A proposal that could not be parsed is an empty list on disk and a row of -1 in memory.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from llome.domain import PAD, Domain
from llome.errors import TableError
from llome.provenance import canonical_json, replacing
from llome.tables.lists import from_lists, to_lists
from llome.tables.meta import Meta
from llome.tables.rows import row_keys

SCORED = "scored"
"""Name of the table of `llome analyze` (llome.reporting.analysis), which is none of the loop's."""
_KEY = b"llome"
_SEQUENCE = pa.list_(pa.int16())
TYPES = {
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
        schema = pa.schema([(name, TYPES[name]) for name in arrays], metadata={_KEY: canonical_json(meta)})
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
            name: to_lists(column, self.columns.get("parsed") if name == "sequence" else None)
            if TYPES[name] == _SEQUENCE
            else pa.array(column, type=TYPES[name])
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
        # As one file: `read_table` would take it for a data set, and load pandas for that.
        with pq.ParquetFile(path, page_checksum_verification=True) as file:
            table = file.read()
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
        if table.schema.names != names or any(table.schema.field(n).type != TYPES[n] for n in names):
            raise TableError(
                f"{path}: columns are {table.schema.names}, a {cls.name} table has {names} with fixed types"
            )
        for name in names:
            if table[name].null_count:
                raise TableError(f"{path}: column {name} has {table[name].null_count} missing values")
        columns: dict[str, np.ndarray] = {}
        for name in names:
            column = table[name].combine_chunks()
            if TYPES[name] == _SEQUENCE:
                empty_allowed = name == "sequence" and "parsed" in names
                columns[name] = from_lists(column, domain, empty_allowed, f"{path}: {name}")
            elif name == "origin":
                columns[name] = np.array(column.to_pylist(), dtype=object)
            else:
                columns[name] = column.to_numpy(zero_copy_only=False)
        return columns


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
