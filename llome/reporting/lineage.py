"""Whether labelled tables are those that led to a round: what is counted over them means nothing in another order."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from llome import paths
from llome.errors import TableError
from llome.tables import Labeled


def check_lineage(history: str, files: Sequence[Path], tables: Sequence[Labeled]) -> None:
    """Raise TableError unless the tables are the seed's and those of every round up to `history`, in order."""
    lineage = paths.lineage(history)
    if len(tables) != 1 + len(lineage):
        raise TableError(
            f"{history} needs {1 + len(lineage)} labelled tables, the seed's and those of {', '.join(lineage)};"
            f" got {len(tables)}"
        )
    for i, origin in enumerate(lineage, start=1):
        table, before = tables[i], tables[i - 1]
        if others := set(table.origin) - {origin}:
            raise TableError(
                f"{files[i]} holds labels of {min(others)!r} where those of {origin!r} belong; mind the order of --labeled"
            )
        if table.meta.spent < before.meta.spent + len(table):
            raise TableError(
                f"{files[i]} counts {table.meta.spent} evaluations, fewer than {files[i - 1]} ({before.meta.spent})"
                f" and its own {len(table)} labels; it was labelled after another round"
            )
