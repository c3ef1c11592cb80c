"""What each labelled edit gained over the sequence it was made from: the rewards behind the paper's figure 11.

An edit's direct source is often a sequence that nobody has labelled: it was written earlier in the same refinement. The original
sequence of a trajectory, the one the refinement was given to begin with, always has a label. Measured from there, every labelled
edit has a known reward and no further call of the oracle is needed.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from llome.errors import TableError
from llome.reporting.curves import zero_infeasible
from llome.tables import Labeled, Proposals, Selected, row_keys


def rewards(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """max(f(y) - f(x), 0), Eq. 9 of arXiv 2410.22296, an infeasible sequence at score 0.

    Args:
        before: (N,) scores f(x) of the original sequences, -inf infeasible.
        after: (N,) scores f(y) of the edits, -inf infeasible.

    Returns:
        (N,) rewards, 0 or more.
    """
    both = zero_infeasible(np.concatenate([before, after]))
    return np.maximum(both[len(before) :] - both[: len(before)], 0.0)


def original_scores(
    labels: tuple[str, Labeled],
    selected: tuple[str, Selected],
    proposals: tuple[str, Proposals],
    before: Sequence[tuple[str, Labeled]],
) -> np.ndarray:
    """The score of the original sequence of each labelled edit: where the trajectory began that wrote it.

    The edit is the proposal with the sequence and the source of the selected row. Several trajectories may hold it; the first row of
    the table counts. A trajectory's original is the source of its lowest step. Where candidates were evolved, the source of one is the
    labelled sequence that it descends from, and its original. The paper says "the original sequence" (caption of
    figure 11) and not which; this is the reading that needs no label beyond those there are.

    Args:
        labels: file and table of the round's N labels.
        selected: file and table of the round's candidates.
        proposals: file and table of the round's proposals.
        before: files and tables labelled before the round.

    Returns:
        (N,) float64 scores in the order of the labels, -inf infeasible.

    Raises:
        TableError: a label without a candidate, a candidate without a proposal, or an original without a label.
    """
    labels_file, label = labels
    selected_file, chosen = selected
    proposals_file, proposed = proposals
    files = ", ".join(file for file, _ in before)
    rows = first_rows(row_keys(label.sequence), row_keys(chosen.sequence))
    refuse(rows < 0, label.sequence, f"{labels_file} has a label of", f"{selected_file} does not hold")
    sequence, source = chosen.sequence[rows], chosen.source[rows]
    pairs = (np.concatenate([a, b], axis=1) for a, b in ((sequence, source), (proposed.sequence, proposed.source)))
    rows = first_rows(*map(row_keys, pairs))
    evolved = (rows < 0) & ("evolve" in chosen.meta.settings)
    refuse(
        (rows < 0) & ~evolved,
        sequence,
        f"{selected_file} has a candidate",
        f"{proposals_file} does not hold with its source",
    )
    original = source.copy()
    original[~evolved] = proposed.source[proposed.starts[rows[~evolved]]]
    known = np.concatenate([table.sequence for _, table in before])
    rows = first_rows(row_keys(original), row_keys(known))
    refuse(rows < 0, original, f"{proposals_file} starts a trajectory from", f"none of {files} has a label of")
    return np.concatenate([table.score for _, table in before])[rows]


def first_rows(keys: np.ndarray, among: np.ndarray) -> np.ndarray:
    """(N,) for each of `keys`, the first row of `among` that equals it; -1 where there is none."""
    _, first, inverse = np.unique(np.concatenate([among, keys]), return_index=True, return_inverse=True)
    rows = first[inverse[len(among) :]]
    return np.where(rows < len(among), rows, -1)


def refuse(bad: np.ndarray, sequences: np.ndarray, holder: str, lacking: str) -> None:
    """Raise TableError on the first of the `bad` ones of `sequences` (N, L): what holds it, and what lacks it."""
    if bad.any():
        raise TableError(
            f"{holder} {sequences[bad.argmax()].tolist()}, which {lacking} ({int(bad.sum())} such in all);"
            " give the files of one round, and every table labelled before it"
        )
