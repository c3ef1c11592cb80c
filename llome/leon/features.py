"""What a surrogate knows of a context: columns of a table as numbers, the way they were in the source population."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from llome.exchange import read_number


@dataclass(frozen=True)
class _Column:
    """One column: a number, or a category among those of the source."""

    mean: float | None
    """Of the numbers, which stands in for one that is missing; None: these are categories."""
    missing: bool
    """Whether numbers are missing in the source: then whether one is has a column of its own."""
    categories: tuple[str, ...]

    @classmethod
    def of(cls, texts: Sequence[str]) -> _Column:
        numbers = [read_number(text) for text in texts if text]
        known = [number for number in numbers if number is not None]
        if known and len(known) == len(numbers):
            return cls(float(np.mean(known)), len(known) < len(texts), ())
        return cls(None, False, tuple(sorted(set(texts))))

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """N texts -> (N, 1), (N, 2) with whether it is missing, or (N, categories); another category is none of them."""
        if self.mean is None:
            return np.array([[text == known for known in self.categories] for text in texts], dtype=np.float64)
        numbers = [read_number(text) for text in texts]
        columns = [[self.mean if number is None else number for number in numbers]]
        if self.missing:
            columns.append([float(number is None) for number in numbers])
        return np.array(columns).T


@dataclass(frozen=True)
class Features:
    """The columns of a context that a surrogate sees."""

    columns: Mapping[str, _Column]

    @classmethod
    def of(cls, table: Mapping[str, Sequence[str]]) -> Features:
        """What the columns of a source table are: numbers where all texts are (empty: missing), categories otherwise."""
        return cls({name: _Column.of(texts) for name, texts in table.items()})

    def encode(self, table: Mapping[str, Sequence[str]], rows: int) -> np.ndarray:
        """(rows, D) float64 of a table with these columns."""
        parts = [column.encode(table[name]) for name, column in self.columns.items()]
        return np.hstack([np.zeros((rows, 0)), *parts])

    def strange(self, table: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
        """Texts by column that the source has nothing like: other categories, and what is no number where all are."""
        found = {}
        for name, column in self.columns.items():
            known = column.categories
            odd = [t for t in dict.fromkeys(table[name]) if (t not in known if known else t and read_number(t) is None)]
            if odd:
                found[name] = odd
        return found
