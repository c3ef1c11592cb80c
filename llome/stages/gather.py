"""Several jobs' parts of proposals or labels made one table: the one that a single job would have written.

Labels are the same to the byte. Proposals are the same but for the rounding of smaller batches: in float64 the same sequences, with
log-probabilities whose last digits may differ; in float32 a draw may fall otherwise.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from llome.errors import TableError
from llome.provenance import exclusive
from llome.shards import whole_settings
from llome.tables import Failed, Labeled, Meta, Proposals, kind_of, same_problem

_Part = TypeVar("_Part", Labeled, Proposals)


def gather(*, parts: list[Path], out: Path) -> None:
    """Join the parts that `llome refine --shard` or `llome label --shard` wrote.

    Args:
        parts: every part, in any order.
        out: table to write.

    Raises:
        TableError: a part is missing, stands twice, or was made from other files or settings.
    """
    if not parts:
        raise TableError("no parts were given; name every table that --shard wrote")
    kind = kind_of(parts[0])
    if kind == Proposals.name:
        proposals = _join([Proposals.read(path) for path in parts], parts)
        # As refine_sequences orders them: by iteration, greedy first, then by trajectory; samples stay in their order.
        order = np.lexsort((proposals.trajectory, proposals.temperature > 0, proposals.step))
        whole: Labeled | Proposals = proposals.take(order)
    elif kind == Labeled.name:
        whole = _join_labels([Labeled.read(path) for path in parts], parts)
    else:
        raise TableError(f"{parts[0]} is a {kind} table; parts are made of proposals and of labels")
    with exclusive(out.parent, f".{out.stem}.lock"):
        whole.write(out)
    print(f"{len(whole):,} rows of {len(parts)} parts: {out}")


def _join(tables: list[_Part], paths: list[Path]) -> _Part:
    """All rows under the provenance of the whole."""
    named = [(str(path), table.meta) for path, table in zip(paths, tables, strict=True)]
    domain = same_problem(named)
    settings = whole_settings([(name, meta.settings) for name, meta in named])
    (first, meta), *rest = named
    for name, other in rest:
        if (other.inputs, other.version) != (meta.inputs, meta.version):
            raise TableError(f"{name} and {first} were made from other files or by other versions; make all parts anew")
    columns: dict[str, Any] = {name: _rows([table.columns[name] for table in tables]) for name in tables[0].columns}
    spent = max(table.meta.spent for table in tables)
    return type(tables[0])(meta=Meta(domain, meta.inputs, settings, spent), **columns)


def _join_labels(tables: list[Labeled], paths: list[Path]) -> Labeled:
    """The same with what failed, with all measurements, and with the calls of every part beyond one a measurement."""
    whole = _join(tables, paths)
    again = [table.meta.facts.get("again", 0) for table in tables]
    spent = max(table.meta.spent - more for table, more in zip(tables, again, strict=True)) + sum(again)
    facts = {**tables[0].meta.facts, "again": sum(again)}
    if "program" in facts:  # of a file that was changed between two parts, both versions scored
        programs = [table.meta.facts["program"] for table in tables]
        facts["program"] = {name: " ".join(sorted({p.get(name, "") for p in programs})) for name in facts["program"]}
    meta = replace(whole.meta, spent=spent, facts={key: number for key, number in facts.items() if number})
    width = max(table.measurements.shape[1] for table in tables)
    padded = [
        np.pad(t.measurements, ((0, 0), (0, width - t.measurements.shape[1])), constant_values=np.nan) for t in tables
    ]
    failed = Failed(**{f.name: _rows([getattr(table.failed, f.name) for table in tables]) for f in fields(Failed)})
    labeled = replace(whole, meta=meta, measurements=_rows(padded), failed=failed)
    return labeled.take(np.argsort(labeled.query, kind="stable"))


def _rows(columns: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(columns)
