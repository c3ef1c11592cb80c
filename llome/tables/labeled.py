"""What the oracle said: labels, and beside them what it was asked for and gave no score of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import pyarrow as pa

from llome.errors import TableError
from llome.tables.lists import to_lists
from llome.tables.meta import Meta
from llome.tables.proposals import Selected
from llome.tables.rows import best_rows, row_keys
from llome.tables.table import TYPES, Table


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
            name: to_lists(column[order], None)
            if name == "sequence"
            else pa.array(column[order], TYPES[name], from_pandas=name == "score")
            for name, column in rows.items()
        }
        if self.measurements.size:
            kept = [row[~np.isnan(row)] for row in self.measurements] + [np.empty(0)] * failed
            arrays["measurements"] = pa.array([kept[i] for i in order], TYPES["measurements"])
        if failed:
            messages = np.concatenate([np.full(len(self), None, dtype=object), self.failed.message])
            arrays["message"] = pa.array(messages[order], TYPES["message"])
        return arrays

    @classmethod
    def _of(cls, table: pa.Table, meta: Meta, path: str | Path) -> Self:
        more = {}
        for name in ("message", "measurements"):
            if table.schema.names[-1:] == [name] and table.schema.field(name).type == TYPES[name]:
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


def best_sequences(tables: Sequence[Labeled], count: int) -> np.ndarray:
    """The `count` best distinct sequences of the tables, (n, L) int16, best first."""
    sequences, score, query = (
        np.concatenate([getattr(table, name) for table in tables]) for name in ("sequence", "score", "query")
    )
    order = best_rows(score, query, len(score))
    first = np.unique(row_keys(sequences[order]), return_index=True)[1]
    return sequences[order[np.sort(first)[:count]]]
