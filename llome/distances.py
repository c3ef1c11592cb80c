"""How far sequences are from each other: Hamming's distance where all have one length, the edit distance where lengths differ.

The edit distance (Levenshtein 1966) is the least number of substitutions, insertions and deletions, each counted as one. It is
RapidFuzz's, exact, bit-parallel and without a loop here; sequences go to it as strings of one character an element. Both are made shares
of the longer of two sequences, which is L where all have length L.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from llome.domain import Domain
from llome.errors import ConfigError

Distance = Literal["hamming", "edit"]


def choose_distance(setting: Distance | None, domain: Domain) -> Distance:
    """The distance that a setting asks for; None: Hamming's, or the edit distance where lengths differ.

    Raises ConfigError on Hamming's where lengths differ: positions of sequences of different lengths do not correspond.
    """
    if setting == "hamming" and not domain.fixed_length:
        raise ConfigError(
            f"distance is hamming, but sequences have lengths {domain.shortest} to {domain.length}, whose positions do not"
            " correspond; set distance to edit, or leave it out"
        )
    return setting or ("hamming" if domain.fixed_length else "edit")


def sequence_lengths(sequences: np.ndarray) -> np.ndarray:
    """(N, L) integers, `PAD` after an end -> (N,) int64 lengths."""
    return np.asarray((sequences >= 0).sum(axis=1))


def as_texts(sequences: np.ndarray) -> list[str]:
    """(N, L) integers, `PAD` after an end -> N strings of one character an element, no alphabet's letters."""
    if not sequences.size:
        return [""] * len(sequences)
    characters = np.ascontiguousarray(sequences.astype(np.int32) + 1).view(
        f"U{sequences.shape[1]}"
    )  # PAD: NUL, dropped
    return characters[:, 0].tolist()


def edit_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The edit distance of each row of `one` (N, L) from the same row of `other` (N, M) -> (N,) int64; `PAD` after an end."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    found = process.cpdist(as_texts(one), as_texts(other), scorer=Levenshtein.distance, dtype=np.int64)
    return np.asarray(found)


def all_edit_distances(one: list[str], other: list[str], *, most: int | None = None) -> np.ndarray:
    """Edit distances of all pairs of `as_texts` -> (len(one), len(other)) int32; those above `most` are `most` + 1."""
    from rapidfuzz import process
    from rapidfuzz.distance import Levenshtein

    found = process.cdist(one, other, scorer=Levenshtein.distance, score_cutoff=most, dtype=np.int32)
    return np.asarray(found)


def distances(one: np.ndarray, other: np.ndarray, domain: Domain) -> np.ndarray:
    """The distance of each row of `one` (N, L) from the same row of `other` (N, L) -> (N,) int64: Hamming's or edits, as lengths are."""
    return (one != other).sum(axis=1) if domain.fixed_length else edit_distances(one, other)


def longer(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """The length of the longer of two sequences, row by row: (N, L) twice -> (N,) int64."""
    return np.maximum(sequence_lengths(one), sequence_lengths(other))


def first_apart(sequences: np.ndarray, count: int, min_distance: int, *, edits: bool) -> np.ndarray:
    """Rows of the first `count` distinct sequences that each keep a distance from all taken before them.

    Args:
        sequences: (N, L), best first.
        count: rows wanted; fewer are found where fewer keep it.
        min_distance: at least so many substitutions, or edits with `edits`; 1 takes all that are distinct.
        edits: lengths differ, `PAD` after an end.
    """
    distinct = np.sort(np.unique(sequences, axis=0, return_index=True)[1]) if len(sequences) else np.empty(0, np.int64)
    if min_distance <= 1:
        return distinct[: max(count, 0)]
    texts = as_texts(sequences) if edits else []
    rows: list[int] = []
    for row in distinct.tolist():
        if len(rows) >= count:
            break
        if edits:
            apart = all_edit_distances([texts[row]], [texts[other] for other in rows], most=min_distance)[0]
        else:
            apart = (sequences[rows] != sequences[row]).sum(axis=1)
        if (apart >= min_distance).all():
            rows.append(row)
    return np.array(rows, dtype=np.int64)
