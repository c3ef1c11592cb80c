"""Copies with random edits: the warm-up of a small policy, in place of the pre-training that a large one has.

Labelled sequences are paired with copies of themselves in which every element is redrawn with a small probability. That teaches the
format, faithful copying and a flat prior over edits, and tells nothing that the table does not hold.
"""

from __future__ import annotations

import numpy as np

from llome.data.pairs import Examples
from llome.domain import Domain
from llome.draws import row_keys, uniforms


def copies_with_edits(
    sequences: np.ndarray, count: int, *, domain: Domain, edit_rate: float, random_seed: int
) -> tuple[np.ndarray, Examples]:
    """Make `count` pairs (sequence, edited copy).

    Args:
        sequences: (N, L) sequences to copy; each is used equally often, up to one.
        count: M, pairs to make.
        domain: gives the alphabet.
        edit_rate: probability that an element is redrawn, uniformly from the alphabet.
        random_seed: of the edits, keyed by pair.

    Returns:
        (N + M, L) int16 sequences, the edited copies last, and examples that point into them.
    """
    sources = np.arange(count, dtype=np.int64) % len(sequences)
    length = sequences.shape[1]
    drawn = uniforms(row_keys(random_seed, np.arange(count)), 2 * length)
    redrawn = np.floor(drawn[:, length:] * domain.num_states).astype(np.int16)
    copies = np.where(drawn[:, :length] < edit_rate, redrawn, sequences[sources]).astype(np.int16)
    targets = len(sequences) + np.arange(count, dtype=np.int64)
    return np.concatenate([sequences.astype(np.int16), copies]), Examples(sources, targets[:, None])
