"""Copies with random edits: the warm-up of a small policy, in place of the pre-training that a large one has.

Labelled sequences are paired with copies of themselves in which every element is redrawn with a small probability, or, where lengths
differ, redrawn, left out or given a new neighbour. That teaches the format, faithful copying and a flat prior over edits, and tells
nothing that the table does not hold.
"""

from __future__ import annotations

import numpy as np

from llome.data.pairs import Examples
from llome.domain import PAD, Domain
from llome.draws import row_keys, uniforms


def copies_with_edits(
    sequences: np.ndarray, count: int, *, domain: Domain, edit_rate: float, random_seed: int
) -> tuple[np.ndarray, Examples]:
    """Make `count` pairs (sequence, edited copy).

    Args:
        sequences: (N, L) sequences to copy; each is used equally often, up to one.
        count: M, pairs to make.
        domain: gives the alphabet.
        edit_rate: probability that an element is redrawn, uniformly from the alphabet. Where lengths differ, half of these edits
            redraw an element, a quarter leave it out, and a quarter put a new one before or behind it.
        random_seed: of the edits, keyed by pair.

    Returns:
        (N + M, L) int16 sequences, the edited copies last, and examples that point into them.
    """
    sources = np.arange(count, dtype=np.int64) % len(sequences)
    keys, length = row_keys(random_seed, np.arange(count)), sequences.shape[1]
    if domain.fixed_length:
        drawn = uniforms(keys, 2 * length)
        redrawn = np.floor(drawn[:, length:] * domain.num_states).astype(np.int16)
        copies = np.where(drawn[:, :length] < edit_rate, redrawn, sequences[sources]).astype(np.int16)
    else:
        copies = _differing(sequences[sources].astype(np.int16), keys, domain, edit_rate)
    targets = len(sequences) + np.arange(count, dtype=np.int64)
    return np.concatenate([sequences.astype(np.int16), copies]), Examples(sources, targets[:, None])


def _differing(sequences: np.ndarray, keys: np.ndarray, domain: Domain, edit_rate: float) -> np.ndarray:
    """Copies with all kinds of edits; where they would make one too short or too long, all of its edits redraw."""
    count, length = sequences.shape
    drawn = uniforms(keys, 2 * length).reshape(count, 2, length)
    new = np.floor(drawn[:, 1] * domain.num_states).astype(np.int16)
    inside = sequences >= 0
    edited = inside & (drawn[:, 0] < edit_rate)
    removed, added = edited & (drawn[:, 0] < edit_rate / 4), edited & (drawn[:, 0] >= edit_rate * 3 / 4)
    lengths = inside.sum(axis=1) - removed.sum(axis=1) + added.sum(axis=1)
    possible = ((lengths >= domain.least) & (lengths <= length))[:, None]
    removed, added = removed & possible, added & possible
    behind = added & (drawn[:, 0] >= edit_rate * 7 / 8)
    # What is put before each element, the element, what is put behind it.
    parts = np.full((count, length, 3), PAD, dtype=np.int16)
    parts[..., 0] = np.where(added & ~behind, new, PAD)
    parts[..., 1] = np.where(removed, PAD, np.where(edited & ~added, new, sequences))
    parts[..., 2] = np.where(behind, new, PAD)
    copies = parts.reshape(count, 3 * length)
    order = np.argsort(copies < 0, axis=1, kind="stable")[:, :length]
    return np.take_along_axis(copies, order, axis=1)
