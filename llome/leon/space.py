"""What a design is: its fields, and where it lies among others.

A design is a mapping of names to plain values: numbers between bounds, choices, sequences over an alphabet. Models write them as JSON, so
everything that comes in is checked, and what is wrong with it is said in words that can be shown to the model.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llome.domain import Alphabet
from llome.errors import ConfigError, DesignError
from llome.leon.fields import Choice, Field, Number, Text, shorten
from llome.settings import nearest


@dataclass(frozen=True)
class Space:
    """All designs."""

    fields: tuple[Field, ...]

    @classmethod
    def of(cls, mapping: Mapping[str, Any], where: str = "the design space") -> Space:
        """From what a YAML says of each field, by name.

        A field is `{low: 0, high: 100, step: 0.5, unit: mg}` (step and unit may lack), `{choices: [a, b]}`, or
        `{sequence: dna, length: 20}`, where sequence is what `Alphabet.of` takes and length a number or [shortest, longest].

        Raises:
            ConfigError: naming `where`, the field and what is wrong.
        """
        if not isinstance(mapping, Mapping) or not mapping:
            raise ConfigError(f"{where} is {mapping!r}; give a mapping with at least one field")
        fields = []
        for name, setting in mapping.items():
            at = f"{where}: {name}"
            if not isinstance(name, str) or not name:
                raise ConfigError(f"{at}: {name!r} is no name of a field; names are text")
            if not isinstance(setting, Mapping):
                raise ConfigError(f"{at}: {setting!r} is no mapping; {_KINDS}")
            fields.append(_field(name, setting, at))
        return cls(tuple(fields))

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the fields, in order."""
        return tuple(field.name for field in self.fields)

    @property
    def dimensions(self) -> int:
        """D, columns of an encoding."""
        return sum(field.dimensions for field in self.fields)

    @property
    def has_numbers(self) -> bool:
        """Whether any field is a number: then two designs are hardly ever equal, and nearness says more."""
        return any(isinstance(field, Number) for field in self.fields)

    def encode(self, designs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """N designs, checked before, -> (N, D) float64: numbers 0..1 between their bounds, all else one-hot with different ones 1 apart."""
        if not designs:
            return np.zeros((0, self.dimensions))
        return np.hstack([field.encode([design[field.name] for design in designs]) for field in self.fields])

    def check(self, raw: Any) -> dict[str, Any]:
        """A design out of an answer, its fields in order. Raises DesignError, in a sentence for whoever answered."""
        if not isinstance(raw, Mapping):
            raise DesignError(f"{shorten(raw)} is no JSON object with the fields {', '.join(self.names)}")
        for name in raw:
            if name not in self.names:
                hint = nearest(str(name), self.names) or f"; the fields are {', '.join(self.names)}"
                raise DesignError(f"unknown field {shorten(name)}{hint}")
        missing = [name for name in self.names if name not in raw]
        if missing:
            raise DesignError(f"the field {missing[0]!r} is missing; the fields are {', '.join(self.names)}")
        return {field.name: field.check(raw[field.name]) for field in self.fields}

    def read(self, texts: Mapping[str, str]) -> dict[str, Any]:
        """A known design out of a table's texts; its numbers may lie outside the bounds. Raises DesignError."""
        return {field.name: field.read(texts[field.name].strip()) for field in self.fields}

    def describe(self) -> str:
        """The fields, one a line, for a prompt."""
        return "\n".join(f"- {json.dumps(f.name, ensure_ascii=False)}: {f.describe()}" for f in self.fields)


_KINDS = (
    "a field is {low, high[, step, unit]}, {choices: [...]} or {sequence: ALPHABET, length: N or [shortest, longest]}"
)
_KEYS = {"low": {"low", "high", "step", "unit"}, "choices": {"choices"}, "sequence": {"sequence", "length"}}
_NEEDED = {"low": {"low", "high"}, "choices": {"choices"}, "sequence": {"sequence", "length"}}


def _field(name: str, setting: Mapping[str, Any], at: str) -> Field:
    kind = next((kind for kind in _KEYS if _NEEDED[kind] & setting.keys()), None)
    if kind is None:
        raise ConfigError(f"{at}: {dict(setting)!r} is no field; {_KINDS}")
    for key in setting:
        if key not in _KEYS[kind]:
            raise ConfigError(f"{at}: unknown key {key!r}{nearest(str(key), _KEYS[kind])}; {_KINDS}")
    for key in sorted(_NEEDED[kind] - setting.keys()):
        raise ConfigError(f"{at}: the key {key!r} is missing; {_KINDS}")
    if kind == "low":
        return _number(name, setting, at)
    return _choice(name, setting["choices"], at) if kind == "choices" else _text(name, setting, at)


def _number(name: str, setting: Mapping[str, Any], at: str) -> Number:
    low, high, step = setting["low"], setting["high"], setting.get("step")
    for key, value in (("low", low), ("high", high), ("step", step)):
        if isinstance(value, bool) or not isinstance(value, int | float | None) or (value is None and key != "step"):
            raise ConfigError(f"{at}: {key} is {value!r}; it must be a number")
        if value is not None and not math.isfinite(value):
            raise ConfigError(f"{at}: {key} is {value!r}; it must be finite")
    if not low < high:
        raise ConfigError(f"{at}: low is {low} and high {high}; low must be below high")
    if step is not None and not 0 < step <= high - low:
        raise ConfigError(f"{at}: step is {step}; it must be above 0 and no more than high - low, {high - low:g}")
    return Number(name, low, high, step, str(setting.get("unit") or ""))


def _choice(name: str, options: Any, at: str) -> Choice:
    if not isinstance(options, Sequence) or isinstance(options, str) or len(options) < 2:
        raise ConfigError(f"{at}: choices is {options!r}; give a list of two or more")
    for option in options:
        if not isinstance(option, str | int | float | bool) or option != option:
            raise ConfigError(f"{at}: {option!r} is no choice; give text, numbers, true or false")
        if sum(str(option) == str(other) for other in options) > 1 or sum(option == other for other in options) > 1:
            raise ConfigError(f"{at}: the choice {option!r} comes twice; name each once")
    return Choice(name, tuple(options))


def _text(name: str, setting: Mapping[str, Any], at: str) -> Text:
    length = setting["length"]
    bounds = length if isinstance(length, Sequence) and not isinstance(length, str) else [length, length]
    if len(bounds) != 2 or any(isinstance(b, bool) or not isinstance(b, int) for b in bounds):
        raise ConfigError(f"{at}: length is {length!r}; give a whole number, or [shortest, longest]")
    if not 1 <= bounds[0] <= bounds[1]:
        raise ConfigError(f"{at}: length is {length!r}; the shortest is 1 at least and no longer than the longest")
    try:
        return Text(name, Alphabet.of(setting["sequence"]), bounds[0], bounds[1])
    except (ConfigError, TypeError) as err:
        raise ConfigError(f"{at}: sequence: {err}") from None
