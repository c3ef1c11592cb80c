"""What a loop of LEON has found out, with all that its scores are made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


@dataclass
class Proposal:
    """A design that was proposed and scored."""

    batch: int
    """Batch in which it was proposed, from 0."""
    design: dict[str, Any]
    predicted: float
    """f_hat."""
    group: int
    """Its equivalence class among those of its batch."""
    mu: float = 1.0
    """Certainty of its batch, or the least that the settings allow."""
    source: float = 0.0
    """c*, by the last critic, 0 for a known design on average."""
    worth: float = 0.0
    """f_hat + lambda c*, by the last lambda."""

    @property
    def score(self) -> float:
        """mu (f_hat + lambda c*)."""
        return self.mu * self.worth


@dataclass(frozen=True)
class Batch:
    """What is known of one batch."""

    batch: int
    calls: int
    """Calls that it took, those asked again included."""
    designs: int
    """Usable designs."""
    malformed: int
    """Answers without a usable design."""
    distance: float | None
    """W1 between source and proposals; None where no critic tells."""
    lambda_: float
    mu: float
    """As it was estimated."""
    classes: int
    best: float | None
    """Score of the best so far."""
    notes: Sequence[str] = ()
    """What was done in place of what could not be done; the first faults of answers."""


@dataclass(frozen=True)
class Outcome:
    """Of one context."""

    best: Proposal | None
    """The best by its worth; None where nothing usable was proposed."""
    history: Sequence[Proposal]
    batches: Sequence[Batch]
    queries: int
    """Of the surrogate."""
    calls: int
    """Of the proposer."""
    tokens_in: int
    tokens_out: int
    stopped: str
    """Why the loop ended."""
