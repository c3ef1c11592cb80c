"""Stages `import` and `export`: a person's own labelled sequences in, and any table of a run out, in files that people use.

Importing calls no oracle: what is labelled already starts an experiment in place of the genetic algorithm. Each label counts as one
evaluation, for somebody paid for it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from llome.errors import ConfigError, TableError
from llome.provenance import exclusive, hash_file

if TYPE_CHECKING:
    from llome.tables import Labeled


def import_table(
    *,
    oracle: Path,
    table: Path,
    out: Path,
    sequence_column: str = "sequence",
    score_column: str = "score",
    feasible_column: str | None = None,
) -> None:
    """Take over labelled sequences from a CSV, Parquet or FASTA file.

    A sequence that comes several times is one label: the mean of its scores, infeasible where half of them or more are.

    Args:
        oracle: the oracle's JSON, which says what sequences look like; it is not called.
        table: the file; a FASTA header says score=NUMBER.
        out: labelled table (Parquet) to write.
        sequence_column: column of the sequences, in the letters of the alphabet.
        score_column: column of the scores, -inf (or inf, where the oracle is minimised) where infeasible.
        feasible_column: column that says yes or no; the score of an infeasible sequence is not read.

    Raises:
        TableError: the file cannot be read, holds no sequence, or has faults, which are told all at once with their lines.
    """
    import numpy as np

    from llome.exchange import read_scored
    from llome.scoring.oracle import load_oracle
    from llome.tables import Labeled, Meta, row_keys

    domain = load_oracle(oracle).domain
    with exclusive(out.parent):
        sequences, scores = read_scored(
            table,
            domain,
            sequence_column=sequence_column,
            score_column=score_column,
            feasible_column=feasible_column,
        )
        if not len(sequences):
            raise TableError(f"{table} holds no sequence; give labelled sequences to start from")
        _, first, inverse = np.unique(row_keys(sequences), return_index=True, return_inverse=True)
        feasible = np.isfinite(scores)
        times, good = np.bincount(inverse), np.bincount(inverse, weights=feasible)
        total = np.bincount(inverse, weights=np.where(feasible, scores, 0.0))
        merged = np.where(2 * good > times, total / np.maximum(good, 1), -np.inf)
        order = np.argsort(first)
        count = len(order)
        columns = {"sequence": sequence_column, "score": score_column, "feasible": feasible_column}
        facts = {"rows": len(sequences), "repeated": len(sequences) - count, "feasible": int((merged > -np.inf).sum())}
        Labeled(
            meta=Meta(
                domain=domain,
                inputs={"oracle": hash_file(oracle), "table": hash_file(table)},
                settings={"columns": columns},
                spent=len(sequences),
                facts=facts,
            ),
            sequence=sequences[first[order]],
            score=merged[order],
            query=first[order],
            round=np.zeros(count, dtype=np.int32),
            origin=np.full(count, "table", dtype=object),
        ).write(out)
    best = f"best {_signed(merged.max(), domain.maximize):g}" if facts["feasible"] else "none of them feasible"
    repeats = f" ({facts['repeated']:,} rows repeat a sequence, their scores are averaged)" if facts["repeated"] else ""
    print(f"{count:,} sequences of {table}{repeats}, {facts['feasible']:,} feasible, {best}: {out}")


def export(*, table: list[Path], out: Path, best: int | None = None) -> None:
    """Write tables of a run for people: sequences in the letters of the alphabet, scores in their own sense.

    Labelled ones come best first, with a column that says whether they are feasible; others in the order of the table.

    Args:
        table: labelled tables of one problem, or one table of candidates or proposals.
        out: file to write, .csv, .parquet or .fasta.
        best: the best labelled sequences alone, this many.

    Raises:
        ConfigError: an ending that is none of these, or `best` where nothing has a score.
        TableError: a file that is no table, or tables of several problems.
    """
    from llome.exchange import write_rows
    from llome.tables import Labeled, Proposals, Selected, kind_of

    if best is not None and best < 1:
        raise ConfigError(f"best is {best}; give at least 1")
    kinds, left_out = {kind_of(path) for path in table}, 0
    if kinds == {Labeled.name}:
        named = [(str(path), Labeled.read(path)) for path in table]
        columns, left_out = _labeled_columns(named, best), sum(len(one.failed.sequence) for _, one in named)
    elif len(table) == 1 and kinds <= {Selected.name, Proposals.name}:
        if best is not None:
            raise ConfigError(f"best is given, but {table[0]} has no scores; leave it out")
        one = Selected.read(table[0]) if kinds == {Selected.name} else Proposals.read(table[0])
        alphabet = one.meta.domain.alphabet
        columns = {
            name: alphabet.decode(values) if name in ("sequence", "source") else values.tolist()
            for name, values in one.columns.items()
        }
    else:
        raise TableError(
            f"{', '.join(map(str, table))} are {', '.join(sorted(kinds))}; give labelled tables, or one table of candidates or proposals"
        )
    write_rows(out, columns)
    failed = f", {left_out:,} that failed left out" if left_out else ""
    print(f"{len(columns['sequence']):,} sequences{failed}: {out}")


def _labeled_columns(named: list[tuple[str, Labeled]], best: int | None) -> dict[str, list[Any]]:
    import numpy as np

    from llome.tables import best_rows, row_keys, same_problem

    domain = same_problem([(path, t.meta) for path, t in named])
    sequence, score, query, number, origin = (
        np.concatenate([getattr(t, name) for _, t in named])
        for name in ("sequence", "score", "query", "round", "origin")
    )
    order = best_rows(score, query, len(score))
    rows = order[np.sort(np.unique(row_keys(sequence[order]), return_index=True)[1])][:best]
    feasible = np.isfinite(score[rows])
    return {
        "sequence": domain.alphabet.decode(sequence[rows]),
        "score": [
            _signed(value, domain.maximize) if good else None
            for value, good in zip(score[rows].tolist(), feasible.tolist(), strict=True)
        ],
        "feasible": ["yes" if good else "no" for good in feasible],
        "query": query[rows].tolist(),
        "round": number[rows].tolist(),
        "origin": origin[rows].tolist(),
    }


def _signed(score: float, maximize: bool) -> float:
    return score if maximize else -score + 0.0
