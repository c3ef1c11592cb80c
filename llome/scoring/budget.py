"""The budget that stands between an oracle and everybody else: it counts, journals, asks again and averages.

Every call of an oracle is made here. A call is a sequence asked for once: a repeat is a call, and so is another attempt at what failed.
Each measurement has a number of its own (its slot) that stays with it however often it is attempted; what has an answer is never asked
for again, and what was on its way when a run was killed is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import numpy as np

from llome.errors import BudgetExhaustedError, ConfigError, OracleError
from llome.scoring.journal import Journal
from llome.scoring.oracle import Oracle, Streaming, check_sequences


@dataclass(frozen=True)
class Labels:
    """What an oracle said of N sequences, each measured R times."""

    score: np.ndarray
    """(N,) float64: the mean of the measurements that are feasible, -inf where half of them or more are not, NaN without any."""
    query: np.ndarray
    """(N,) int64, the number of the first measurement."""
    measurements: np.ndarray
    """(N, R) float64, NaN where one failed; R = 0 where each is measured once."""
    failed: np.ndarray
    """(N,) bool: every attempt at every measurement failed."""
    message: np.ndarray
    """(N,) str, why the last attempt failed."""
    again: int
    """Calls beyond one a measurement."""

    @property
    def facts(self) -> dict[str, Any]:
        """What the rows of a table do not say of its calls, where there is anything to say."""
        repeats, unmeasured = self.measurements.shape[1], int(self.unmeasured.sum())
        said = {"again": self.again, "repeats": repeats, "unmeasured": unmeasured}
        return {key: number for key, number in said.items() if number}

    @property
    def unmeasured(self) -> np.ndarray:
        """(N,) bool: neither a score nor a failure; nobody was asked."""
        return np.isnan(self.score) & ~self.failed


class Budget:
    """The only way to an oracle: counts every call, and refuses what does not fit before anything is called.

    Long calls are made in batches, and each answer is journaled as it comes, before the next batch is asked. A context manager: the
    oracle is closed in the end.
    """

    def __init__(
        self,
        oracle: Oracle,
        *,
        total: int | None = None,
        spent: int = 0,
        journal: Journal | None = None,
        batch_size: int = 250,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """`total` calls in all (None: no limit), `spent` of them made before; `progress` hears how many measurements came to an end."""
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
        self.oracle = oracle
        self.total = total
        self.spent = spent
        self._journal = journal
        self._batch_size = batch_size
        self._progress = progress

    def __enter__(self) -> Self:
        """Nothing more: an oracle starts with the first question."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the oracle, where it is something that runs."""
        if isinstance(self.oracle, Streaming):
            self.oracle.close()

    def require(self, count: int) -> None:
        """Raise BudgetExhaustedError unless `count` more sequences, each measured as often as the oracle asks for, fit."""
        calls = count * self.oracle.repeats
        if self.total is not None and self.spent + calls > self.total:
            raise BudgetExhaustedError(
                f"{self.spent} of {self.total} oracle calls are spent and {calls} more were asked for;"
                f" raise the budget to {self.spent + calls} or ask for at most {max(0, self.total - self.spent)}"
            )

    def __call__(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores. Raises OracleError where a sequence fails."""
        labels = self.ask(sequences)
        if labels.failed.any():
            row = int(labels.failed.argmax())
            raise OracleError(f"query {labels.query[row]} failed: {labels.message[row]}")
        return labels.score

    def ask(self, sequences: np.ndarray, *, rows: slice | None = None, later: int = 0) -> Labels:
        """Measure (N, L) integers, or only `rows` of them as one job of several; what the journal answers is not asked again.

        Measurement m of row i has number `spent` + m N + i, whatever part of the rows is asked for. What fails is attempted again as
        often as the oracle says and the budget allows: each job has its share of what is left, when all measurements of this call
        and of the `later` sequences of others are paid for. Then `spent` counts all calls up to the last of these rows.
        """
        whole, repeats = len(sequences), self.oracle.repeats
        start, stop, _ = (rows or slice(None)).indices(whole)
        sequences = check_sequences(sequences, self.oracle.domain)[start:stop]
        self.require(whole)
        count, first = len(sequences), self.spent
        queries = (first + whole * np.arange(repeats)[:, None] + np.arange(start, stop)).ravel()
        spare = None
        if self.total is not None:
            left = max(0, self.total - first - (whole + later) * repeats)
            spare = left * stop // whole - left * start // whole if whole else left
        asked = _Asked(np.tile(sequences, (repeats, 1)), queries, spare)
        if self._journal is not None and count:
            asked.recall(self._journal, self._retries)
            self._hear(int(asked.over(self._retries).sum()))
        self._run(asked)
        again = int((asked.calls - 1).clip(min=0).sum())
        labels = asked.labels(count, repeats, again)
        self.spent = first + whole * (repeats - 1) + stop + again - int(labels.unmeasured.sum())
        return labels

    @property
    def _retries(self) -> int:
        return self.oracle.retries if isinstance(self.oracle, Streaming) else 0

    def _run(self, asked: _Asked) -> None:
        """Batches of what has no answer, then of what failed, one at a time: what brought the others down may be among them."""
        if not isinstance(self.oracle, Streaming):
            for batch in _batches(asked.open(0), asked.queries, self._batch_size):
                sequences, queries = asked.sequences[batch], asked.queries[batch]
                answers = _check_scores(self.oracle(sequences, query=int(queries[0])), len(batch), int(queries[0]))
                if self._journal is not None:
                    self._journal.append(queries, sequences, answers)
                asked.score[batch] = answers
                asked.calls[batch] += 1
                self._hear(len(batch))
            return
        for attempt in range(self._retries + 1):
            pending = asked.open(attempt)
            if not attempt:
                self._refuse_forgiven(asked, pending)
            size = self._batch_size if attempt == 0 else 1
            for at in range(0, len(pending), size):
                batch = pending[at : at + size]
                if attempt and asked.spare is not None:
                    batch = batch[: max(0, asked.spare - asked.again)]
                if len(batch):
                    self._stream(self.oracle, asked, batch, last=attempt == self._retries)

    def _refuse_forgiven(self, asked: _Asked, pending: np.ndarray) -> None:
        """What is asked for anew after the oracle was mended costs another call, which must fit as well."""
        more = int((asked.calls[pending] > 0).sum())
        if asked.spare is not None and asked.again + more > asked.spare:
            raise BudgetExhaustedError(
                f"calls were spent on an oracle that answered nothing, and {more} more do not fit into the budget of {self.total};"
                " raise it to ask again"
            )

    def _stream(self, oracle: Streaming, asked: _Asked, batch: np.ndarray, *, last: bool) -> None:
        for answers in oracle.answers(asked.sequences[batch], asked.queries[batch]):
            good = [a for a in answers if a.score is not None]
            bad = [a for a in answers if a.score is None]
            rows = batch[[a.row for a in good]]
            if len(rows):
                scores = np.array([a.score for a in good], dtype=np.float64)
                if self._journal is not None:
                    self._journal.append(asked.queries[rows], asked.sequences[rows], scores)
                asked.score[rows] = scores
                asked.calls[rows] += 1
            rows = batch[[a.row for a in bad]]
            if len(rows):
                messages = [a.message for a in bad]
                if self._journal is not None:
                    self._journal.fail(asked.queries[rows], asked.sequences[rows], messages)
                asked.fail(rows, messages)
            self._hear(len(good) + (len(bad) if last else 0))

    def _hear(self, over: int) -> None:
        if self._progress is not None and over:
            self._progress(over)


class _Asked:
    """S measurements: what is asked for, and what has come of it."""

    def __init__(self, sequences: np.ndarray, queries: np.ndarray, spare: int | None) -> None:
        self.sequences = sequences
        self.queries = queries
        self.spare = spare
        """Calls that may be made beyond one a measurement; None: no limit."""
        self.score = np.full(len(queries), np.nan)
        self.failures = np.zeros(len(queries), dtype=np.int64)
        self.calls = np.zeros(len(queries), dtype=np.int64)
        self.message = np.full(len(queries), "", dtype=object)

    @property
    def again(self) -> int:
        """Calls beyond one a measurement so far."""
        return int((self.calls - 1).clip(min=0).sum())

    def recall(self, journal: Journal, retries: int) -> None:
        """Take over what a journal knows."""
        told = journal.replay(self.queries, self.sequences)
        self.score, self.failures, self.message = told.score, told.failures, told.message
        self.calls = told.failures + told.forgiven + ~np.isnan(told.score)

    def fail(self, rows: np.ndarray, messages: list[str]) -> None:
        self.failures[rows] += 1
        self.calls[rows] += 1
        self.message[rows] = messages

    def open(self, attempt: int) -> np.ndarray:
        """Rows without an answer that failed `attempt` times."""
        return np.flatnonzero(np.isnan(self.score) & (self.failures == attempt))

    def over(self, retries: int) -> np.ndarray:
        """(S,) bool: answered, or not attempted again."""
        return ~np.isnan(self.score) | (self.failures > retries)

    def labels(self, count: int, repeats: int, again: int) -> Labels:
        """What is known of each of the N sequences."""
        score, message = self.score.reshape(repeats, count), self.message.reshape(repeats, count)
        failed = np.isnan(score).all(axis=0) & (self.failures.reshape(repeats, count) > 0).any(axis=0)
        said = message[np.maximum(0, repeats - 1 - (message != "")[::-1].argmax(axis=0)), np.arange(count)]
        many = score.T if repeats > 1 else np.empty((count, 0))
        mean, query = _mean(score), self.queries[:count].copy()
        nobody = np.isnan(mean) & ~failed
        if nobody.any():  # a plate that was not measured in full: what was is numbered without gaps
            query -= np.cumsum(nobody)
        return Labels(mean, query, many, failed, said, again)


def _mean(score: np.ndarray) -> np.ndarray:
    """(R, N) measurements, NaN failed -> (N,): the mean of the feasible ones, -inf where half or more are infeasible."""
    if len(score) == 1:
        return score[0]
    feasible, infeasible = np.isfinite(score), score == -np.inf
    n = feasible.sum(axis=0)
    with np.errstate(invalid="ignore"):
        mean = np.where(feasible, score, 0.0).sum(axis=0) / n
    return np.where(infeasible.any(axis=0) & (infeasible.sum(axis=0) >= n), -np.inf, mean)


def _batches(rows: np.ndarray, queries: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """At most `size` rows at a time whose query numbers follow each other."""
    for run in np.split(rows, np.flatnonzero(np.diff(queries[rows]) != 1) + 1):
        for at in range(0, len(run), size):
            yield run[at : at + size]


def _check_scores(scores: np.ndarray, count: int, query: int) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.shape != (count,) or scores.dtype.kind not in "fiu":
        raise OracleError(
            f"the oracle answered {count} sequences with shape {scores.shape}, dtype {scores.dtype};"
            f" it must answer ({count},) numbers"
        )
    scores = scores.astype(np.float64)
    bad = np.isnan(scores) | (scores == np.inf)
    if bad.any():
        row = int(bad.argmax())
        raise OracleError(
            f"the oracle scored query {query + row} with {scores[row]}; scores are finite, or -inf where infeasible"
        )
    return scores
