"""The table of results as text: one set of cells for the page and the terminal, and their layout in the terminal.

The cells are kept short, so that a line of several replicates fits a terminal of 120 columns.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from llome.reporting.findings import UNKNOWN, Estimate, Row


def format_rows(rows: Sequence[Row]) -> list[list[str]]:
    """Header and cells of the table, a dash where a number is unknown; plain text, for the page and the terminal alike.

    A regret is the optimum less the score, so their errors are the same: where the regret is known, it alone shows it.
    """

    def cell(value: Estimate | None, pattern: str, spread: bool = False) -> str:
        if value is None:
            return UNKNOWN
        return value.format(pattern) if spread else format(value.mean, pattern)

    header = ["", "best score", "regret", "GA's regret then", "counted", "distinct", "feasible", "unique"]
    header += ["mean reward", "max reward", "seconds"]
    body = [
        [
            row.label + (f", {row.rounds} rounds" if " of " in row.rounds else ""),
            cell(row.best, ".3f", row.regret is None),
            cell(row.regret, ".3f", True),
            cell(row.rival_regret, ".3f", True) if row.rounds else "",
            cell(row.counted, ",.0f"),
            cell(row.distinct, ",.0f"),
            cell(row.feasible, ".1%"),
            cell(row.unique, ".1%"),
            cell(row.mean_reward, ".3f") if row.rounds else "",
            cell(row.max_reward, ".3f") if row.rounds else "",
            cell(row.seconds, ",.0f"),
        ]
        for row in rows
    ]
    return [list(cells) for cells in zip(*(c for c in zip(header, *body, strict=True) if _says(c)), strict=True)]


def _says(column: Sequence[str]) -> bool:
    """Whether a column has a number, or belongs to every table: regrets are known of no problem without an optimum or a rival."""
    head, *cells = column
    return head not in ("regret", "GA's regret then") or any(cell not in ("", UNKNOWN) for cell in cells)


def plain_table(cells: Sequence[Sequence[str]]) -> str:
    """Cells as aligned ASCII, the first column to the left; a heading wider than its column is broken between words."""
    head, *body = [[cell.replace(UNKNOWN, "-").replace("±", "+/-") for cell in row] for row in cells]
    widths = [
        max([len(c) for c in column] + [len(w) for w in h.split()]) for h, *column in zip(head, *body, strict=True)
    ]
    broken = [textwrap.wrap(h, max(width, 1)) for h, width in zip(head, widths, strict=True)]
    height = max(map(len, broken))
    above = zip(*([""] * (height - len(lines)) + lines for lines in broken), strict=True)
    rule = ["-" * width for width in widths]
    return "\n".join(
        "  ".join([row[0].ljust(widths[0]), *(c.rjust(w) for c, w in zip(row[1:], widths[1:], strict=True))]).rstrip()
        for row in [*above, rule, *body]
    )
