"""What is known beforehand: files that the user named, in memory, offered to a model as two tools, or as text.

A model names files by their names alone, and gets nothing but what was read before it was asked: no path of its making is ever opened.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llome.errors import ConfigError, TableError
from llome.exchange import read_columns, read_number
from llome.provenance import hash_file

TEXTS, TABLES = (".txt", ".md"), (".csv", ".parquet")
_PASSAGE = 1500
"""Most characters of a passage."""
_FOUND = 5
"""Passages of an answer."""
_ROWS = 20
"""Rows of an answer."""


@dataclass(frozen=True)
class Table:
    """A table of texts."""

    columns: dict[str, list[str]]

    @property
    def rows(self) -> int:
        """How many."""
        return len(next(iter(self.columns.values()), []))

    def where(self, column: str, value: str) -> list[dict[str, str]]:
        """Rows whose column is this text, in any case of letters, or this number."""
        wanted, number = value.strip().lower(), read_number(value)
        texts = self.columns[column]
        at = [
            i
            for i, text in enumerate(texts)
            if text.strip().lower() == wanted or (number is not None and read_number(text) == number)
        ]
        return [{name: values[i] for name, values in self.columns.items()} for i in at]


class Knowledge:
    """Files read once; what a model may ask of them."""

    def __init__(self, files: Sequence[Path]) -> None:
        """Read them. Raises ConfigError on another ending, two of one name, or one that cannot be read."""
        self.texts: dict[str, list[str]] = {}
        self.tables: dict[str, Table] = {}
        self.hashes: dict[str, str] = {}
        for file in files:
            suffix = file.suffix.lower()
            if file.name in self.hashes:
                raise ConfigError(f"knowledge: two files are called {file.name}; rename one")
            if suffix not in TEXTS + TABLES:
                raise ConfigError(f"knowledge: {file} ends in none of {', '.join(TEXTS + TABLES)}; convert it")
            try:
                if suffix in TEXTS:
                    self.texts[file.name] = _passages(file.read_text())
                else:
                    self.tables[file.name] = Table(_columns(file))
            except (OSError, UnicodeDecodeError, TableError) as err:
                raise ConfigError(f"knowledge: {file} cannot be read: {getattr(err, 'strerror', None) or err}") from err
            self.hashes[file.name] = hash_file(file)

    def describe(self) -> str:
        """What there is, a line each."""
        lines = [f"- {name}: text, {len(parts)} passages" for name, parts in self.texts.items()]
        lines += [
            f"- {n}: table of {t.rows} rows with the columns {', '.join(t.columns)}" for n, t in self.tables.items()
        ]
        return "\n".join(lines)

    def tools(self) -> list[dict[str, Any]]:
        """The tools, as the OpenAI protocol has them."""
        tools = []
        if self.texts:
            words = {"type": "string", "description": "words to look for"}
            tools.append(
                _tool(
                    "search_text", "Find the passages of a text that have most of some words.", self.texts, words=words
                )
            )
        if self.tables:
            column, value = ({"type": "string", "description": d} for d in ("name of a column", "what it must be"))
            tools.append(_tool("look_up", "Find rows of a table.", self.tables, column=column, value=value))
        return tools

    def call(self, tool: str, arguments: str) -> str:
        """What a tool says; where it cannot be called so, a line that begins with `error:` and says why."""
        try:
            given = json.loads(arguments or "{}")
        except (ValueError, RecursionError):
            return "error: the arguments are no JSON"
        if not isinstance(given, dict):
            return "error: the arguments are no JSON object"
        wanted = {"search_text": ("file", "words"), "look_up": ("file", "column", "value")}.get(tool)
        if wanted is None:
            return f"error: there is no tool {tool!r}"
        missing = [name for name in wanted if not isinstance(given.get(name), str | int | float)]
        if missing:
            return f"error: {missing[0]!r} is missing"
        file, *rest = (str(given[name]) for name in wanted)
        return self._search(file, rest[0]) if tool == "search_text" else self._look_up(file, rest[0], rest[1])

    def as_text(self, characters: int) -> str:
        """All files in full, tables as CSV, cut off at so many characters with a word that says so."""
        parts = [f"## {name}\n" + "\n\n".join(passages) for name, passages in self.texts.items()]
        for name, table in self.tables.items():
            out = io.StringIO()
            writer = csv.writer(out, lineterminator="\n")
            writer.writerow(table.columns)
            writer.writerows(zip(*table.columns.values(), strict=True))
            parts.append(f"## {name}\n{out.getvalue().rstrip()}")
        text = "\n\n".join(parts)
        return text if len(text) <= characters else text[:characters] + "\n(cut off here)"

    def _search(self, file: str, words: str) -> str:
        if file not in self.texts:
            return f"error: there is no text {file!r}; there is {', '.join(self.texts) or 'none'}"
        wanted = set(_words(words))
        passages = self.texts[file]
        seen = Counter(word for passage in passages for word in wanted & set(_words(passage)))
        marks = [sum(1 / seen[word] for word in wanted & set(_words(passage))) for passage in passages]
        best = sorted((i for i in range(len(passages)) if marks[i] > 0), key=lambda i: (-marks[i], i))[:_FOUND]
        return "\n---\n".join(passages[i] for i in best) or "nothing found"

    def _look_up(self, file: str, column: str, value: str) -> str:
        if file not in self.tables:
            return f"error: there is no table {file!r}; there is {', '.join(self.tables) or 'none'}"
        table = self.tables[file]
        if column not in table.columns:
            return f"error: {file} has no column {column!r}; it has {', '.join(table.columns)}"
        rows = table.where(column, value)
        if not rows:
            known = list(dict.fromkeys(table.columns[column]))
            return f"nothing found; {column} is {', '.join(known[:_ROWS])}{' and others' if len(known) > _ROWS else ''}"
        more = [f"and {len(rows) - _ROWS} rows more"] if len(rows) > _ROWS else []
        return "\n".join([json.dumps(row, ensure_ascii=False) for row in rows[:_ROWS]] + more)


def _columns(file: Path) -> dict[str, list[str]]:
    import pyarrow.csv as pacsv
    import pyarrow.parquet as pq

    names = pacsv.open_csv(file).schema.names if file.suffix.lower() == ".csv" else pq.read_schema(file).names
    return dict(zip(names, read_columns(file, names)[1], strict=True))


def _passages(text: str) -> list[str]:
    """Paragraphs, long ones in pieces."""
    parts = [part.strip() for part in re.split(r"\n\s*\n", text)]
    return [part[i : i + _PASSAGE] for part in parts if part for i in range(0, len(part), _PASSAGE)]


def _words(text: str) -> list[str]:
    return re.findall(r"[\w*+-]+", text.lower())


def _tool(name: str, about: str, files: dict[str, Any], **parameters: dict[str, str]) -> dict[str, Any]:
    properties = {"file": {"type": "string", "enum": list(files)}, **parameters}
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": about, "parameters": schema}}
