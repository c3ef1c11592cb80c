"""Labels are money: every answered batch is on disk before the next one is asked.

An append-only file of JSON lines, one a batch, synced one by one. A run that was killed and is started again with the
same settings reads its answers here instead of asking twice. The file is scratch: the stage deletes it once its table
is in place.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from llome.errors import LlomeError, OracleError
from llome.provenance import canonical_json, hash_json


class Journal:
    """The answers to queries `first`, `first` + 1, ... of one run; use it as a context manager."""

    def __init__(self, path: str | Path, key: Any, length: int) -> None:
        """Open `path`, and keep what it holds if it belongs to `key`, all that determines the run, as JSON.

        Sequences have `length` elements. A last line that was cut short is dropped; a journal of another key (settings
        have changed) is begun anew. Raises OracleError where an earlier line is corrupt, LlomeError where the file
        cannot be written.
        """
        self.path = Path(path)
        self._key = hash_json(key)
        self._sequences = np.empty((0, length), dtype=np.int64)
        self._scores = np.empty(0)
        self._first: int | None = None
        try:
            self._file = open(self.path, "a+b")  # noqa: SIM115
        except OSError as err:
            raise LlomeError(
                f"cannot write {self.path}: {err.strerror or err}; mend its permissions or choose another output"
            ) from err
        try:
            self._recover()
        except BaseException:
            self._file.close()
            raise

    def _recover(self) -> None:
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        header, *answers = whole.splitlines() or [b"{}"]
        if self._parse(1, header).get("key") != self._key:
            self._file.truncate(0)
            self._write({"key": self._key})
            return
        if len(whole) < len(text):
            self._file.truncate(len(whole))
        for number, raw in enumerate(answers, start=2):
            line = self._parse(number, raw)
            try:
                expected = line["query"] if self._first is None else self._first + len(self._scores)
                scores = np.array([-np.inf if s is None else s for s in line["scores"]], dtype=np.float64)
                sequences = np.array(line["sequences"], dtype=np.int64).reshape(len(scores), self._sequences.shape[1])
            except (KeyError, TypeError, ValueError) as err:
                raise self._corrupt(number) from err
            if line["query"] != expected:
                raise self._corrupt(number)
            self._remember(expected, sequences, scores)

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError as err:
            raise self._corrupt(number) from err
        if not isinstance(value, dict):
            raise self._corrupt(number)
        return value

    def _corrupt(self, number: int) -> OracleError:
        return OracleError(
            f"{self.path}: line {number} is corrupt; delete the file, and the answers it holds are asked for again"
        )

    def _remember(self, query: int, sequences: np.ndarray, scores: np.ndarray) -> None:
        self._first = query if self._first is None else self._first
        self._sequences = np.concatenate([self._sequences, sequences])
        self._scores = np.concatenate([self._scores, scores])

    def _write(self, line: dict[str, Any]) -> None:
        self._file.write(canonical_json(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def replay(self, query: int, sequences: np.ndarray) -> np.ndarray:
        """(M,) scores of the first M <= N of `sequences` (N, L), queries `query` and following: those answered already.

        Raises OracleError where the journal answers other sequences under these numbers.
        """
        if self._first is None:
            return np.empty(0)
        start = query - self._first
        known = self._sequences[start : start + len(sequences)] if start >= 0 else None
        if known is None or not np.array_equal(known, sequences[: len(known)]):
            raise OracleError(
                f"{self.path} answers other sequences from query {query} on than are asked now, though the settings are"
                " the same (another version wrote it?); delete the file, and its answers are asked for again"
            )
        return self._scores[start : start + len(sequences)]

    def append(self, query: int, sequences: np.ndarray, scores: np.ndarray) -> None:
        """Put an answered batch on disk: sequences (N, L), scores (N,), the first of them query number `query`."""
        answers = [None if s == -np.inf else s for s in scores.tolist()]
        self._write({"query": query, "sequences": sequences.tolist(), "scores": answers})

    def delete(self) -> None:
        """Close and remove the file: its answers lie in a finished table now."""
        self._file.close()
        self.path.unlink(missing_ok=True)

    def __enter__(self) -> Self:
        """Nothing more: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; it stays for the next run unless `delete` was called."""
        self._file.close()
