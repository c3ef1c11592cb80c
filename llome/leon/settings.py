"""Settings of the loop of LEON, with what is known of the paper's and what had to be chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from llome.errors import ConfigError
from llome.leon.ranks import CriticSettings
from llome.settings import nearest


def _quick() -> CriticSettings:
    return CriticSettings(hidden=32, slope="penalty", steps=200, batch_size=64, learning_rate=5e-3)


@dataclass(frozen=True, kw_only=True)
class LeonSettings:
    """Of one context's loop. The paper prints its budget alone; the rest was chosen here."""

    budget: int = 2048
    """Surrogate queries, each proposal one, repeats too; none is made beyond."""
    calls: int | None = None
    """Most calls of the proposer, those asked again included; None: no limit but the budget's."""
    batch: int = 16
    """Designs asked for at a time."""
    shown: int = 20
    """Most scored designs in a prompt."""
    clusters: int = 6
    """Most equivalence classes of a batch, where designs have numbers; else equal designs are one class."""
    bound: float = 0.1
    """W0, in units of encoded designs: a number's whole range, or another choice, is 1."""
    step: float = 0.5
    """Of lambda's ascent a batch."""
    refit: int = 4
    """Batches between two fits of the source critic."""
    reasks: int = 2
    """How often an answer without any usable design is asked for again."""
    patience: int = 3
    """Batches in a row that may stay without a design; then the loop ends, and says so."""
    critic: bool = True
    """Whether W1 is bounded; without, lambda is 0."""
    certainty: bool = True
    """Whether scores are multiplied by mu; without, they are not."""
    least_mu: float = 0.1
    """Least mu of a batch: with 0 its scores would all be the same, and the next prompt could tell nothing."""
    critic_fit: CriticSettings = field(default_factory=_quick)
    """Of each fit of the source critic: half a second. A penalty on slopes (the paper clips weights): c* then falls off on all
    sides of what is known, where a clipped one is so simple that it rewards leaving it the other way."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        for name in ("budget", "batch", "shown", "clusters", "refit", "patience"):
            if getattr(self, name) < 1:
                raise ConfigError(f"settings.{name} is {getattr(self, name)}; it must be at least 1")
        if self.calls is not None and self.calls < 1:
            raise ConfigError(f"settings.calls is {self.calls}; it must be at least 1, or null for no limit")
        if self.reasks < 0:
            raise ConfigError(f"settings.reasks is {self.reasks}; it must be at least 0")
        for name in ("bound", "least_mu"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise ConfigError(f"settings.{name} is {getattr(self, name)}; it must be at least 0")
        if not 0 < self.step < float("inf"):
            raise ConfigError(f"settings.step is {self.step}; it must be above 0")

    @classmethod
    def of(cls, mapping: Mapping[str, Any], where: str = "the settings") -> LeonSettings:
        """From a YAML's mapping; `critic_fit` is one of its own, over the quick defaults. Raises ConfigError naming `where` and the key."""
        given = dict(_checked(cls, mapping, where))
        if "critic_fit" in given:
            own = _checked(CriticSettings, given["critic_fit"], f"{where}: critic_fit")
            given["critic_fit"] = CriticSettings(**{**vars(_quick()), **own})
        return cls(**given)


def _checked(cls: type, mapping: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(mapping, Mapping):
        raise ConfigError(f"{where} is {mapping!r}; give a mapping")
    kinds = {f.name: str(f.type) for f in fields(cls)}
    for key, value in mapping.items():
        if key not in kinds:
            raise ConfigError(
                f"{where}: unknown key {key!r}{nearest(str(key), kinds) or '; there is ' + ', '.join(kinds)}"
            )
        kind, number = kinds[key], isinstance(value, int | float) and not isinstance(value, bool)
        fits = {
            "bool": isinstance(value, bool),
            "int": number and isinstance(value, int),
            "int | None": value is None or (number and isinstance(value, int)),
            "float": number,
        }.get(kind, True)
        if not fits:
            raise ConfigError(f"{where}: {key} is {value!r}, expected {_SAID[kind]}")
        if kind.startswith("Literal") and f"'{value}'" not in kind and f'"{value}"' not in kind:
            raise ConfigError(f"{where}: {key} is {value!r}, expected one of {kind.removeprefix('Literal')}")
    return mapping


_SAID = {
    "bool": "true or false",
    "int": "a whole number",
    "int | None": "a whole number or null",
    "float": "a number",
}
