"""Padding as a state of its own: how a search on a surrogate sees sequences whose lengths differ.

What stands after the end of a sequence is state V there, behind the elements 0..V-1. Only padding follows padding in any labelled
sequence, so that where children keep to transitions that feasible sequences have shown, they end where they end.
"""

from __future__ import annotations

import numpy as np

from llome.domain import PAD, Domain


def count_states(domain: Domain) -> int:
    """V, and one more where lengths differ."""
    return domain.num_states + (not domain.fixed_length)


def as_states(sequences: np.ndarray, domain: Domain) -> np.ndarray:
    """(N, L) sequences, `PAD` after an end -> (N, L) states 0..V."""
    return sequences if domain.fixed_length else np.where(sequences < 0, domain.num_states, sequences).astype(np.int16)


def as_sequences(states: np.ndarray, domain: Domain) -> np.ndarray:
    """And back."""
    return states if domain.fixed_length else np.where(states == domain.num_states, PAD, states).astype(np.int16)
