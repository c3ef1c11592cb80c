"""The scores of a round's proposals, and which rows of the round's tables they belong to.

Matching comes before scoring, so that files which do not belong together are refused before the oracle is called.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from llome.reporting.edits import first_rows, refuse
from llome.tables import SCORED, Labeled, Proposals, Selected, Table, row_keys


@dataclass(frozen=True)
class Scored(Table):
    """The distinct parsed proposals of a round and their scores. No labels: few of them were ever paid for."""

    name: ClassVar[str] = SCORED

    sequence: np.ndarray
    """(D, L) int16, unique, in the order in which they were written."""
    score: np.ndarray
    """(D,) float64, higher is better, -inf infeasible."""

    def validate(self, where: str) -> None:
        """See `Table.validate`; scores are no NaN and no +inf, sequences are unique."""
        super().validate(where)
        self._check_scores(where)
        self._check_unique(where)


@dataclass(frozen=True)
class Matched:
    """Where each row of a round's tables stands among its U known sequences: the M labelled so far, then the A to be scored."""

    labeled: np.ndarray
    """(M,) float64, the scores of the labels in the order of their tables."""
    before: int
    """How many of them there were before the round."""
    new: np.ndarray
    """(A, L) int16, the distinct parsed proposals without a label, in the order in which they were written."""
    proposal: np.ndarray
    """(N,) int64 for each proposal; -1 where it was not parsed."""
    source: np.ndarray
    """(N,) int64 for what each proposal edits."""
    selected: np.ndarray
    """(K,) int64 for each candidate: one of the round's own labels."""

    @property
    def distinct(self) -> np.ndarray:
        """(D,) the distinct parsed proposals, in the order in which they were written."""
        written = self.proposal[self.proposal >= 0]
        return written[np.sort(np.unique(written, return_index=True)[1])]

    @property
    def pool(self) -> np.ndarray:
        """(P,) what the round could have selected: the distinct parsed proposals that had no label before it."""
        return self.distinct[self.distinct >= self.before]


def match(
    labels: Sequence[tuple[str, Labeled]], proposals: tuple[str, Proposals], selected: tuple[str, Selected]
) -> Matched:
    """Match the tables of a round, each with its file; `labels` run from the seed's to the round's own.

    Raises:
        TableError: a candidate that was not proposed or has no label in the round, a label that was not selected, or an edit of a
            sequence that is neither labelled nor proposed.
    """
    (proposals_file, proposed), (selected_file, chosen), (labels_file, last) = proposals, selected, labels[-1]
    known = row_keys(np.concatenate([table.sequence for _, table in labels]))
    before = len(known) - len(last)
    parsed = proposed.sequence[proposed.parsed]
    keys = row_keys(parsed)
    unlabelled = np.flatnonzero(first_rows(keys, known) < 0)
    new = unlabelled[np.sort(np.unique(keys[unlabelled], return_index=True)[1])]
    among = np.concatenate([known, keys[new]])
    proposal = np.full(len(proposed), -1, dtype=np.int64)
    proposal[proposed.parsed] = first_rows(keys, among)
    source = first_rows(row_keys(proposed.source), among)
    candidate = first_rows(row_keys(chosen.sequence), among)
    own = np.arange(before, len(known))
    files = ", ".join(file for file, _ in labels)
    written = np.isin(candidate, proposal[proposed.parsed])
    refuse(~written, chosen.sequence, f"{selected_file} has a candidate", f"{proposals_file} does not hold")
    paid = np.isin(candidate, own)
    refuse(~paid, chosen.sequence, f"{selected_file} has a candidate", f"{labels_file} has no label of")
    refuse(~np.isin(own, candidate), last.sequence, f"{labels_file} has a label of", f"{selected_file} does not hold")
    refuse(source < 0, proposed.source, f"{proposals_file} edits", f"neither it nor any of {files} holds")
    scores = np.concatenate([table.score for _, table in labels])
    return Matched(scores, before, parsed[new], proposal, source, candidate)
