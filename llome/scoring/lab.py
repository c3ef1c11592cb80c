"""The laboratory as an oracle: what is to be measured is written into a table, and what was measured is read from another.

`llome label` writes to_label.csv and stops; somebody measures, fills it in and saves it as labeled.csv beside it; the same command
goes on. A plate is checked whole before anything of it is taken, and everything that is wrong with it is said at once.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llome.errors import ConfigError, OracleError, WaitingError
from llome.provenance import replacing
from llome.scoring.journal import Journal, Told
from llome.scoring.oracle import Answer, check_sequences
from llome.scoring.plate import Row, read_plate
from llome.scoring.problem import Posed, Problem

TO_LABEL, LABELED = "to_label.csv", "labeled.csv"
COLUMNS = ("id", "sequence", "score", "feasible", "message")


class Manual(Posed):
    """People who measure. Before it can be asked it has to know where its tables lie: see `place`."""

    kind = "manual"
    retries = 0  # whoever measures decides what is measured again

    def __init__(self, problem: Problem, wait: bool = True) -> None:
        """`wait`: until every sequence is measured; false: one plate is enough, and what it lacks was never asked for.

        Raises:
            ConfigError: repeats, which whoever measures averages.
        """
        super().__init__(problem)
        if problem.repeats != 1:
            raise ConfigError(
                f"repeats is {problem.repeats}, but a plate has one score a sequence; leave repeats out and write the mean"
            )
        if not isinstance(wait, bool):
            raise ConfigError(f"wait is {wait!r}; say true, or false to go on with what was measured")
        self.wait = wait
        self._folder: Path | None = None
        self._plate: dict[int, Row] | None = None
        self._known = 0

    @property
    def arguments(self) -> dict[str, Any]:
        """Nothing that makes it another problem."""
        return {}

    @property
    def patience(self) -> dict[str, Any]:
        """Whether it waits for what is missing."""
        return {"wait": self.wait}

    def initial_solution(self) -> np.ndarray:
        """Refused. Raises ConfigError: the genetic algorithm would ask for thousands of measurements."""
        raise ConfigError(
            "the genetic algorithm asks for more than anybody measures by hand; begin with labels of your own:"
            " seed: {table: mine.csv} in the experiment"
        )

    def place(self, folder: Path, sequences: np.ndarray, queries: np.ndarray, journal: Journal) -> None:
        """Say where the tables lie, and what this round asks for: (N, L) integers under the numbers (N,), their ids.

        Reads labeled.csv where it is there. A score for what could not be measured before is taken in its place.
        Raises OracleError, with a note for each mistake, where the plate is not clean; nothing of it is taken then.
        """
        self._folder, self._plate = folder, None
        told = journal.replay(queries, sequences)
        self._known = int((~np.isnan(told.score) | (told.failures > 0)).sum())
        if not (folder / LABELED).is_file():
            return
        texts = dict(zip(queries.tolist(), self.problem.letters.decode(sequences), strict=True))
        rows, mistakes = read_plate(folder / LABELED, texts, self.problem)
        mistakes += _contradictions(rows, queries, told)
        if mistakes:
            lines = ", ".join(dict.fromkeys(str(line) for line, _ in mistakes if line))
            err = OracleError(
                f"{folder / LABELED} has {len(mistakes)} mistake{'s' if len(mistakes) > 1 else ''}"
                f"{f' (line {lines})' if lines else ''}; nothing was taken from it: correct it, then run the same command again"
            )
            for line, text in sorted(mistakes):
                err.add_note(f"{LABELED}, line {line}: {text}" if line else f"{LABELED}: {text}")
            raise err
        self._plate = {row.id: row for row in rows}
        for number, query in enumerate(queries.tolist()):
            row = self._plate.get(query)
            if row is not None and row.score is not None and told.failures[number] and np.isnan(told.score[number]):
                here = slice(number, number + 1)
                journal.revise(queries[here], sequences[here], np.array([row.score]))

    def __call__(self, sequences: np.ndarray, *, query: int = 0) -> np.ndarray:
        """Refused. Raises ConfigError: nobody measures while a program waits."""
        raise ConfigError("a manual oracle is asked by `llome label` alone, one round at a time")

    def answers(self, sequences: np.ndarray, queries: np.ndarray) -> Iterator[Sequence[Answer]]:
        """See `Streaming`. What the plate holds; then, where that is not enough, WaitingError says what to do."""
        if self._folder is None:
            self(sequences)
        assert self._folder is not None
        texts = self.problem.letters.decode(check_sequences(sequences, self.domain))
        plate = self._plate or {}
        found = [
            Answer(number, plate[query].score, plate[query].message)
            for number, query in enumerate(queries.tolist())
            if query in plate
        ]
        if found:
            yield found
        missing = [number for number, query in enumerate(queries.tolist()) if query not in plate]
        known = self._known + len(found)
        if missing and (self.wait or not known):
            self._ask(missing, texts, queries, known)

    def close(self) -> None:
        """Nothing runs."""

    def done(self) -> None:
        """Take away the question: it is answered."""
        if self._folder is not None:
            (self._folder / TO_LABEL).unlink(missing_ok=True)

    def _ask(self, missing: list[int], texts: list[str], queries: np.ndarray, known: int) -> None:
        assert self._folder is not None
        with (
            replacing(self._folder / TO_LABEL) as temporary,
            open(temporary, "w", newline="", encoding="utf-8") as file,
        ):
            table = csv.writer(file)
            table.writerow(COLUMNS)
            table.writerows([int(queries[number]), texts[number], "", "", ""] for number in missing)
        kept = f" ({known} are measured and kept)" if known else ""
        wanted = "1 sequence is" if len(missing) == 1 else f"{len(missing)} sequences are"
        raise WaitingError(
            f"{wanted} to be measured{kept}: fill in the score of each in {self._folder / TO_LABEL} (or, where one"
            f" cannot be measured, why not under message), save it as {LABELED} in the same folder, and run the same command again"
        )


def _contradictions(rows: list[Row], queries: np.ndarray, told: Told) -> list[tuple[int, str]]:
    """Scores that are not those of an earlier plate, by line."""
    before = dict(zip(queries.tolist(), told.score.tolist(), strict=True))
    return [
        (
            row.line,
            f"id {row.id} has {row.shown} here, and {before[row.id]:g} (higher is better) was taken from an earlier plate",
        )
        for row in rows
        if not np.isnan(before[row.id]) and row.score != before[row.id]
    ]
