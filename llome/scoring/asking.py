"""How a program is asked: a batch at a time, with a clock, and with suspicion; what it says before it fails is kept.

A program that ends or is too slow fails what it left unanswered. One that says what cannot be (an id twice, an id that was not asked
for, a line that is no answer) is stopped: nobody knows which of its scores belong to which sequence.
"""

from __future__ import annotations

import json
import time
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from llome.errors import OracleError
from llome.provenance import hash_file
from llome.scoring.oracle import Answer, check_sequences
from llome.scoring.problem import Posed
from llome.scoring.process import Program
from llome.scoring.said import read_score

_IN_VAIN = 5
"""Programs in a row that may end without an answer; then it is no sequence's fault."""


class Broken(Exception):
    """The program ended, or did not answer in time."""


class Asked(Posed):
    """A program: started with the first question, kept alive, started again when it has ended."""

    _program: Program | None = None
    _proven = False
    """Whether it has ever answered: if not, what fails is the program, and not a sequence."""
    _in_vain = 0
    """Programs that ended without an answer since the last answer."""

    @property
    def files(self) -> list[Path]:
        """The user's files that it runs, as far as they are known: scripts, modules."""
        return []

    @property
    def program(self) -> dict[str, str]:
        """The content hash of each of `files`: scores are those of this program, and of no later one."""
        return {path.name: hash_file(path) for path in self.files if path.is_file()}

    def __call__(self, sequences: np.ndarray, *, query: int = 0) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores. Raises OracleError where one fails."""
        scores = np.full(len(sequences), np.nan)
        for answers in self.answers(sequences, np.arange(query, query + len(sequences))):
            for answer in answers:
                if answer.score is None:
                    raise OracleError(f"query {query + answer.row} failed: {answer.message}")
                scores[answer.row] = answer.score
        return scores

    def answers(self, sequences: np.ndarray, queries: np.ndarray) -> Iterator[Sequence[Answer]]:
        """See `Streaming`. A program that ends, or is too slow, fails what it left unanswered, and is started again.

        One that has never answered anything has to answer something before any sequence is taken for failed.
        """
        texts = self.problem.letters.decode(check_sequences(sequences, self.domain))
        waiting = {int(query): row for row, query in enumerate(queries)}
        try:
            yield from self._ask(texts, waiting)
            return
        except Broken as broken:
            reason = str(broken)
        if self._in_vain >= _IN_VAIN:
            raise OracleError(
                f"{reason}; it was started {self._in_vain} times without an answer: mend it, then run the same command again"
            )
        yield from self._prove(texts, waiting)
        yield [Answer(row, None, reason) for row in waiting.values()]

    def _prove(self, texts: list[str], waiting: dict[int, int]) -> Iterator[Sequence[Answer]]:
        """Ask the last and, if need be, the first of what brought down a program that has never answered anything.

        Raises OracleError where it answers neither: then it is no sequence's fault.
        """
        if self._proven or len(waiting) == 1:
            return
        numbers = [*waiting]
        for number in (numbers[-1], numbers[0]):
            alone = {number: waiting[number]}
            try:
                yield from self._ask(texts, alone)
            except Broken as broken:
                reason = str(broken)
            else:
                del waiting[number]
                return
        raise OracleError(
            f"{reason}; it has not answered anything yet, so no sequence is taken for failed: mend it, or raise timeout where it is"
            " slow, then run the same command again"
        )

    def _ask(self, texts: list[str], waiting: dict[int, int]) -> Iterator[Sequence[Answer]]:
        """Answers to `waiting` (row by number), each taken out of it. Raises Broken, or OracleError."""
        if self._program is None:
            self._program = self._start()
        program, asked = self._program, len(waiting)
        limit = self.problem.timeout
        deadline = None if limit is None else time.monotonic() + limit
        program.write(self._question([(number, texts[row]) for number, row in waiting.items()]))
        while waiting:
            left = f"{len(waiting)} of {asked} sequences without an answer"
            try:
                lines = program.read(deadline)
            except TimeoutError:
                raise self._broken(f"did not answer within {limit:g} seconds and left {left}") from None
            if lines is None:
                raise self._broken(f"{program.ending()} and left {left}")
            found: list[Answer] = []
            wrong: OracleError | None = None
            for line in lines:
                try:
                    found += self._answer(line, waiting)
                except OracleError as err:
                    wrong = err
                    break
            if found:
                self._proven, self._in_vain = True, 0
                yield found
            if wrong is not None:
                self._program = None
                program.close()
                raise wrong

    def _answer(self, line: bytes, waiting: dict[int, int]) -> list[Answer]:
        if not line.strip():
            return []
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            value = None
        shown = line[:120].decode(errors="replace") + ("..." if len(line) > 120 else "")
        if not isinstance(value, dict):
            raise self._wrong(
                f"wrote a line that is no answer: {shown!r}; what is meant for people belongs on standard error"
            )
        if "error" in value:
            raise self._raised(str(value["error"]), str(value.get("traceback", "")))
        number = value.get("id")
        if isinstance(number, bool) or not isinstance(number, int):
            raise self._wrong(f"wrote a line without the id of a sequence: {shown!r}")
        if number not in waiting:
            raise self._wrong(f"answered the id {number}, which is answered already or was not asked for: {shown!r}")
        score, message = read_score(self.problem, value)
        return [Answer(waiting.pop(number), score, message)]

    def _wrong(self, what: str) -> OracleError:
        assert self._program is not None
        return OracleError(f"{self.described} {what}{self._program.said()}; what it answered before is kept")

    def _broken(self, what: str) -> Broken:
        """What is said of a program that is of no more use; it is ended."""
        assert self._program is not None
        program, self._program = self._program, None
        program.close()
        self._in_vain += 1
        return Broken(f"{self.described} {what}{program.said()}")

    def _raised(self, error: str, traceback: str) -> OracleError:
        err = OracleError(
            f"{self.described} raised {error}; what it answered before is kept: mend it, then run the same command again"
        )
        if traceback:
            err.add_note(traceback.rstrip())
        return err

    def close(self) -> None:
        """End the program."""
        if self._program is not None:
            program, self._program = self._program, None
            program.close(patience=2.0)

    @abstractmethod
    def _start(self) -> Program: ...

    def _question(self, asked: list[tuple[int, str]]) -> bytes:
        return b"".join(json.dumps({"id": number, "sequence": text}).encode() + b"\n" for number, text in asked)

    @property
    @abstractmethod
    def described(self) -> str:
        """What messages call it."""


def program_facts(oracle: object, before: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """What a table says of the program that scored it, for its facts; nothing where the oracle is none.

    A warning is printed where the table `before` it, of these facts, was scored by another.
    """
    program = oracle.program if isinstance(oracle, Asked) else {}
    changed = sorted(name for name, hash in before.get("program", {}).items() if program.get(name, hash) != hash)
    if changed:
        print(
            f"warning: {' and '.join(changed)} changed since the round before was labelled; what was answered then stays as it is. If"
            " it scores otherwise now, give the experiment another name"
        )
    return {"program": program} if program else {}
