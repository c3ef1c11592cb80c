"""Oracles that are programs: any executable (`command`), the user's own Python (`python`) and poli's black boxes (`poli`).

All three run beside this process and answer in JSON lines, so that one that hangs, floods, stops or lies costs nobody else's labels.
A `command` reads lines {"id": 7, "sequence": "ACGT"} and writes, in any order, {"id": 7, "score": 0.5} or {"id": 7, "score": null,
"message": "..."}, with "feasible": false where a sequence breaks a rule. The other two are run by llome.scoring.serve.
"""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from typing import Any

from llome.errors import ConfigError, OracleError
from llome.scoring.asking import Asked
from llome.scoring.problem import Problem
from llome.scoring.process import Program

_SCRIPTS = (".py", ".sh", ".pl", ".r", ".jl", ".js")


def _is_script(word: Path) -> bool:
    return word.suffix.lower() in _SCRIPTS


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

    @property
    def files(self) -> list[Path]:
        """Scripts among the words, and the program itself where it is named by a relative path."""
        program, *words = map(Path, self.command)
        named = [word for word in words if _is_script(word)]
        return [path for path in [*([] if program.is_absolute() else [program]), *named] if path.is_file()]

    def check(self) -> None:
        """Raises ConfigError where the program, or a script among its arguments, is not there; nothing is started."""
        program, *words = self.command
        if shutil.which(program) is None:
            raise ConfigError(
                f"command: there is no program {program!r}; give its path, or a name that the shell finds too"
            )
        for word in words:
            if _is_script(Path(word)) and not Path(word).exists():
                raise ConfigError(
                    f"command: there is no file {word} in {Path.cwd()}, where the run is started; correct its path"
                )

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

    @property
    def files(self) -> list[Path]:
        """The module."""
        return [] if (found := self._find()) is None or not found.has_location else [Path(str(found.origin))]

    def check(self) -> None:
        """Raises ConfigError where the module is not to be found, from the folder the run is started in; nothing is imported."""
        if self._find() is None:
            module = self.function.partition(":")[0]
            raise ConfigError(
                f"function: there is no module {module} in {Path.cwd()} nor among what is installed; start the run in its folder, or"
                " install it"
            )

    def _find(self) -> ModuleSpec | None:
        top, *parts = self.function.partition(":")[0].split(".")
        found = PathFinder.find_spec(top, [str(Path.cwd())]) or importlib.util.find_spec(top)
        for part in parts:
            inside = None if found is None else found.submodule_search_locations
            found = None if inside is None else PathFinder.find_spec(part, list(inside))
        return found

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
