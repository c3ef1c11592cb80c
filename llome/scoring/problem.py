"""What the user says of a problem of their own, whatever answers it: alphabet, lengths, limits on edits, sign, patience.

Inside, sequences are integers and higher is better; here is the one place where a sign may change.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from typing import Any, ClassVar, Literal, Self

import numpy as np

from llome.domain import PAD, Alphabet, Domain
from llome.errors import ConfigError, LlomeError, OracleError
from llome.provenance import hash_json

PATIENCE = "patience"
"""The part of a spec that lies in a file of its own and is no part of the problem."""


def fingerprint(spec: dict[str, Any]) -> str:
    """Hash of a spec without its own fingerprint, and without the patience to wait for it."""
    return hash_json({key: value for key, value in spec.items() if key not in ("fingerprint", PATIENCE)})


@dataclass(frozen=True, kw_only=True)
class Problem:
    """Settings that every kind of oracle shares, but for Ehrlich functions."""

    alphabet: str | int | list[str]
    """dna, rna, protein, the letters in one word or in a list, or V for the integers 0..V-1."""
    length: int | list[int]
    """Length L of a sequence, or [shortest, longest] where lengths differ."""
    wild_type: str | None = None
    """The sequence that limits refer to."""
    protected: list[int] | None = None
    """Positions (from 0) that no edit may change."""
    max_edits: int | None = None
    """Most edits from `edits_from`."""
    edits_from: Literal["parent", "wild_type"] = "parent"
    """What edits are counted from."""
    maximize: bool = True
    """False where a lower score is better."""
    start: str | None = None
    """The sequence that the genetic algorithm starts from; the wild type unless given."""
    repeats: int = 1
    """Measurements of each sequence; the score is their mean."""
    retries: int = 1
    """How often a sequence that failed is asked for again."""
    timeout: float | None = 3600
    """Seconds that a batch may take; null: as long as it takes."""
    optimum: float | None = None
    """The best possible score, in the user's sign, where it is known."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        for name, least in (("repeats", 1), ("retries", 0), ("max_edits", 0)):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < least):
                raise ConfigError(f"{name} is {value!r}; it must be an integer of at least {least}")
        for name in ("timeout", "optimum"):
            value = getattr(self, name)
            if value is not None and (
                isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)
            ):
                raise ConfigError(f"{name} is {value!r}; it must be a number, or null")
        if self.timeout is not None and self.timeout <= 0:
            raise ConfigError(f"timeout is {self.timeout}; it must be more than 0 seconds, or null for no limit")
        if not isinstance(self.maximize, bool):
            raise ConfigError(f"maximize is {self.maximize!r}; say true, or false where a lower score is better")
        if self.edits_from not in ("parent", "wild_type"):
            raise ConfigError(f"edits_from is {self.edits_from!r}; it is parent or wild_type")
        if self.edits_from == "wild_type" and self.wild_type is None:
            raise ConfigError("edits_from is wild_type, but no wild_type is given; give one")
        shortest, longest = self.lengths
        letters = self.letters.letters
        if len(letters) > np.iinfo(np.int16).max:
            raise ConfigError(f"alphabet has {len(letters)} letters, more than tables hold ({np.iinfo(np.int16).max})")
        positions = self.protected or []
        if not isinstance(positions, list) or any(isinstance(p, bool) or not isinstance(p, int) for p in positions):
            raise ConfigError(f"protected is {self.protected!r}; give a list of positions from 0, such as [0, 5]")
        for position in positions:
            if not 0 <= position < longest:
                raise ConfigError(f"protected names position {position}; sequences have positions 0 to {longest - 1}")
        for name in ("wild_type", "start"):
            if getattr(self, name) is not None:
                self.encode(getattr(self, name), name)
        if shortest < 1 or shortest > longest:
            raise ConfigError(
                f"length is {self.length!r}; sequences have at least 1 element, and the shortest comes first"
            )

    @property
    def letters(self) -> Alphabet:
        """The letters of elements 0..V-1."""
        return Alphabet.of(self.alphabet)

    @property
    def lengths(self) -> tuple[int, int]:
        """The shortest and the longest length."""
        both = self.length if isinstance(self.length, list) else [self.length, self.length]
        if len(both) != 2 or any(isinstance(n, bool) or not isinstance(n, int) for n in both):
            raise ConfigError(f"length is {self.length!r}; give a number of elements, or [shortest, longest]")
        return both[0], both[1]

    def encode(self, text: object, what: str) -> np.ndarray:
        """(L,) int64 of a text, `PAD` after its end. Raises ConfigError that names `what` it is."""
        if not isinstance(text, str):
            raise ConfigError(f"{what} is {text!r}; give its letters as text, in quotes where it is all digits")
        try:
            elements = self.letters.encode(text)
        except ConfigError as err:
            raise ConfigError(f"{what}: {err}") from None
        shortest, longest = self.lengths
        if not shortest <= len(elements) <= longest:
            wanted = f"{longest}" if shortest == longest else f"{shortest} to {longest}"
            raise ConfigError(f"{what}: {text!r} has {len(elements)} elements; sequences have {wanted}")
        return np.array(elements + [PAD] * (longest - len(elements)), dtype=np.int64)

    def domain(self, fingerprint: str) -> Domain:
        """What sequences look like, for the oracle of this fingerprint."""
        shortest, longest = self.lengths
        letters = None if isinstance(self.alphabet, int) else self.letters.letters
        wild_type = None if self.wild_type is None else self.encode(self.wild_type, "wild_type")
        return Domain(
            len(self.letters.letters),
            longest,
            fingerprint,
            shortest=None if shortest == longest else shortest,
            letters=letters,
            wild_type=None if wild_type is None else tuple(wild_type[wild_type != PAD].tolist()),
            protected=tuple(sorted(set(self.protected or []))),
            max_edits=self.max_edits,
            edits_from=self.edits_from,
            maximize=self.maximize,
        )

    def inward(self, score: float) -> float:
        """The user's score, higher is better."""
        return score if self.maximize else 0.0 - score


