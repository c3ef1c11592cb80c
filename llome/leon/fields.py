"""The parts of a design: a number between bounds, a choice, a sequence over an alphabet; each checks, reads and encodes its values."""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llome.domain import PAD, Alphabet
from llome.errors import ConfigError, DesignError
from llome.settings import nearest

_APART = 0.5**0.5
"""Height of a one in a one-hot code, so that two different ones are at distance 1."""


@dataclass(frozen=True)
class Field(ABC):
    """One part of a design."""

    name: str

    @property
    @abstractmethod
    def dimensions(self) -> int:
        """Columns of its encoding."""

    @abstractmethod
    def check(self, value: Any) -> Any:
        """The value as it is kept. Raises DesignError where it is none of this field's."""

    @abstractmethod
    def read(self, text: str) -> Any:
        """The value that a table's text is, in bounds or not. Raises DesignError."""

    @abstractmethod
    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """N values -> (N, dimensions) float64."""

    @abstractmethod
    def describe(self) -> str:
        """What it may be, for a prompt."""


@dataclass(frozen=True)
class Number(Field):
    """A number from `low` to `high`, in steps of `step` from `low` where there is one."""

    low: float
    high: float
    step: float | None = None
    unit: str = ""

    @property
    def dimensions(self) -> int:
        """1."""
        return 1

    def check(self, value: Any) -> int | float:
        """A finite number within the bounds, put on the exact step that it is written for."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise DesignError(f"{self.name} is {shorten(value)}; it must be {self.describe()}, without quotes or unit")
        if value != value or not self.low <= value <= self.high:
            raise DesignError(f"{self.name} is {shorten(value)}; it must be {self.describe()}")
        if self.step is None:
            return float(value)
        steps = round((value - self.low) / self.step)
        exact = round(self.low + steps * self.step, 12)
        if abs(value - exact) > 1e-6 * self.step or exact > self.high:
            raise DesignError(f"{self.name} is {shorten(value)}; it must be {self.describe()}")
        return int(exact) if float(self.low).is_integer() and float(self.step).is_integer() else exact

    def read(self, text: str) -> float:
        """A finite number."""
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise DesignError(f"{self.name} is {shorten(text)}; it must be a number")
        return value

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """0 at `low`, 1 at `high`."""
        return (np.asarray(values, dtype=np.float64).reshape(-1, 1) - self.low) / (self.high - self.low)

    def describe(self) -> str:
        """`a number from 0 to 100 in steps of 0.5 (mg)`."""
        step = "" if self.step is None else f" in steps of {self.step:g}"
        unit = f" ({self.unit})" if self.unit else ""
        return f"a number from {self.low:g} to {self.high:g}{step}{unit}"


@dataclass(frozen=True)
class Choice(Field):
    """One of several values: text, numbers or truths."""

    options: tuple[Any, ...]

    @property
    def dimensions(self) -> int:
        """How many there are."""
        return len(self.options)

    def check(self, value: Any) -> Any:
        """One of the options; 1 is not true."""
        for option in self.options:
            if option == value and isinstance(option, bool) == isinstance(value, bool):
                return option
        hint = nearest(value, [o for o in self.options if isinstance(o, str)]) if isinstance(value, str) else ""
        raise DesignError(f"{self.name} is {shorten(value)}{hint or ';'} it must be {self.describe()}")

    def read(self, text: str) -> Any:
        """The option that is written so."""
        for option in self.options:
            if text == str(option) or text == json.dumps(option):
                return option
        raise DesignError(f"{self.name} is {shorten(text)}; it must be {self.describe()}")

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """One-hot, two different options at distance 1."""
        number = {(isinstance(o, bool), o): i for i, o in enumerate(self.options)}
        return _one_hot([number[isinstance(v, bool), v] for v in values], len(self.options))

    def describe(self) -> str:
        """`one of "a", "b"`."""
        return f"one of {', '.join(json.dumps(o, ensure_ascii=False) for o in self.options)}"


@dataclass(frozen=True)
class Text(Field):
    """A sequence over an alphabet, `shortest` to `longest` letters."""

    alphabet: Alphabet
    shortest: int
    longest: int

    @property
    def dimensions(self) -> int:
        """Letters (and an end, where lengths differ) at each position."""
        return self.longest * self._symbols

    @property
    def _symbols(self) -> int:
        return len(self.alphabet.letters) + (self.shortest < self.longest)

    def check(self, value: Any) -> str:
        """A text in the letters of the alphabet, of an allowed length."""
        if not isinstance(value, str):
            raise DesignError(f"{self.name} is {shorten(value)}; it must be {self.describe()}, in quotes")
        try:
            letters = self.alphabet.encode(value.strip())
        except ConfigError:
            raise DesignError(
                f"{self.name} is {shorten(value)}, with other letters; it must be {self.describe()}"
            ) from None
        if not self.shortest <= len(letters) <= self.longest:
            raise DesignError(
                f"{self.name} is {shorten(value)}, of length {len(letters)}; it must be {self.describe()}"
            )
        return self.alphabet.decode(np.array([letters]))[0]

    def read(self, text: str) -> str:
        """The same."""
        return self.check(text)

    def encode(self, values: Sequence[Any]) -> np.ndarray:
        """One-hot by position: a substitution is at distance 1."""
        rows = [self.alphabet.encode(value) for value in values]
        padded = [[*row, *[PAD] * (self.longest - len(row))] for row in rows]
        states = np.array(padded, dtype=np.int64).reshape(-1)
        states[states == PAD] = self._symbols - 1
        return _one_hot(states, self._symbols).reshape(len(rows), -1)

    def describe(self) -> str:
        """`a text of 20 letters of ACGT`."""
        length = f"{self.longest}" if self.shortest == self.longest else f"{self.shortest} to {self.longest}"
        apart = ", a blank between two," if self.alphabet.separator else ""
        return (
            f"a text of {length} letters{apart} of the alphabet {self.alphabet.separator.join(self.alphabet.letters)}"
        )


def _one_hot(states: Sequence[int] | np.ndarray, count: int) -> np.ndarray:
    return _APART * np.eye(count)[np.asarray(states, dtype=np.int64)]


def shorten(value: object) -> str:
    """What a value looks like, in 60 characters at most."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
