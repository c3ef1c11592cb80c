"""Sequences and scores in people's own files: CSV, Parquet and FASTA, read with all faults told at once, and written.

What people write is text in the letters of the problem's alphabet and scores in their own sense; what stages read is integers and
scores that are higher where better (llome.tables). In a FASTA file a score stands in the header: `>name score=0.53`. Nothing in a
file is ever evaluated.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from llome.domain import PAD, Domain
from llome.errors import ConfigError, TableError
from llome.provenance import replacing

FORMATS = (".csv", ".parquet", ".pq", ".fasta", ".fa")
_YES, _NO = ("yes", "y", "true", "t", "1", "1.0"), ("no", "n", "false", "f", "0", "0.0")
_SHOWN = 8


class Faults:
    """What is wrong with a file, collected so that a person mends it once."""

    def __init__(self, path: str | Path) -> None:
        self.path, self.found = path, list[str]()

    def add(self, line: int, what: str) -> None:
        """Note what is wrong in a line (from 1, the header's)."""
        self.found.append(f"line {line}: {what}")

    def check(self) -> None:
        """Raise TableError with what was found, the first few in words."""
        if self.found:
            more = f"; and {len(self.found) - _SHOWN} more" if len(self.found) > _SHOWN else ""
            raise TableError(
                f"{self.path} has {len(self.found)} faults: {'; '.join(self.found[:_SHOWN])}{more}; mend the file, nothing was taken"
                if len(self.found) > 1
                else f"{self.path}: {self.found[0]}; mend the file, nothing was taken"
            )


def read_table(path: str | Path, *, columns: Sequence[str] | None = None, numbers: Sequence[str] = ()) -> pa.Table:
    """A CSV or Parquet file.

    Args:
        path: ends in .parquet or .pq; anything else is CSV with a header.
        columns: those to read of a Parquet file, as far as it has them; None: all.
        numbers: columns of a CSV whose type is told from what they hold; all others are text, an empty field an empty text.

    Raises:
        TableError: it does not exist, or is none.
    """
    try:
        if is_parquet(path):
            names = pq.read_schema(path).names
            return pq.read_table(path, columns=None if columns is None else [c for c in columns if c in names] or None)
        with pacsv.open_csv(path) as file:
            names = file.schema.names
        text = dict.fromkeys((name for name in names if name not in numbers), pa.string())
        return pacsv.read_csv(path, convert_options=pacsv.ConvertOptions(column_types=text, strings_can_be_null=False))
    except FileNotFoundError as err:
        raise TableError(f"{path} does not exist; name the file of your sequences") from err
    except (pa.ArrowException, OSError, UnicodeDecodeError) as err:
        raise TableError(
            f"{path} cannot be read ({' '.join(str(err).split())}); give a CSV with a header, or a Parquet file"
        ) from err


def is_parquet(path: str | Path) -> bool:
    """Whether a file's name says that it is Parquet."""
    return Path(path).suffix.lower() in (".parquet", ".pq")


def read_columns(path: str | Path, columns: Sequence[str]) -> tuple[list[int], list[list[str]]]:
    """Line numbers and the texts of the named columns of a CSV, Parquet or FASTA file.

    FASTA has the columns name, sequence and whatever its headers say as `key=value`. Raises TableError where the file cannot be read or
    lacks a column, naming those it has.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: a file of sequences ends in {', '.join(FORMATS)}; rename or convert it")
    if suffix in (".fasta", ".fa"):
        try:
            lines, table = _read_fasta(path)
        except FileNotFoundError as err:
            raise TableError(f"{path} does not exist; name the file of your sequences") from err
        except (OSError, UnicodeDecodeError) as err:
            raise TableError(f"{path} cannot be read ({' '.join(str(err).split())}); mend or convert it") from err
    else:
        read = read_table(path)
        table = {name: read[name].to_pylist() for name in read.column_names}
        first = 1 if is_parquet(path) else 2
        lines = list(range(first, first + read.num_rows))
    for name in columns:
        if name not in table:
            other = next((mark for mark in (";", "\t") if len(table) == 1 and mark in next(iter(table))), None)
            if other is not None:
                raise TableError(
                    f"{path} is separated by {'semicolons' if other == ';' else 'tabs'}; save it with commas"
                )
            raise TableError(
                f"{path} has no column {name!r}, it has {', '.join(table)}; say which with --sequence_column, --score_column or"
                " --feasible_column (in an experiment, beside table: under seed)"
            )
    return lines, [["" if v is None else str(v) for v in table[name]] for name in columns]


def _read_fasta(path: str | Path) -> tuple[list[int], dict[str, list[str]]]:
    records: list[tuple[int, dict[str, str]]] = []
    for number, raw in enumerate(Path(path).read_text().splitlines(), start=1):
        line = raw.strip()
        if line.startswith(">"):
            name, _, rest = line[1:].partition(" ")
            said = dict(re.findall(r"(\w+)=(\S+)", rest))
            records.append((number, {**said, "name": name, "sequence": ""}))
        elif line and not records:
            raise TableError(f"{path}: line {number} stands before the first header; a FASTA file begins with >")
        elif line:
            records[-1][1]["sequence"] += line
    names = list(dict.fromkeys(key for _, record in records for key in record)) or ["name", "sequence"]
    return [number for number, _ in records], {key: [r.get(key, "") for _, r in records] for key in names}


def encode_sequences(lines: Iterable[int], texts: Iterable[str], domain: Domain, faults: Faults) -> np.ndarray:
    """(N, L) int16 of texts in the alphabet's letters, `PAD` after an end; what cannot be read is a fault, and a row of `PAD`."""
    alphabet, least = domain.alphabet, domain.length if domain.shortest is None else domain.shortest
    rows = []
    for line, text in zip(lines, texts, strict=True):
        row: list[int] = []
        try:
            row = alphabet.encode(text.strip())
            if not least <= len(row) <= domain.length:
                wanted = f"{least}" if least == domain.length else f"{least} to {domain.length}"
                faults.add(line, f"{text!r} has length {len(row)}, expected {wanted}")
                row = []
        except ConfigError as err:
            faults.add(line, str(err))
        rows.append(row + [PAD] * (domain.length - len(row)))
    return np.array(rows, dtype=np.int16).reshape(-1, domain.length)


def read_number(text: str) -> float | None:
    """The finite number that a text is, or None."""
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def read_flag(text: str) -> bool | None:
    """Whether a text says yes (yes, true, 1) or no (no, false, 0), in any case of letters; None for anything else."""
    word = text.strip().lower()
    return True if word in _YES else False if word in _NO else None


def read_scored(
    path: str | Path,
    domain: Domain,
    *,
    sequence_column: str = "sequence",
    score_column: str = "score",
    feasible_column: str | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """(N, L) int16 sequences and (N,) float64 scores, higher is better, -inf infeasible, in the file's order.

    Infeasible is a sequence whose `feasible_column` says no, whatever its score, or whose score is -inf (inf, where people minimise).

    Raises:
        TableError: the file cannot be read, lacks a column, or has faults (unknown letters, other lengths, scores that are no numbers,
            flags that say neither yes nor no): all are told at once, by line.
    """
    columns = [sequence_column, score_column, *([feasible_column] if feasible_column else [])]
    lines, (texts, said, *flags) = read_columns(path, columns)
    faults = Faults(path)
    sequences = encode_sequences(lines, texts, domain, faults)
    sign, worst = (1.0, "-inf") if domain.maximize else (-1.0, "inf")
    scores = np.full(len(lines), -np.inf)
    for row, (line, text) in enumerate(zip(lines, said, strict=True)):
        flag = read_flag(flags[0][row]) if flags else True
        value = read_number(text.strip())
        if flag is None:
            faults.add(line, f"{feasible_column} is {flags[0][row]!r}, expected yes or no")
        elif flag and value is not None:
            scores[row] = sign * value
        elif flag and text.strip().lower() != worst:
            faults.add(line, f"{score_column} is {text!r}, expected a number, or {worst} where infeasible")
    faults.check()
    return sequences, scores


def write_rows(path: str | Path, columns: Mapping[str, Sequence[object]]) -> None:
    """Write columns, the first of them `sequence`, as CSV, Parquet or FASTA, by the ending of `path`; beside it, then renamed.

    Raises ConfigError on another ending.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in FORMATS:
        raise ConfigError(f"{path}: give a file that ends in {', '.join(FORMATS)}")
    table = pa.table({name: list(values) for name, values in columns.items()})
    with replacing(path) as temporary:
        if suffix == ".csv":
            pacsv.write_csv(table, temporary, pacsv.WriteOptions(quoting_style="needed"))
        elif is_parquet(path):
            pq.write_table(table, temporary, compression="zstd")
        else:
            temporary.write_text("".join(_fasta(columns)))


def _fasta(columns: Mapping[str, Sequence[object]]) -> Iterator[str]:
    names = [name for name in columns if name != "sequence"]
    for number, (sequence, *values) in enumerate(zip(columns["sequence"], *(columns[n] for n in names), strict=True)):
        said = "".join(f" {name}={value}" for name, value in zip(names, values, strict=True) if value is not None)
        yield f">{number}{said}\n{sequence}\n"
