"""The typed tables that flow between stages: Parquet on disk, NumPy arrays in memory, validated on write and on read.

Three kinds, one class each: `Labeled` (scores), `Proposals` and `Selected` (no score: what has not been labelled has none). Each file
carries in its metadata the schema's name, the oracle's fingerprint, the hashes of its inputs, the resolved settings and the version.
A fourth, which no stage of the loop reads, is in llome.reporting.analysis.
"""

from llome.tables.labeled import Failed, Labeled, best_sequences
from llome.tables.meta import Meta, same_problem
from llome.tables.proposals import Proposals, Selected
from llome.tables.rows import best_rows, lowest_value, row_keys
from llome.tables.table import SCORED, Table, kind_of

__all__ = [
    "SCORED",
    "Failed",
    "Labeled",
    "Meta",
    "Proposals",
    "Selected",
    "Table",
    "best_rows",
    "best_sequences",
    "kind_of",
    "lowest_value",
    "row_keys",
    "same_problem",
]
