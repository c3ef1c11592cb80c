"""Spaced motifs: elements that must stand at fixed distances from each other, anywhere in the sequence (A.1.2).

Scoring works on columns, one sequence a column, so that each motif element is one comparison of contiguous memory.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def draw_spacing(motif_length: int, slack: int, generator: torch.Generator) -> np.ndarray:
    """(k-1,) int64 distances between neighbours; `slack` positions are shared out at random, rounded down (Eq. 13)."""
    import torch

    weights = torch.rand(motif_length - 1, generator=generator)
    weights /= weights.sum()
    return 1 + (slack * weights).floor().to(torch.int64).numpy()


def offsets(spacings: np.ndarray) -> np.ndarray:
    """(c, k-1) distances between neighbours -> (c, k) positions relative to the first element."""
    return np.concatenate([np.zeros((len(spacings), 1), dtype=np.int64), np.cumsum(spacings, axis=1)], axis=1)


def best_matches(columns: np.ndarray, motif: np.ndarray, offset: np.ndarray) -> np.ndarray:
    """(B,) most elements of a motif present at any one position.

    `columns` is (L, B), one sequence a column, of the dtype of `motif` (k,); `offset` (k,) starts at 0 and increases.
    """
    places = len(columns) - int(offset[-1])
    equal = columns[:places] == motif[0]
    matches = equal.astype(np.uint8 if len(motif) < 256 else np.uint16)
    for element, shift in zip(motif[1:], offset[1:].tolist(), strict=True):
        np.equal(columns[shift : shift + places], element, out=equal)
        np.add(matches, equal.view(np.uint8), out=matches)  # bytes: a truth value would be converted first
    return matches.max(axis=0)


def responses(motif_length: int, quantization: int, epistasis_factor: float) -> np.ndarray:
    """(k+1,) float64 factor that a motif contributes, by the number of its elements present.

    Eq. 5, read as (matches // ceil(k/q)) / (k / ceil(k/q)) (its binomial is a misprint), then h (1 + eps h (h - 1)).
    """
    step = math.ceil(motif_length / quantization)
    quality = (np.arange(motif_length + 1) // step) / (motif_length / step)
    return quality * (1 + epistasis_factor * quality * (quality - 1))


def place_end_to_end(motifs: np.ndarray, spacings: np.ndarray, length: int) -> np.ndarray:
    """(L,) int64 sequence with every motif in turn, each gap filled by repeating the element before it."""
    repeats = np.concatenate([spacings, np.ones((len(motifs), 1), dtype=np.int64)], axis=1)
    filled = np.repeat(motifs.reshape(-1), repeats.reshape(-1))
    return np.concatenate([filled, np.full(length - len(filled), filled[-1])])
