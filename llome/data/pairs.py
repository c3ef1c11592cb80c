"""Matched examples from a labelled table: Algorithm 2 of the paper (arXiv 2410.22296), after PropEn.

A pair edits a sequence into a better one of its nearest neighbours; a triple adds one that is no better (Eq. 31). Both are `Examples`
here: a source row and one or two target rows of the same table, so that everything downstream treats them alike. Choices (which
infeasible sources stay, which triples of many, which sources validate) are keyed by the sequences themselves: the same table in
another order, or with a few rows more, chooses alike. No randomness is drawn in sequence.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from llome.data.neighbours import find_neighbours
from llome.distances import Distance, sequence_lengths
from llome.draws import row_keys
from llome.errors import ConfigError, LlomeError
from llome.tables import best_rows

Kind = Literal["pairs", "triples"]
_BLOCK_ROWS = 1024  # sources whose triples are enumerated at once
_INFEASIBLE, _TRIPLES, _SPLIT = 1, 2, 3  # purposes of keys: one seed, independent choices


@dataclass(frozen=True)
class Examples:
    """M training examples, as row numbers of one table."""

    sources: np.ndarray
    """(M,) int64, the sequences to edit, in ascending order."""
    targets: np.ndarray
    """(M, C) int64; C = 1: the better sequence; C = 2: chosen (better than the source) and rejected (no better)."""

    def __len__(self) -> int:
        return len(self.sources)

    def take(self, rows: np.ndarray) -> Examples:
        """The examples of these rows (indices or a mask)."""
        return Examples(self.sources[rows], self.targets[rows])


def select_best(scores: np.ndarray, queries: np.ndarray, count: int) -> np.ndarray:
    """Truncation selection: which labelled sequences are worth matching once many rounds have been labelled.

    Equal scores make no pair, and scores of motifs are few: at most half of the sequences kept share one score, so that a search that
    has stood at its best score for long still has worse ones to learn from.

    Args:
        scores: (N,) scores, -inf infeasible.
        queries: (N,) running numbers of the oracle calls; of equal scores the earlier comes first.
        count: sequences to keep.

    Returns:
        Rows kept, in ascending order.
    """
    order = best_rows(scores, queries, len(scores))
    _, first, level = np.unique(-scores[order], return_index=True, return_inverse=True)
    place = np.arange(len(order)) - first[level]  # among those of the same score
    return np.sort(order[place < -(-count // 2)][:count])


def match_examples(
    sequences: np.ndarray,
    scores: np.ndarray,
    *,
    kind: Kind,
    num_neighbours: int,
    max_distance: float,
    max_infeasible: float,
    max_triples_per_source: int,
    random_seed: int,
    distance: Distance = "hamming",
) -> Examples:
    """Algorithm 2: the k nearest neighbours first, then the distance, then the scores; last the cap on infeasible sources.

    Args:
        sequences: (N, L) distinct integer sequences; for edit distances `PAD` after an end.
        scores: (N,) higher is better, -inf infeasible.
        kind: "pairs" (x, y), f(y) > f(x), or "triples" (x, y_w, y_l), f(y_w) > f(x) >= f(y_l), Eq. 31.
        num_neighbours: k_n.
        max_distance: largest distance of source and target, as a share of L; of the longer of the two where lengths differ.
        max_infeasible: largest share of examples whose source is infeasible; above 0 it does not hold where every source is: then
            what is feasible is all that these labels teach.
        max_triples_per_source: triples kept of one source, a seeded choice.
        random_seed: of ties between neighbours and of all choices.
        distance: of two sequences; Hamming's is for sequences of one length alone.

    Raises:
        ConfigError: a setting is out of its range.
        LlomeError: no example is left; the message says where they went.
    """
    for name, value, low, high in (
        ("num_neighbours", num_neighbours, 1, np.inf),
        ("max_distance", max_distance, 0, 1),
        ("max_infeasible", max_infeasible, 0, 1),
        ("max_triples_per_source", max_triples_per_source, 1, np.inf),
    ):
        if not low <= value <= high:
            raise ConfigError(f"{name} is {value}; choose a value from {low} to {high}")
    most = int(max_distance * sequences.shape[1])
    indices, distances = find_neighbours(
        sequences, num_neighbours, random_seed=random_seed, distance=distance, most=most
    )
    lengths = sequence_lengths(sequences)
    near = distances <= max_distance * np.maximum(lengths[:, None], lengths[indices])
    better = near & (scores[indices] > scores[:, None])
    worse = near & (scores[indices] <= scores[:, None])
    if kind == "pairs":
        rows, columns = np.nonzero(better)
        examples = Examples(rows, indices[rows, columns][:, None])
    else:
        keys = row_keys(random_seed, _TRIPLES, *sequences.T)
        examples = _draw_triples(indices, better, worse, keys, max_triples_per_source)
    matched = len(examples)
    if not max_infeasible or np.isfinite(scores[examples.sources]).any():
        examples = _cap_infeasible(examples, sequences, scores, max_infeasible, random_seed)
    if not len(examples):
        feasible = int(np.isfinite(scores).sum())
        both = int((better.any(axis=1) & worse.any(axis=1)).sum())
        also = f" and {both} a no better one too" if kind == "triples" else ""
        remedy = "max_infeasible" if matched else "max_distance or num_neighbours"
        raise LlomeError(
            f"no training {kind}: of {len(sequences)} labelled sequences ({feasible} feasible), {int(near.any(axis=1).sum())} have a"
            f" neighbour within {max_distance} of the length, {int(better.any(axis=1).sum())} a better one{also}, {matched} {kind} matched"
            f" and none is left under max_infeasible {max_infeasible}; raise {remedy}, or give more labels"
        )
    return examples


def split_by_source(
    examples: Examples, sequences: np.ndarray, val_fraction: float, *, random_seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Row numbers of training and of validation examples; all examples of a source fall on one side.

    The share is of sources, those with the lowest keyed hash of their sequence. With two sources or more and `val_fraction` > 0 both
    sides hold at least one source; with a single source all is training.
    """
    if not 0 <= val_fraction < 1:
        raise ConfigError(f"val_fraction is {val_fraction}; choose a share from 0 to less than 1")
    sources, inverse = np.unique(examples.sources, return_inverse=True)
    held_out = 0
    if val_fraction > 0 and len(sources) > 1:
        held_out = min(max(round(val_fraction * len(sources)), 1), len(sources) - 1)
    validates = np.zeros(len(sources), dtype=bool)
    validates[np.argsort(row_keys(random_seed, _SPLIT, *sequences[sources].T), kind="stable")[:held_out]] = True
    return np.flatnonzero(~validates[inverse]), np.flatnonzero(validates[inverse])


