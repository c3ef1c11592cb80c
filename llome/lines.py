"""An append-only file of JSON lines, each on disk before anything else is done: what answers that have a price are kept in.

The first line says whose the file is. A last line that was cut short by a kill is dropped; what belongs to other settings is put aside,
never lost. What the lines mean is their owners' business: labels of an oracle (llome.scoring.journal), answers of a model
(llome.leon.journal).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llome.errors import LlomeError
from llome.provenance import canonical_json, hash_json


class Lines:
    """The lines of one run; `close` it."""

    def __init__(self, path: Path, key: Any, *, corrupt: type[LlomeError], remedy: str) -> None:
        """Open `path`, and keep what it holds if it belongs to `key`, all that determines the run, as JSON.

        A journal of another key is put aside, where it holds more than that, and begun anew. `corrupt` is raised, with the `remedy`, where
        a line cannot be read; LlomeError where the file cannot be written.
        """
        self.path = path
        self._fault, self._remedy = corrupt, remedy
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = open(path, "a+b")  # noqa: SIM115
        except OSError as err:
            raise LlomeError(
                f"cannot write {path}: {err.strerror or err}; mend its permissions or choose another output"
            ) from err
        try:
            self._begin(hash_json(key))
        except BaseException:
            self.close()
            raise

    def _begin(self, key: str) -> None:
        text = self._read()
        whole = text[: text.rfind(b"\n") + 1]
        header, *lines = whole.splitlines() or [b"{}"]
        if self._parse(1, header).get("key") == key:
            self._file.truncate(len(whole))
            return
        if lines:
            self._aside(text, "settings have changed")
        self._file.truncate(0)
        self.write({"key": key})

    def __iter__(self) -> Iterator[tuple[int, int, dict[str, Any]]]:
        """Of each line after the first, its number, the byte where it begins, and what it says."""
        header, *lines = self._read().splitlines(keepends=True)
        place = len(header)
        for number, line in enumerate(lines, start=2):
            yield number, place, self._parse(number, line)
            place += len(line)

    def write(self, line: dict[str, Any]) -> None:
        """Put a line on disk."""
        self._file.write(canonical_json(line).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())

    def cut(self, place: int, why: str) -> None:
        """Drop what begins at byte `place` and all after it; the file as it was is put aside."""
        self._aside(self._read(), why)
        self._file.truncate(place)

    def corrupt(self, number: int) -> LlomeError:
        """What to raise for line `number`."""
        return self._fault(f"{self.path}: line {number} is corrupt; {self._remedy}")

    def close(self) -> None:
        """Close the file; it stays."""
        self._file.close()

    def _read(self) -> bytes:
        self._file.seek(0)
        return self._file.read()

    def _parse(self, number: int, line: bytes) -> dict[str, Any]:
        try:
            value = json.loads(line)
        except ValueError as err:
            raise self.corrupt(number) from err
        if not isinstance(value, dict):
            raise self.corrupt(number)
        return value

    def _aside(self, text: bytes, why: str) -> None:
        aside = self.path.with_name(f"{self.path.name}.{hash_json(text.decode(errors='replace'))}")
        aside.write_bytes(text)
        print(f"warning: {why}; what was answered before lies in {aside}", file=sys.stderr)
