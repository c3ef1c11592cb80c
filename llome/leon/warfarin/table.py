"""How far the doses of each method are from the best ones: the table of the dosing task, from numbers alone.

Root mean squared errors are in mg a day, which the paper's table seems to use (it prints no unit; 2.68 for the doses that patients got).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llome.leon.warfarin import NOTICE


@dataclass(frozen=True)
class Doses:
    """What one method ended with for N patients."""

    method: str
    doses: np.ndarray
    """(N,) mg a day."""
    queries: np.ndarray
    """(N,) int64, what the surrogate was asked for each."""


@dataclass(frozen=True)
class Row:
    """A method's row of the table."""

    method: str
    rmse: float
    """Root mean squared error, mg a day."""
    rmse_error: float
    """Its standard error over patients, by the delta method."""
    rank: float
    """Mean over patients of the method's rank by distance from the best dose, 1 the nearest; equal distances share theirs."""
    rank_error: float
    """Its standard error over patients."""
    against: float
    """Mean over patients of the squared error less that of the last method, (mg a day)^2: above 0 where the last is better."""
    against_error: float
    """Its standard error: patients are paired."""
    queries: float
    """Mean number of queries of the surrogate for a patient."""


def table(methods: Sequence[Doses], best: np.ndarray) -> list[Row]:
    """The rows, in the order given, from the best doses (N,) of at least two patients."""
    squares = np.stack([(m.doses - best) ** 2 for m in methods])
    ranks = mean_ranks(squares)
    rows = []
    for m, square, rank in zip(methods, squares, ranks, strict=True):
        rmse = float(np.sqrt(square.mean()))
        behind = square - squares[-1]
        rows.append(
            Row(
                m.method,
                rmse,
                _error(square) / (2 * rmse) if rmse else 0.0,
                float(rank.mean()),
                _error(rank),
                float(behind.mean()),
                _error(behind),
                float(m.queries.mean()),
            )
        )
    return rows


def mean_ranks(values: np.ndarray) -> np.ndarray:
    """(M, N) -> (M, N) ranks within each column, 1 the lowest; equal ones share the mean of theirs."""
    below = (values[None] < values[:, None]).sum(axis=1)
    equal = (values[None] == values[:, None]).sum(axis=1)
    return below + (equal + 1) / 2


def table_csv(rows: Sequence[Row], about: str) -> str:
    """The rows as CSV, after comments: the notice, and `about` in lines."""
    text = io.StringIO()
    for line in (NOTICE, *about.splitlines()):
        text.write(f"# {line}\n")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(
        [
            "method",
            "rmse_mg_per_day",
            "rmse_se",
            "mean_rank",
            "mean_rank_se",
            "squared_error_less_last",
            "squared_error_less_last_se",
            "surrogate_queries_per_patient",
        ]
    )
    for r in rows:
        numbers = (r.rmse, r.rmse_error, r.rank, r.rank_error, r.against, r.against_error)
        writer.writerow([r.method, *(f"{number:.4f}" for number in numbers), f"{r.queries:.1f}"])
    return text.getvalue()


def table_text(rows: Sequence[Row]) -> str:
    """The rows for a screen, after the notice."""
    cells = [["method", "RMSE, mg/day", "mean rank", "queries a patient"]]
    cells += [
        [r.method, f"{r.rmse:.3f} ± {r.rmse_error:.3f}", f"{r.rank:.2f} ± {r.rank_error:.2f}", f"{r.queries:,.0f}"]
        for r in rows
    ]
    widths = [max(len(row[i]) for row in cells) for i in range(4)]
    lines = ["  ".join([row[0].ljust(widths[0]), *(row[i].rjust(widths[i]) for i in (1, 2, 3))]) for row in cells]
    return "\n".join([NOTICE, *lines, "± one standard error over patients"])


def _error(values: np.ndarray) -> float:
    """Standard error of the mean of (N,)."""
    return float(values.std(ddof=1) / np.sqrt(len(values)))
