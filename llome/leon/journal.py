"""Answers of a model are money: every call is on disk before it is made, every answer before anything is done with it.

An append-only file of JSON lines, synced one by one. A run that was killed and is started again reads its answers here and asks only what
was not answered. A call without an answer was lost with the process; it is asked again under its number, and both are counted.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from llome.errors import LlomeError, TableError
from llome.provenance import canonical_json, hash_json


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

        A last line that was cut short is dropped; a journal of another key is put aside, where it holds answers, and begun anew. Raises
        TableError where an earlier line is corrupt, LlomeError where the file cannot be written.
        """
        self._path = path
        self._file: BinaryIO | None = None
        self._known: list[tuple[Any, dict[str, Any], int]] = []
        """Question, answer and where its call begins in the file, by number."""
        self._next = 0
        self._asked = self._answered = self._failed = 0
        if path is None:
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b")  # noqa: SIM115
        except OSError as err:
            raise LlomeError(f"cannot write {path}: {err.strerror or err}; choose another output") from err
        try:
            self._recover(hash_json(key))
        except BaseException:
            self._file.close()
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
            self._turn(number, place)
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

    def _recover(self, key: str) -> None:
        assert self._file is not None
        self._file.seek(0)
        text = self._file.read()
        whole = text[: text.rfind(b"\n") + 1]
        lines = whole.splitlines(keepends=True)
        if self._parse(1, lines[0] if lines else b"{}").get("key") != key:
            if len(lines) > 1:
                self._aside(text, "settings have changed")
            self._file.truncate(0)
            self._write({"key": key})
            return
        self._file.truncate(len(whole))
        place, question, began = len(lines[0]), None, 0
        for number, raw in enumerate(lines[1:], start=2):
            line = self._parse(number, raw)
            if line.get("call") != len(self._known):
                raise self._corrupt(number)
            if "question" in line:
                question, began = line["question"], place
                self._asked += 1
            elif "failed" in line:
                self._failed += 1
            elif isinstance(line.get("answer"), dict):
                self._known.append((question, line["answer"], began))
                self._answered += 1
            else:
                raise self._corrupt(number)
            place += len(raw)

    def _turn(self, number: int, place: int) -> None:
        """Go another way from call `number` on."""
        assert self._file is not None
        self._file.seek(0)
        text = self._file.read()
        self._aside(
            text, f"from call {number} on other questions are asked than before, though the settings are the same"
        )
        self._file.truncate(place)
        del self._known[number:]

    def _aside(self, text: bytes, why: str) -> None:
        assert self._path is not None
        aside = self._path.with_name(f"{self._path.name}.{hash_json(text.decode(errors='replace'))}")
        aside.write_bytes(text)
        print(f"warning: {why}; what was answered before lies in {aside}", file=sys.stderr)

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError as err:
            raise self._corrupt(number) from err
        if not isinstance(value, dict):
            raise self._corrupt(number)
        return value

    def _corrupt(self, number: int) -> TableError:
        return TableError(f"{self._path}: line {number} is corrupt; delete the file, and its calls are made again")

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(canonical_json(line).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())

    def __enter__(self) -> Self:
        """Nothing more: it is open."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file; it stays."""
        if self._file is not None:
            self._file.close()
