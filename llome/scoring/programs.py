"""Oracles that are programs: any executable (`command`), the user's own Python (`python`) and poli's black boxes (`poli`).

All three run beside this process and answer in JSON lines, so that one that hangs, floods, stops or lies costs nobody else's labels.
A `command` reads lines {"id": 7, "sequence": "ACGT"} and writes, in any order, {"id": 7, "score": 0.5} or {"id": 7, "score": null,
"message": "..."}, with "feasible": false where a sequence breaks a rule. The other two are run by llome.scoring.serve.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from llome.errors import ConfigError, OracleError
from llome.scoring.oracle import Answer, check_sequences
from llome.scoring.problem import Posed, Problem
from llome.scoring.process import Program
from llome.scoring.said import read_score

_IN_VAIN = 5
"""Programs in a row that may end without an answer; then it is no sequence's fault."""


class _Broken(Exception):
    """The program ended, or did not answer in time."""


class Asked(Posed):
    """A program: started with the first question, kept alive, started again when it has ended."""

    _program: Program | None = None
    _proven = False
    """Whether it has ever answered: if not, what fails is the program, and not a sequence."""
    _in_vain = 0
    """Programs that ended without an answer since the last answer."""

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
        except _Broken as broken:
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
            except _Broken as broken:
                reason = str(broken)
            else:
                del waiting[number]
                return
        raise OracleError(
            f"{reason}; it has not answered anything yet, so no sequence is taken for failed: mend it, or raise timeout where it is"
            " slow, then run the same command again"
        )

    def _ask(self, texts: list[str], waiting: dict[int, int]) -> Iterator[Sequence[Answer]]:
        """Answers to `waiting` (row by number), each taken out of it. Raises _Broken, or OracleError."""
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

    def _broken(self, what: str) -> _Broken:
        """What is said of a program that is of no more use; it is ended."""
        assert self._program is not None
        program, self._program = self._program, None
        program.close()
        self._in_vain += 1
        return _Broken(f"{self.described} {what}{program.said()}")

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

    def _start(self) -> Program:
        raise NotImplementedError

    def _question(self, asked: list[tuple[int, str]]) -> bytes:
        return b"".join(json.dumps({"id": number, "sequence": text}).encode() + b"\n" for number, text in asked)

    @property
    def described(self) -> str:
        """What messages call it."""
        raise NotImplementedError


class Command(Asked):
    """Any executable."""

    kind = "command"

    def __init__(self, problem: Problem, command: list[str]) -> None:
        """`command`: the program and its arguments, one a word. Raises ConfigError where it is no list of words."""
        super().__init__(problem)
        if not isinstance(command, list) or not command or not all(isinstance(word, str) and word for word in command):
            raise ConfigError(
                f"command is {command!r}; give a list of words, such as [python, score.py] (no shell is involved)"
            )
        self.command = command

    @property
    def arguments(self) -> dict[str, Any]:
        """The command."""
        return {"command": self.command}

    @property
    def described(self) -> str:
        """The command."""
        return f"the command {' '.join(self.command)}"

    def _start(self) -> Program:
        return Program(self.command)


class Python(Asked):
    """A function of strings, or a class of such functions, in a process of its own."""

    kind = "python"

    def __init__(
        self, problem: Problem, function: str, arguments: dict[str, Any] | None = None, one_by_one: bool = False
    ) -> None:
        """Nothing is imported here.

        Args:
            problem: what all kinds share.
            function: package.module:Name of a function, or of a class whose objects are called.
            arguments: keyword arguments: of every call of a function, or of the constructor.
            one_by_one: call it with one string at a time, in place of a list; then an exception is that sequence's failure.

        Raises:
            ConfigError: no name of that form.
        """
        super().__init__(problem)
        module, _, name = function.partition(":") if isinstance(function, str) else ("", "", "")
        if not all(part.isidentifier() for part in (*module.split("."), *name.split("."))):
            raise ConfigError(f"function is {function!r}; give package.module:Name")
        if not isinstance(arguments or {}, dict) or not isinstance(one_by_one, bool):
            raise ConfigError(
                f"arguments is {arguments!r} and one_by_one {one_by_one!r}; give a mapping, and true or false"
            )
        self.function = function
        self.keywords = arguments or {}
        self.one_by_one = one_by_one

    @property
    def arguments(self) -> dict[str, Any]:
        """The function and its arguments."""
        return {"function": self.function, "arguments": self.keywords, "one_by_one": self.one_by_one}

    @property
    def described(self) -> str:
        """The function."""
        return self.function

    def _start(self) -> Program:
        """Start it and wait until it can be asked: what it takes to import is not the first batch's."""
        settings = json.dumps({"function": self.function, "arguments": self.keywords, "one_by_one": self.one_by_one})
        self._program = program = Program([sys.executable, "-m", "llome.scoring.serve", settings])
        limit = self.problem.timeout
        try:
            lines = program.read(None if limit is None else time.monotonic() + limit)
        except TimeoutError:
            raise OracleError(str(self._broken(f"was not ready within {limit:g} seconds; raise timeout"))) from None
        if lines is None:
            raise OracleError(str(self._broken(f"{program.ending()} before it could be asked")))
        said = json.loads(lines[0])
        if "error" in said:
            self.close()
            raise self._raised(said["error"], said.get("traceback", ""))
        return program

    def _question(self, asked: list[tuple[int, str]]) -> bytes:
        return json.dumps(asked).encode() + b"\n"


class Poli(Python):
    """A black box of poli (https://github.com/MachineLearningLifeScience/poli), by its name."""

    kind = "poli"

    def __init__(self, problem: Problem, black_box: str, arguments: dict[str, Any] | None = None) -> None:
        """`black_box`: its name, and `arguments` those of its constructor. Raises ConfigError where the name is no word."""
        if not isinstance(black_box, str) or not black_box:
            raise ConfigError(f"black_box is {black_box!r}; give the name of one of poli's, such as aloha")
        self.black_box = black_box
        self.own = arguments or {}
        super().__init__(problem, "llome.scoring.poli:BlackBox", {"name": black_box, "arguments": self.own})

    @property
    def arguments(self) -> dict[str, Any]:
        """The black box and its arguments."""
        return {"black_box": self.black_box, "arguments": self.own}

    @property
    def described(self) -> str:
        """The black box."""
        return f"poli's {self.black_box}"
