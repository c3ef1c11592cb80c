"""What a spreadsheet made of a table of measurements: byte order marks, semicolons and decimal commas are read, guesses are not made."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from llome.errors import OracleError
from llome.exchange import read_flag
from llome.scoring.problem import Problem
from llome.scoring.said import read_score

NEEDED = ("id", "sequence", "score")
_POINT = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
_COMMA = re.compile(r"[+-]?(\d+,\d*|,\d+)([eE][+-]?\d+)?")


@dataclass(frozen=True)
class Row:
    """One measured sequence, or one that could not be measured."""

    line: int
    """Line of the file, from 1."""
    id: int
    score: float | None
    """Higher is better, -inf infeasible; None: it failed."""
    message: str
    shown: str
    """What the file says of it, for messages."""


def read_plate(path: Path, texts: Mapping[int, str], problem: Problem) -> tuple[list[Row], list[tuple[int, str]]]:
    """The rows of a plate that say something, and all that is wrong with it: lines (0: the file) and what is the matter.

    Args:
        path: the CSV.
        texts: the sequences that were asked for, by their ids.
        problem: whose sign the scores have.

    Raises:
        OracleError: the file cannot be read at all.
    """
    lines, separator = _split(path)
    if not lines:
        return [], [(0, f"the file is empty; it needs the columns {', '.join(NEEDED)}")]
    header = [name.strip().lower() for name in lines[0][1]]
    missing = [name for name in NEEDED if name not in header]
    if missing:
        found = ", ".join(filter(None, header)) or "none"
        return [], [(lines[0][0], f"the column {' and '.join(missing)} is missing; the columns are {found}")]
    twice = {name for name in (*NEEDED, "feasible", "message") if header.count(name) > 1}
    if twice:
        return [], [(lines[0][0], f"the column {' and '.join(sorted(twice))} comes twice; keep one")]
    rows: list[Row] = []
    mistakes: list[tuple[int, str]] = []
    first: dict[int, int] = {}
    points, commas = [], []
    for line, cells in lines[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(header) and any(cell.strip() for cell in cells[len(header) :]):
            why = "; a decimal comma? write a point, or quote the cell's text" if separator == "," else ""
            mistakes.append((line, f"{len(cells)} cells under {len(header)} columns{why}"))
            continue
        row = {name: cell.strip() for name, cell in zip(header, [*cells, *[""] * len(header)], strict=False)}
        number = int(row["id"]) if re.fullmatch(r"\d{1,18}", row["id"]) else None
        if number is None or number not in texts:
            ids = f"{min(texts)} to {max(texts)}"
            mistakes.append((line, f"{row['id']!r} is the id of no sequence that was asked for in this round ({ids})"))
            continue
        if number in first:
            mistakes.append((line, f"id {number} stands in line {first[number]} as well; keep one row"))
            continue
        first[number] = line
        if row["sequence"] != texts[number]:
            mistakes.append((line, f"id {number} is the sequence {texts[number]!r}, not {row['sequence']!r}"))
            continue
        text = row["score"].replace("\u2212", "-")
        score: float | str | None = text or None
        if _POINT.fullmatch(text):
            score = float(text)
            if "." in text:
                points.append(line)
        elif separator != "," and _COMMA.fullmatch(text):
            score = float(text.replace(",", "."))
            commas.append(line)
        feasible, message = row.get("feasible", ""), row.get("message", "")
        if not text and not message and read_flag(feasible) in (None, True) and (not feasible or read_flag(feasible)):
            continue  # not measured yet
        if isinstance(score, str):
            more = (
                "; the file is separated by commas, so a decimal comma is not taken" if _COMMA.fullmatch(text) else ""
            )
            mistakes.append((line, f"id {number}: the score {text!r} is no number{more}"))
            continue
        if feasible and read_flag(feasible) is None:
            mistakes.append((line, f"id {number}: feasible is {feasible!r}; say yes or no, or nothing"))
            continue
        value, why = read_score(problem, {"score": score, "feasible": feasible or None, "message": message or None})
        if value is None and score is not None:
            mistakes.append((line, f"id {number}: {why}"))
            continue
        rows.append(Row(line, number, value, why, f"the score {text}" if text else "no score"))
    if points and commas:
        mistakes.append(
            (commas[0], f"a decimal comma, but line {points[0]} has a decimal point; write all numbers in one way")
        )
    return rows, mistakes


def _split(path: Path) -> tuple[list[tuple[int, list[str]]], str]:
    """Lines with their numbers, split at the commas, semicolons or tabs that make columns of the header."""
    try:
        raw = path.read_bytes()
    except OSError as err:
        raise OracleError(f"cannot read {path}: {err.strerror or err}") from err
    if raw[:2] in (b"\xff\xfe", b"\xfe\xff", b"PK"):
        raise OracleError(
            f"{path} is no plain text (a workbook, or UTF-16); save it from the spreadsheet as CSV (UTF-8)"
        )
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = raw.decode("cp1252", errors="replace")  # messages with umlauts, from a spreadsheet of old
    top = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(",;\t", key=lambda mark: sum(cell.strip(' "').lower() in NEEDED for cell in top.split(mark)))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
        lines = [(reader.line_num, cells) for cells in reader]
    except csv.Error as err:
        raise OracleError(f"{path} is no CSV: {err}; save it from the spreadsheet as CSV (UTF-8)") from err
    while lines and not any(cell.strip() for cell in lines[0][1]):
        del lines[0]
    return lines, separator
