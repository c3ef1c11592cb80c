"""Exact nearest neighbours by Hamming or edit distance, in blocks of bounded memory and without a loop over sequences.

Distances are whole numbers of a small range, so ties decide most of the choice: on genetic-algorithm tables two exact searches that
break ties differently share less than half of their pairs. The rule here is stated and seeded. The sequences get ranks by a seeded
permutation, each row i a seeded offset, and among equally distant sequences j the row takes those of the lowest
(rank_j - offset_i) mod N: every row starts at another place of the same ring, so no sequence is everyone's favourite.

For Hamming's distance elements are held as bit planes (bit b of all positions in 64-bit words); two rows differ where any plane differs,
and a population count gives the distance. That is exact, and several times faster than a product of one-hot matrices. Edit distances
are RapidFuzz's (llome.distances); those above a stated one need not be told apart, which spares much of their work.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

from llome.distances import Distance, all_edit_distances, as_texts

_BLOCK_ELEMENTS = 1 << 17  # distances computed at once: a few arrays of this size stay in a core's cache
_ROWS = 16  # whose distances to all others are held at once, a byte each: the memory of a search
_GROUP = 32


def find_neighbours(
    sequences: np.ndarray,
    num_neighbours: int,
    *,
    random_seed: int,
    distance: Distance = "hamming",
    most: int | None = None,
    block_elements: int = _BLOCK_ELEMENTS,
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of every row, nearest first.

    Args:
        sequences: (N, L) non-negative integers; for edit distances `PAD` after an end.
        num_neighbours: k; fewer where N - 1 < k.
        random_seed: of the tie-break (see above).
        distance: of two sequences.
        most: edit distances above it count as `most` + 1; None: all are told apart.
        block_elements: row-by-column distances computed at once; changes no result.

    Returns:
        indices (N, k) int64 and distances (N, k) int64, in differing positions or in edits.
    """
    total, length = sequences.shape
    k = min(num_neighbours, total - 1)
    if k < 1:
        return np.zeros((total, 0), dtype=np.int64), np.zeros((total, 0), dtype=np.int64)
    rng = np.random.default_rng([random_seed, 0])
    order = rng.permutation(total)  # rank -> row
    offsets = rng.integers(0, total, size=(total,))
    rank = np.empty(total, dtype=np.int64)
    rank[order] = np.arange(total)
    between = _Hamming(sequences, order) if distance == "hamming" else _Edits(sequences, order, most)
    indices = np.empty((total, k), dtype=np.int64)
    distances = np.empty((total, k), dtype=np.int64)
    tile = max(1, block_elements // _ROWS)

    def search(first: int) -> None:
        rows = slice(first, first + _ROWS)
        apart = np.empty((len(sequences[rows]), total), dtype=np.uint8 if length < 255 else np.int32)
        for start in range(0, total, tile):
            columns = slice(start, start + tile)
            between(rows, columns, out=apart[:, columns])
        apart[np.arange(len(apart)), rank[rows]] = length + 1  # never itself
        row, column = np.divmod(_within_reach(apart, k), total)
        keys = apart[row, column] * np.int64(total) + (column - offsets[first + row]) % total
        nearest = _smallest(keys, row, len(apart), k)
        distances[rows] = nearest // total
        indices[rows] = order[(nearest % total + offsets[rows, None]) % total]

    with ThreadPoolExecutor(torch.get_num_threads()) as pool:  # NumPy lets go of the interpreter inside its operations
        for _ in pool.map(search, range(0, total, _ROWS)):
            pass
    return indices, distances


class _Hamming:
    """Distances of rows from columns, the rows in another order."""

    def __init__(self, sequences: np.ndarray, order: np.ndarray) -> None:
        self.planes = _bit_planes(sequences)
        self.by_rank = self.planes[..., order]

    def __call__(self, rows: slice, columns: slice, *, out: np.ndarray) -> None:
        """Fill `out`."""
        _distances(self.planes[..., rows], self.by_rank[..., columns], out=out)


class _Edits:
    """The same for edit distances."""

    def __init__(self, sequences: np.ndarray, order: np.ndarray, most: int | None) -> None:
        self.texts, self.most = as_texts(sequences), most
        self.by_rank = [self.texts[row] for row in order]

    def __call__(self, rows: slice, columns: slice, *, out: np.ndarray) -> None:
        """Fill `out`."""
        out[:] = all_edit_distances(self.texts[rows], self.by_rank[columns], most=self.most)


def _bit_planes(sequences: np.ndarray) -> np.ndarray:
    """(N, L) -> (words, bits, N) unsigned: bit b of L positions packed into words of 32 or 64."""
    total, length = sequences.shape
    word = np.uint32 if length <= 32 else np.uint64
    width = word(0).itemsize * 8
    num_bits = max(1, int(sequences.max(initial=0)).bit_length())
    words = -(-length // width)
    padded = np.zeros((total, words * width), dtype=np.int64)
    padded[:, :length] = sequences
    bits = (padded[None] >> np.arange(num_bits)[:, None, None]) & 1  # (bits, N, words * width)
    packed = np.packbits(bits.astype(np.uint8), axis=-1, bitorder="little").view(word)  # (bits, N, words)
    return np.ascontiguousarray(packed.transpose(2, 0, 1))


def _distances(rows: np.ndarray, columns: np.ndarray, *, out: np.ndarray) -> None:
    """(words, bits, R) and (words, bits, N) -> `out` (R, N), the number of differing positions."""
    for word, (row_planes, column_planes) in enumerate(zip(rows, columns, strict=True)):
        differ = row_planes[0][:, None] ^ column_planes[0]
        scratch = np.empty_like(differ)
        for row_bits, column_bits in zip(row_planes[1:], column_planes[1:], strict=True):
            np.bitwise_xor(row_bits[:, None], column_bits, out=scratch)
            np.bitwise_or(differ, scratch, out=differ)
        counts = np.bitwise_count(differ)  # uint8
        if word == 0:
            out[:] = counts
        else:
            np.add(out, counts, out=out)


def _within_reach(apart: np.ndarray, k: int) -> np.ndarray:
    """(R, N) distances -> flat indices of those among which the k nearest of each row are, ties included; few, as a rule.

    The k-th smallest of the minima of groups bounds the k-th smallest of the row. Columns are in random order, so the groups are fair.
    """
    rows, total = apart.shape
    groups = total // _GROUP
    if groups <= 2 * k:
        bound = np.partition(apart, k - 1, axis=1)[:, k - 1]
    else:
        minima = apart[:, : groups * _GROUP].reshape(rows, _GROUP, groups).min(axis=1)
        bound = np.partition(minima, k - 1, axis=1)[:, k - 1]
    return np.flatnonzero(apart <= bound[:, None])


def _smallest(keys: np.ndarray, row: np.ndarray, rows: int, k: int) -> np.ndarray:
    """(M,) distinct keys of `row` (M,), rising, at least k of each -> (rows, k) smallest of each row, ascending."""
    counts = np.bincount(row, minlength=rows)
    candidates = np.full((rows, int(counts.max())), np.iinfo(keys.dtype).max, dtype=keys.dtype)
    candidates[row, np.arange(len(keys)) - np.repeat(np.cumsum(counts) - counts, counts)] = keys
    return np.sort(np.partition(candidates, k - 1, axis=1)[:, :k], axis=1)
