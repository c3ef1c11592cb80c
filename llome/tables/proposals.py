"""What a policy wrote, and what of it goes to the oracle: tables without a score."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llome.tables.table import Table


@dataclass(frozen=True)
class Proposals(Table):
    """Everything the policy wrote in one refinement. No score: the oracle has not seen it."""

    name: ClassVar[str] = "proposals"

    sequence: np.ndarray
    """(N, L) int16; rows of -1 where the text could not be parsed."""
    source: np.ndarray
    """(N, L) int16, the input that was edited."""
    trajectory: np.ndarray
    """(N,) int32, seed number times number of temperatures plus temperature number."""
    step: np.ndarray
    """(N,) int32, inner iteration from 0."""
    temperature: np.ndarray
    """(N,) float32, 0 for greedy decoding."""
    logp_mean: np.ndarray
    """(N,) float64, mean log-probability a token (nats), policy at temperature 1."""
    logp_sum: np.ndarray
    """(N,) float64, summed log-probability (nats), policy at temperature 1."""
    parsed: np.ndarray
    """(N,) bool, well-formed, of the right length and in range."""

    @property
    def starts(self) -> np.ndarray:
        """(N,) for each row, the row of the lowest step of its trajectory; what that one edited has a label."""
        order = np.lexsort((self.step, self.trajectory))
        _, first, inverse = np.unique(self.trajectory[order], return_index=True, return_inverse=True)
        rows = np.empty(len(order), dtype=np.int64)
        rows[order] = order[first][inverse]
        return rows


@dataclass(frozen=True)
class Selected(Table):
    """The candidates that go to the oracle."""

    name: ClassVar[str] = "selected"

    sequence: np.ndarray
    """(N, L) int16, unique, never labelled before."""
    source: np.ndarray
    """(N, L) int16, the input that was edited."""
    logp_mean: np.ndarray
    """(N,) float64, mean log-probability a token (nats)."""

    def validate(self, where: str) -> None:
        """See `Table.validate`; sequences are unique."""
        super().validate(where)
        self._check_unique(where)
