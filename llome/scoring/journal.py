"""Labels are money: every answer is on disk before anything else is done with it.

An append-only file of JSON lines, synced one by one: a line holds the answers that came together, a whole batch of a fast function or
as little as one of a slow program; another kind of line says that an attempt failed, and why. A run that was killed and is started
again with the same settings reads its answers here instead of asking twice. Of a function that costs nothing to ask again, the stage
deletes the file once its table is in place; answers that have a price it keeps, so that the stage run again, for whatever reason, pays for
none of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from llome.errors import OracleError
from llome.lines import Lines


@dataclass(frozen=True)
class Told:
    """What a journal knows of N queries."""

    score: np.ndarray
    """(N,) float64; NaN where there is no answer."""
    failures: np.ndarray
    """(N,) int64, attempts that failed."""
    message: np.ndarray
    """(N,) str, why the last of them did."""
    forgiven: np.ndarray
    """(N,) int64, failed attempts that count as calls, not as attempts: the oracle itself was broken."""


class Journal:
    """The answers to the queries of one run, each by its number; use it as a context manager."""

    def __init__(self, path: str | Path, key: Any, length: int) -> None:
        """Open `path`, and keep what it holds if it belongs to `key`, all that determines the run, as JSON.

        Sequences have `length` elements. Raises OracleError where a line is corrupt, LlomeError where the file cannot be written.
        """
        self.path = Path(path)
        self._length = length
        self._row: dict[int, int] = {}
        self._sequences: list[np.ndarray] = []
        self._scores: list[float] = []
        self._failures: list[int] = []
        self._forgiven: list[int] = []
        self._messages: list[str] = []
        remedy = "delete the file, and the answers it holds are asked for again"
        self._lines = Lines(self.path, key, corrupt=OracleError, remedy=remedy)
        try:
            for number, _, line in self._lines:
                try:
                    self._take(line)
                except (KeyError, TypeError, ValueError) as err:
                    raise self._lines.corrupt(number) from err
        except BaseException:
            self._lines.close()
            raise

    def _take(self, line: dict[str, Any]) -> None:
        if "forgiven" in line:
            self._forgiven = [a + b for a, b in zip(self._forgiven, self._failures, strict=True)]
            self._failures = [0] * len(self._failures)
            return
        count, first = len(line["sequences"]), line["query"]
        queries = first if isinstance(first, list) else list(range(first, first + count))
        sequences = np.array(line["sequences"], dtype=np.int64).reshape(count, self._length)
        said = line["failed"] if "failed" in line else line["scores"]
        for query, sequence, what in zip(queries, sequences, said, strict=True):
            row = self._row.setdefault(query, len(self._sequences))
            if row == len(self._sequences):
                self._sequences.append(sequence)
                self._scores.append(np.nan)
                self._failures.append(0)
                self._forgiven.append(0)
                self._messages.append("")
            elif not np.array_equal(self._sequences[row], sequence) or not np.isnan(self._scores[row]):
                raise ValueError(query)
            if "failed" in line:
                self._failures[row] += 1
                self._messages[row] = str(what)
            else:
                self._scores[row] = -np.inf if what is None else float(what)

    def replay(self, queries: np.ndarray, sequences: np.ndarray) -> Told:
        """What is known of the (N,) `queries` of `sequences` (N, L).

        Raises OracleError where the journal answers other sequences under these numbers.
        """
        told = Told(
            np.full(len(queries), np.nan),
            np.zeros(len(queries), dtype=np.int64),
            np.full(len(queries), "", dtype=object),
            np.zeros(len(queries), dtype=np.int64),
        )
        if not self._row:
            return told
        at = np.array([self._row.get(query, -1) for query in queries.tolist()], dtype=np.int64)
        found = np.flatnonzero(at >= 0)
        rows = at[found]
        if not np.array_equal(np.array(self._sequences)[rows], sequences[found]):
            raise OracleError(
                f"{self.path} answers other sequences from query {int(queries[0])} on than are asked now, though the settings are"
                " the same (another version wrote it?); delete the file, and its answers are asked for again"
            )
        told.score[found] = np.array(self._scores)[rows]
        told.failures[found] = np.array(self._failures)[rows]
        told.forgiven[found] = np.array(self._forgiven)[rows]
        told.message[found] = np.array(self._messages, dtype=object)[rows]
        return told

    def append(self, queries: np.ndarray, sequences: np.ndarray, scores: np.ndarray) -> None:
        """Put answers on disk: scores (N,) of sequences (N, L), asked for under the numbers `queries` (N,)."""
        answers = [None if s == -np.inf else s for s in scores.tolist()]
        self._lines.write({"query": _numbers(queries), "sequences": sequences.tolist(), "scores": answers})

    def revise(self, queries: np.ndarray, sequences: np.ndarray, scores: np.ndarray) -> None:
        """The same for what is replayed later in this run."""
        self.append(queries, sequences, scores)
        self._take({"query": queries.tolist(), "sequences": sequences.tolist(), "scores": scores.tolist()})

    def fail(self, queries: np.ndarray, sequences: np.ndarray, messages: Sequence[str]) -> None:
        """Put attempts that failed on disk, and why each did."""
        self._lines.write({"query": _numbers(queries), "sequences": sequences.tolist(), "failed": list(messages)})

    def forgive(self) -> None:
        """What failed so far was the oracle's fault and not its sequences': they may be asked for again; the calls stay counted."""
        self._lines.write({"forgiven": True})

    def finish(self, *, keep: bool) -> None:
        """Close the file, and remove it unless it is to be kept: its answers lie in a finished table now."""
        self._lines.close()
        if not keep:
            self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Nothing more: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; it stays for the next run unless `finish` removed it."""
        self._lines.close()


def _numbers(queries: np.ndarray) -> int | list[int]:
    """Numbers that follow each other are written as their first."""
    first = int(queries[0])
    return first if (np.diff(queries) == 1).all() else queries.tolist()
