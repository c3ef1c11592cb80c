"""Answers of a model are money: every call is on disk before it is made, every answer before anything is done with it.

An append-only file of JSON lines, synced one by one. A run that was killed and is started again reads its answers here and asks only what
was not answered. A call without an answer was lost with the process; it is asked again under its number, and both are counted.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from llome.errors import LlomeError, TableError
from llome.lines import Lines
from llome.provenance import canonical_json


@dataclass(frozen=True)
class Counts:
    """What a journal knows of its calls, all runs together."""

    asked: int = 0
    """Calls made."""
    answered: int = 0
    """Those with an answer."""
    failed: int = 0
    """Those that ended in an error."""

    @property
    def lost(self) -> int:
        """Those that a process died in."""
        return self.asked - self.answered - self.failed


def lost_calls(folder: Path) -> int:
    """Calls that processes died in, by all journals of a folder: a server may have been paid for them, and was asked again."""
    lost = 0
    for path in sorted(folder.glob("*.jsonl")):
        lines = [json.loads(line) for line in path.read_bytes().splitlines()[1:]]
        lost += sum(1 if "question" in line else -1 for line in lines)
    return lost


class Calls:
    """The calls of one run, in their order; use it as a context manager."""

    def __init__(self, path: Path | None, key: Any) -> None:
        """Open `path` (None: nothing is kept), and take what it holds if it belongs to `key`, all that determines the run, as JSON.

        Raises TableError where a line is corrupt, LlomeError where the file cannot be written.
        """
        self._lines: Lines | None = None
        self._known: list[tuple[Any, dict[str, Any], int]] = []
        """Question, answer and where its call begins in the file, by number."""
        self._next = 0
        self._asked = self._answered = self._failed = 0
        if path is None:
            return
        remedy = "delete the file, and its calls are made again"
        self._lines = Lines(path, key, corrupt=TableError, remedy=remedy)
        try:
            self._recover(self._lines)
        except BaseException:
            self._lines.close()
            raise

    def ask(self, question: Any, call: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The answer to the next question, JSON both: what the journal has, or else what `call` gives.

        Where the journal has another question in this place (another machine rounds otherwise, another version writes other prompts), what
        it holds from there on is put aside. Whatever `call` raises is noted and raised.
        """
        number, self._next = self._next, self._next + 1
        if number < len(self._known):
            asked, answer, place = self._known[number]
            if canonical_json(asked) == canonical_json(question):
                return answer
            assert self._lines is not None
            why = f"from call {number} on other questions are asked than before, though the settings are the same"
            self._lines.cut(place, why)
            del self._known[number:]
        self._write({"call": number, "question": question})
        self._asked += 1
        try:
            answer = call()
        except LlomeError as err:
            self._write({"call": number, "failed": str(err)})
            self._failed += 1
            raise
        self._write({"call": number, "answer": answer})
        self._answered += 1
        return answer

    @property
    def counts(self) -> Counts:
        """Calls of all runs, those of this one included."""
        return Counts(self._asked, self._answered, self._failed)

    def _recover(self, lines: Lines) -> None:
        question, began = None, 0
        for number, place, line in lines:
            if line.get("call") != len(self._known):
                raise lines.corrupt(number)
            if "question" in line:
                question, began = line["question"], place
                self._asked += 1
            elif "failed" in line:
                self._failed += 1
            elif isinstance(line.get("answer"), dict):
                self._known.append((question, line["answer"], began))
                self._answered += 1
            else:
                raise lines.corrupt(number)

    def _write(self, line: dict[str, Any]) -> None:
        if self._lines is not None:
            self._lines.write(line)

    def __enter__(self) -> Self:
        """Nothing more: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; it stays."""
        if self._lines is not None:
            self._lines.close()