def _draw_triples(indices: np.ndarray, better: np.ndarray, worse: np.ndarray, keys: np.ndarray, limit: int) -> Examples:
    """All (better, worse) combinations of each source, at most `limit` of them by keyed choice, a block of sources at a time."""
    k = indices.shape[1]
    sources, targets = [], []
    candidates = np.flatnonzero(better.any(axis=1) & worse.any(axis=1))
    for first in range(0, len(candidates), _BLOCK_ROWS):
        rows = candidates[first : first + _BLOCK_ROWS]
        possible = (better[rows, :, None] & worse[rows, None, :]).reshape(len(rows), k * k)
        row, combination = np.nonzero(possible)
        priority = row_keys(0, keys[rows[row]], combination)
        order = np.lexsort((priority, row))
        starts = np.cumsum(np.bincount(row, minlength=len(rows))) - np.bincount(row, minlength=len(rows))
        kept = np.sort(order[np.arange(len(row)) - starts[row] < limit])  # row is ascending, so order keeps its blocks
        source = rows[row[kept]]
        sources.append(source)
        targets.append(
            np.stack([indices[source, combination[kept] // k], indices[source, combination[kept] % k]], axis=1)
        )
    if not sources:
        return Examples(np.zeros(0, dtype=np.int64), np.zeros((0, 2), dtype=np.int64))
    return Examples(np.concatenate(sources), np.concatenate(targets))


def _cap_infeasible(
    examples: Examples, sequences: np.ndarray, scores: np.ndarray, max_infeasible: float, random_seed: int
) -> Examples:
    """Keep n_feasible p / (1 - p) examples with an infeasible source, those of the lowest keyed hash."""
    if max_infeasible >= 1:
        return examples
    infeasible = np.isneginf(scores[examples.sources])
    allowed = int((len(examples) - infeasible.sum()) * max_infeasible / (1 - max_infeasible) + 1e-9)
    rows = np.flatnonzero(infeasible)
    if len(rows) <= allowed:
        return examples
    of_sequence = row_keys(random_seed, _INFEASIBLE, *sequences.T)
    of_targets = [of_sequence[column] for column in examples.targets[rows].T]
    priority = row_keys(random_seed, of_sequence[examples.sources[rows]], *of_targets)
    keep = ~infeasible
    keep[rows[np.argsort(priority, kind="stable")[:allowed]]] = True
    return examples.take(keep)
