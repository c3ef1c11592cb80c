"""What the sequences of a problem look like: all that stages without the oracle may know of it.

Sequences are integers 0..V-1 everywhere inside; an alphabet says which letters people write for them. Where lengths differ,
an array holds -1 after the end of a sequence (`PAD`), and a table on disk just the sequence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from llome.errors import ConfigError

PAD = -1
"""What stands after the end of a sequence that is shorter than its array."""

NAMED = {
    "dna": "ACGT",
    "rna": "ACGU",
    "protein": "ACDEFGHIKLMNPQRSTVWY",
}
"""Letters of the alphabets that have a name."""


@dataclass(frozen=True)
class Alphabet:
    """The letters of elements 0..V-1. Letters of one character are written together, longer ones and integers with blanks between."""

    letters: tuple[str, ...]

    def __post_init__(self) -> None:
        """Raises ConfigError on fewer than two letters, an empty one, one with a blank, or one that comes twice."""
        if len(self.letters) < 2:
            raise ConfigError(f"an alphabet has two letters or more; this one is {list(self.letters)}")
        for letter in self.letters:
            if not letter or letter.split() != [letter]:
                raise ConfigError(f"{letter!r} is no letter of an alphabet: letters are not empty and hold no blank")
            if self.letters.count(letter) > 1:
                raise ConfigError(f"the letter {letter!r} comes twice in the alphabet; name each once")

    @classmethod
    def of(cls, setting: str | Sequence[str] | int) -> Alphabet:
        """From a name (dna, rna, protein), the letters in one word, a list of letters, or V for the integers 0..V-1."""
        if isinstance(setting, bool):
            raise ConfigError(f"{setting} is no alphabet; give a name, letters, or how many integers")
        if isinstance(setting, int):
            return cls(tuple(map(str, range(setting))))
        if isinstance(setting, str):
            return cls(tuple(NAMED.get(setting.lower(), setting)))
        return cls(tuple(map(str, setting)))

    @property
    def separator(self) -> str:
        """What stands between two letters of a text: a blank where one is longer, or all are digits and would look like a number."""
        together = all(len(letter) == 1 for letter in self.letters) and not all(map(str.isdigit, self.letters))
        return "" if together else " "

    def decode(self, sequences: np.ndarray) -> list[str]:
        """(N, L) integers, `PAD` after an end -> N texts."""
        if self.separator:
            return [" ".join(self.letters[e] for e in row if e >= 0) for row in sequences.tolist()]
        if not sequences.size:
            return [""] * len(sequences)
        characters = np.array([*self.letters, ""], dtype="U1")[sequences]  # the last for PAD: numpy drops it at the end
        return characters.view(f"U{sequences.shape[1]}")[:, 0].tolist()

    def encode(self, text: str) -> list[int]:
        """The integers of a text, in small letters too where the alphabet has none. Raises ConfigError, naming the letter it lacks."""
        text = text.upper() if all(letter == letter.upper() for letter in self.letters) else text
        number = {letter: i for i, letter in enumerate(self.letters)}
        letters = text.split() if self.separator else text
        try:
            return [number[letter] for letter in letters]
        except KeyError as err:
            raise ConfigError(
                f"{text!r} has the letter {err.args[0]!r}, which is not in the alphabet {self.separator.join(self.letters)}"
            ) from None


@dataclass(frozen=True)
class Domain:
    """What sequences of a problem look like, and whose problem it is."""

    num_states: int
    """Size V of the alphabet; elements are 0..V-1."""
    length: int
    """Length L of a sequence, or of the longest where lengths differ."""
    fingerprint: str
    """Fingerprint of the oracle that labels these sequences."""
    shortest: int | None = None
    """Length of the shortest sequence where lengths differ; None: all have length L."""
    letters: tuple[str, ...] | None = None
    """What people write for elements 0..V-1; None: the integers themselves."""
    maximize: bool = True
    """Whether people's scores are higher where better, as they are in all tables here; False: theirs are the negated ones."""
    wild_type: tuple[int, ...] | None = None
    """The sequence that limits refer to, where they do not refer to the edited one."""
    protected: tuple[int, ...] = ()
    """Positions (from 0) that an edit must leave as they are."""
    max_edits: int | None = None
    """Most substitutions (and insertions and deletions, where lengths differ) from `edits_from`."""
    edits_from: Literal["parent", "wild_type"] = "parent"
    """What edits are counted from: the sequence that was edited, or the wild type."""

    def __post_init__(self) -> None:
        """Lists, as JSON has them, become tuples. Raises ConfigError on what no sequence, or no edit, can keep to."""
        for name in ("letters", "wild_type", "protected"):
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, tuple(value))
        if self.shortest is not None and not 1 <= self.shortest <= self.length:
            raise ConfigError(
                f"the shortest sequence has length {self.shortest} and the longest {self.length}; the shortest is 1 at least"
                " and no longer than the longest"
            )
        if self.letters is not None and len(self.letters) != self.num_states:
            raise ConfigError(
                f"an alphabet of {self.num_states} elements has {len(self.letters)} letters; name each once"
            )
        self._check_limits()

    def _check_limits(self) -> None:
        if self.wild_type is not None:
            count = len(self.wild_type)
            if not self.least <= count <= self.length:
                raise ConfigError(
                    f"the wild type has length {count}, but sequences have {self._lengths()}; give one of these sequences"
                )
            if not all(0 <= element < self.num_states for element in self.wild_type):
                raise ConfigError(
                    f"the wild type {list(self.wild_type)} has an element outside 0..{self.num_states - 1}; give one of these sequences"
                )
        if self.protected:
            if not self.fixed_length:
                raise ConfigError(
                    f"protected positions {list(self.protected)} need sequences of one length, but these have {self._lengths()}:"
                    " an insertion moves all positions after it; limit them by max_edits, or give one length"
                )
            outside = [place for place in self.protected if not 0 <= place < self.length]
            if outside:
                raise ConfigError(
                    f"protected position {outside[0]} is outside 0..{self.length - 1}; positions count from 0"
                )
        if self.max_edits is not None and self.max_edits < 1:
            raise ConfigError(f"max_edits is {self.max_edits}; allow at least 1, or leave it out for no limit")
        if self.edits_from not in ("parent", "wild_type"):
            raise ConfigError(f"edits_from is {self.edits_from!r}; choose parent or wild_type")
        if self.edits_from == "wild_type" and self.wild_type is None:
            raise ConfigError("edits_from is wild_type, but there is no wild_type; give it, or count edits from parent")

    @property
    def fixed_length(self) -> bool:
        """Whether all sequences have the same length."""
        return self.shortest is None or self.shortest == self.length

    @property
    def least(self) -> int:
        """Length of the shortest sequence."""
        return self.length if self.shortest is None else self.shortest

    @property
    def limited(self) -> bool:
        """Whether not every sequence may be made of every other: some positions are protected, or edits are counted."""
        return bool(self.protected) or self.max_edits is not None

    @property
    def alphabet(self) -> Alphabet:
        """The letters, or the integers."""
        return Alphabet.of(self.num_states if self.letters is None else self.letters)

    def describe(self) -> str:
        """`V 32, L 32`, or `V 20, L 8-12`."""
        return f"V {self.num_states}, L {self._lengths()}"

    def _lengths(self) -> str:
        return f"{self.length}" if self.fixed_length else f"{self.shortest}-{self.length}"
