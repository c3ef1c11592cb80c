"""What the tests of sequences of different lengths share: drawn ones, and the edit distance as a textbook has it."""

from __future__ import annotations

import numpy as np

from llome.domain import PAD, Domain


def draw_sequences(count: int, domain: Domain, seed: int = 0) -> np.ndarray:
    """(count, L) int16, of all lengths that the problem has."""
    rng = np.random.default_rng(seed)
    lengths = rng.integers(domain.least, domain.length + 1, count)
    elements = rng.integers(domain.num_states, size=(count, domain.length))
    return np.where(np.arange(domain.length) < lengths[:, None], elements, PAD).astype(np.int16)


def plain(row: np.ndarray) -> list[int]:
    """A row without its padding."""
    return [int(element) for element in row if element >= 0]


def edit_distance(one: list[int], other: list[int]) -> int:
    """Wagner and Fischer's table, cell by cell."""
    above = list(range(len(other) + 1))
    for i, element in enumerate(one, start=1):
        row = [i]
        for j, facing in enumerate(other, start=1):
            row.append(min(above[j] + 1, row[-1] + 1, above[j - 1] + (element != facing)))
        above = row
    return above[-1]
