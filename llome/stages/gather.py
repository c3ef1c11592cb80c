"""Several jobs' parts of proposals or labels made one table: the one that a single job would have written.

Labels are the same to the byte. Proposals are the same but for the rounding of smaller batches: in float64 the same sequences, with
log-probabilities whose last digits may differ; in float32 a draw may fall otherwise.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np

from llome.errors import TableError
from llome.provenance import exclusive
from llome.shards import whole_settings
from llome.tables import Labeled, Meta, Proposals, kind_of, same_problem

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
        labeled = _join([Labeled.read(path) for path in parts], parts)
        whole = labeled.take(np.argsort(labeled.query, kind="stable"))
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
    columns = {name: np.concatenate([table.columns[name] for table in tables]) for name in tables[0].columns}
    spent = max(table.meta.spent for table in tables)
    return type(tables[0])(meta=Meta(domain, meta.inputs, settings, spent), **columns)
