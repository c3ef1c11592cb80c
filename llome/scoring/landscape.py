"""Landscapes that were measured before (TFBind8, TrpB, GB1, ...): the oracle is a look-up in the user's own table.

The table stays where it is; the spec holds its path as the user wrote it and the hash of its content, and a table that has changed
since is refused. What a sequence scores that the table lacks is the user's to say: infeasible, or an error.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from llome.domain import PAD
from llome.errors import ConfigError, LlomeError, OracleError
from llome.exchange import is_parquet, read_flag, read_table
from llome.provenance import hash_file
from llome.scoring.oracle import check_sequences
from llome.scoring.problem import Posed, Problem
from llome.tables import row_keys


class Landscape(Posed):
    """A table of sequences and scores, CSV or Parquet."""

    kind = "table"

    def __init__(
        self,
        problem: Problem,
        path: str,
        sequence_column: str = "sequence",
        score_column: str = "score",
        feasible_column: str | None = None,
        missing: Literal["infeasible", "error"] = "error",
    ) -> None:
        """Nothing is read yet.

        Args:
            problem: what all kinds share.
            path: CSV or Parquet, from the folder that runs are started in.
            sequence_column: column of the sequences as text.
            score_column: column of the scores.
            feasible_column: column of yes or no (true or false, 1 or 0), if there is one; what says no is infeasible.
            missing: what a sequence is that the table lacks.

        Raises:
            ConfigError: another value of `missing`, or more than one measurement asked for.
        """
        super().__init__(problem)
        if missing not in ("infeasible", "error"):
            raise ConfigError(f"missing is {missing!r}; say infeasible, or error")
        if problem.repeats != 1:
            raise ConfigError(f"repeats is {problem.repeats}, but a table always says the same; leave repeats out")
        self.path = path
        self.sequence_column = sequence_column
        self.score_column = score_column
        self.feasible_column = feasible_column
        self.missing = missing

    @property
    def arguments(self) -> dict[str, Any]:
        """The table, its columns, and what is missing from it."""
        names = ("path", "sequence_column", "score_column", "feasible_column", "missing")
        return {name: getattr(self, name) for name in names}

    @property
    def patience(self) -> dict[str, Any]:
        """A table answers at once."""
        return {}

    @property
    def deterministic(self) -> bool:
        """It always says the same."""
        return True

    @cached_property
    def drawn(self) -> dict[str, Any]:
        """The hash of the table's content, and the best score in it."""
        best = self._rows[1].max(initial=-np.inf)
        return {"content": self._content(), "best": float(best) if np.isfinite(best) else None}

    @property
    def optimum(self) -> float | None:
        """The user's, or the best score of the table."""
        return super().optimum if self.problem.optimum is not None else self.drawn["best"]

    def _content(self) -> str:
        if not Path(self.path).is_file():
            raise ConfigError(
                f"there is no table {self.path}; name a CSV or Parquet file, by its path from the folder this is started in"
            )
        return hash_file(self.path)

    def restore(self, drawn: dict[str, Any]) -> None:
        """Only a table of the same content will do, once it is asked."""
        self.drawn = {"content": drawn["content"], "best": drawn["best"]}

    def __call__(self, sequences: np.ndarray, *, query: int = 0) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores. Raises OracleError on one that is missing, where that is an error."""
        sequences = check_sequences(sequences, self.domain)
        keys, scores = self._sorted
        wanted = row_keys(sequences)
        at = np.searchsorted(keys, wanted).clip(max=len(keys) - 1)
        found = keys[at] == wanted
        if self.missing == "error" and not found.all():
            text = self.problem.letters.decode(sequences[~found][:1])[0]
            raise OracleError(
                f"{self.path} has no score of {text!r} ({int((~found).sum())} of {len(found)} asked for are missing); add it, or say"
                " missing: infeasible"
            )
        return np.where(found, scores[at], -np.inf)

    @cached_property
    def _sorted(self) -> tuple[np.ndarray, np.ndarray]:
        """Keys of the table's sequences in order, and their scores."""
        if self._content() != self.drawn["content"]:
            raise OracleError(
                f"{self.path} has changed since the oracle was drawn from it; bring the old table back, or begin a new run"
            )
        sequences, scores = self._rows
        keys = row_keys(sequences)
        order = np.argsort(keys, kind="stable")
        keys, scores = keys[order], scores[order]
        same = keys[1:] == keys[:-1]
        if (same & (scores[1:] != scores[:-1])).any():
            at = int((same & (scores[1:] != scores[:-1])).argmax())
            text = self.problem.letters.decode(sequences[order[at : at + 1]])[0]
            raise ConfigError(
                f"{self.path} has two scores of {text!r}, in {self._line(order[at])} and {self._line(order[at + 1])}; keep one"
            )
        return keys, scores

    def _line(self, row: int) -> str:
        return f"row {row}" if is_parquet(self.path) else f"line {row + 2}"

    @cached_property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """(N, L) sequences and (N,) scores, higher is better, -inf infeasible, in the order of the file."""
        self._content()
        columns = [c for c in (self.sequence_column, self.score_column, self.feasible_column) if c is not None]
        table = read_table(self.path, columns=columns, numbers=[self.score_column])
        for column in columns:
            if column not in table.column_names:
                raise ConfigError(f"{self.path} has no column {column!r}; it has {', '.join(table.column_names)}")
        if not table.num_rows:
            raise ConfigError(f"{self.path} has no row")
        sequences = self._encode(table[self.sequence_column].combine_chunks())
        scores = self._numbers(table[self.score_column].combine_chunks())
        feasible = np.ones(len(scores), dtype=bool)
        if self.feasible_column is not None:
            said = table[self.feasible_column].combine_chunks().dictionary_encode()
            values = [read_flag(str(value)) for value in said.dictionary.to_pylist()]
            codes = said.indices.fill_null(-1).to_numpy(zero_copy_only=False)
            wrong = (codes < 0) | np.array([*(v is None for v in values), True])[codes]
            if wrong.any():
                row = int(wrong.argmax())
                text = table[self.feasible_column][row].as_py()
                raise ConfigError(
                    f"{self.path}: {self._line(row)}: {self.feasible_column} is {text!r}; say yes or no (true or false, 1 or 0)"
                )
            feasible = np.array([*(bool(v) for v in values), False])[codes]
        scores = scores if self.problem.maximize else 0.0 - scores
        bad = feasible & (np.isnan(scores) | (scores == np.inf))
        if bad.any():
            row = int(bad.argmax())
            raise ConfigError(
                f"{self.path}: {self._line(row)}: {self.score_column} is {table[self.score_column][row].as_py()!r}; scores are finite"
                " (leave out what was not measured; what is infeasible has no in feasible_column)"
            )
        return sequences, np.where(feasible, scores, -np.inf)

    def _encode(self, texts: pa.Array) -> np.ndarray:
        """(N, L) int16; letters of one character all at once."""
        alphabet, (shortest, longest) = self.problem.letters, self.problem.lengths
        if not pa.types.is_string(texts.type) and not pa.types.is_large_string(texts.type):
            raise ConfigError(f"{self.path}: {self.sequence_column} holds {texts.type}; sequences are text")
        if texts.null_count:
            row = int(texts.is_null().to_numpy(zero_copy_only=False).argmax())
            raise ConfigError(f"{self.path}: {self._line(row)} has no sequence")
        if alphabet.separator:
            return np.stack([self._one(row, text) for row, text in enumerate(texts.to_pylist())]).astype(np.int16)
        words = np.array(texts.to_numpy(zero_copy_only=False), dtype=np.str_)
        lengths = np.char.str_len(words)
        if lengths.min() < shortest or lengths.max() > longest:
            row = int(((lengths < shortest) | (lengths > longest)).argmax())
            self._one(row, str(words[row]))
        codes = words.astype(f"U{longest}").view(np.uint32).reshape(len(words), longest)
        number = np.full(max(int(codes.max()), *map(ord, alphabet.letters)) + 1, PAD - 1, dtype=np.int16)
        number[0] = PAD
        number[[ord(letter) for letter in alphabet.letters]] = np.arange(len(alphabet.letters))
        elements = number[codes]
        if (elements < PAD).any():
            row = int((elements < PAD).any(axis=1).argmax())
            self._one(row, str(words[row]))
        return elements

    def _one(self, row: int, text: str) -> np.ndarray:
        try:
            return self.problem.encode(text, self.sequence_column)
        except LlomeError as err:
            raise ConfigError(f"{self.path}: {self._line(row)}: {err}") from None

    def _numbers(self, column: pa.Array) -> np.ndarray:
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind)):
            text = [str(value) for value in column.to_pylist()]
            row = next((i for i, value in enumerate(text) if not _is_number(value)), 0)
            raise ConfigError(
                f"{self.path}: {self._line(row)}: {self.score_column} is {text[row]!r}, which is no number"
            )
        return column.cast(pa.float64()).to_numpy(zero_copy_only=False).astype(np.float64)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