class Posed(ABC):
    """What every oracle of the user's own problem shares. A kind adds its own arguments, and how it answers."""

    kind: ClassVar[str]

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @property
    @abstractmethod
    def arguments(self) -> dict[str, Any]:
        """The kind's own arguments, as JSON."""

    @property
    def patience(self) -> dict[str, Any]:
        """What may change without the problem becoming another: its names are arguments, of the problem or of the kind."""
        return {"retries": self.problem.retries, "timeout": self.problem.timeout}

    @cached_property
    def drawn(self) -> dict[str, Any]:
        """What was drawn, or found in files, once, as JSON: all that defines the problem beside its arguments."""
        return {}

    @cached_property
    def domain(self) -> Domain:
        """What its sequences look like, and whose they are."""
        return self.problem.domain(self.fingerprint)

    @property
    def num_states(self) -> int:
        """Size V of the alphabet."""
        return len(self.problem.letters.letters)

    @property
    def length(self) -> int:
        """Length L of a sequence, or of the longest."""
        return self.problem.lengths[1]

    @property
    def optimum(self) -> float | None:
        """The best possible score, higher is better, if the user knows it."""
        return None if self.problem.optimum is None else self.problem.inward(float(self.problem.optimum))

    @property
    def deterministic(self) -> bool:
        """Whether a sequence always scores the same; nobody knows of a program or a laboratory."""
        return False

    @property
    def repeats(self) -> int:
        """How often each sequence is measured."""
        return self.problem.repeats

    @property
    def retries(self) -> int:
        """How often a sequence that failed is asked for again."""
        return self.problem.retries

    @cached_property
    def fingerprint(self) -> str:
        """Hash of all that defines the problem."""
        return str(self.spec()["fingerprint"])

    def initial_solution(self) -> np.ndarray:
        """(L,) int64, the start, or the wild type. Raises ConfigError where neither is given."""
        text = self.problem.start if self.problem.start is not None else self.problem.wild_type
        if text is None:
            raise ConfigError(
                "the genetic algorithm starts from a sequence, and this oracle names none; give start: (or wild_type:) in its"
                " YAML, or begin with labels of your own"
            )
        return self.problem.encode(text, "start")

    def spec(self) -> dict[str, Any]:
        """All that defines the oracle, as JSON, its fingerprint and the patience to wait for it included."""
        spec = {
            "kind": self.kind,
            "problem": {key: value for key, value in asdict(self.problem).items() if key not in ("retries", "timeout")},
            "arguments": {key: value for key, value in self.arguments.items() if key not in self.patience},
            "alphabet": list(self.problem.letters.letters),
            "length": self.length,
            "optimum": self.optimum,
            "deterministic": self.deterministic,
            "drawn": self.drawn,
        }
        return spec | {"fingerprint": fingerprint(spec), PATIENCE: self.patience}

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """The oracle of a spec; see `spec`. Raises OracleError where it is malformed."""
        try:
            patience = spec.get(PATIENCE, {})
            shared = {field.name for field in fields(Problem)}
            problem = Problem(**spec["problem"], **{k: v for k, v in patience.items() if k in shared})
            self = cls(problem=problem, **spec["arguments"], **{k: v for k, v in patience.items() if k not in shared})
            self.restore(spec["drawn"])
        except LlomeError:
            raise
        except (KeyError, TypeError, ValueError, AttributeError) as err:
            raise OracleError(f"the spec of an oracle of kind {cls.kind} is incomplete or malformed ({err})") from err
        return self

    def restore(self, drawn: dict[str, Any]) -> None:
        """Take over what was drawn."""
        self.drawn = drawn
