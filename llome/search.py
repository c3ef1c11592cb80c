"""Hyperparameter searches (appendix A.4 of the paper): the grid of one, the overlay of each point, and whose values go to whom.

    grid:
      model.init_args.lambda_: [0.2, 1.0, 10.0]
      data.batch_size: [64, 128]
    min_valid: 0.9

A key is a setting of the training YAML that the search varies, written with dots; every combination is a point, numbered
from 1 with the last key varying fastest. A point is an overlay: a YAML of its values alone, given to `llome train fit` as a
second `--config`. An experiment names for each objective its grid, or the objective whose values it takes over (`tune:`).
Imports nothing heavy: the Snakefile counts the points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from llome import paths
from llome.errors import ConfigError
from llome.settings import check_shape, nearest, read_yaml


@dataclass(frozen=True)
class Grid:
    """A valid grid."""

    file: str
    values: dict[str, list[Any]]
    """Candidates of each setting, by its dotted name."""
    min_valid: float
    """A point is eligible above this share of well-formed outputs of the right length and in range."""

    def __len__(self) -> int:
        return math.prod(map(len, self.values.values()))

    def points(self) -> list[dict[str, Any]]:
        """The values of each point by dotted name, in the order of their numbers."""
        return [dict(zip(self.values, values, strict=True)) for values in itertools.product(*self.values.values())]


@dataclass(frozen=True)
class Searches:
    """The searches of an experiment: its `tune:`, and the rounds of its schedules."""

    tune: Mapping[str, str]
    histories: Sequence[str]
    """The last round of each schedule."""

    def values_from(self, objective: str) -> str | None:
        """The objective whose search sets the values of `objective`: itself, another one, or none."""
        source = self.tune.get(objective)
        return None if source is None else source if source in self.tune else objective

    @property
    def grids(self) -> dict[str, str]:
        """The grid of each objective that is searched."""
        return {objective: file for objective, file in self.tune.items() if self.values_from(objective) == objective}

    def first_round(self, objective: str) -> str:
        """The first round of `objective` in the first schedule that has one: where its search starts."""
        return next(h for last in self.histories for h in paths.lineage(last) if paths.objective(h) == objective)

    def check(self, where: str) -> None:
        """Refuse searches that no round needs or that would wait for themselves; `where` names the file. Raises ConfigError."""
        used = {paths.objective(history) for last in self.histories for history in paths.lineage(last)}
        for objective, source in self.tune.items():
            for name in (objective, self.values_from(objective)):
                if name not in used:
                    raise ConfigError(
                        f"{where}: tune.{objective}: no schedule has a round of {name!r}{nearest(str(name), used)}; drop the entry"
                    )
            if source in self.tune and self.values_from(source) != source:
                raise ConfigError(
                    f"{where}: tune.{objective} takes over from {source!r}, which has no grid of its own; name one that has"
                )
            before, waiting = {objective}, [objective]
            while waiting:  # the rounds that its search starts from, and what they wait for in turn
                searched = self.values_from(waiting.pop())
                needed = (
                    {paths.objective(h) for h in paths.lineage(paths.parent(self.first_round(searched)))}
                    if searched
                    else set()
                )
                if objective in needed:
                    raise ConfigError(
                        f"{where}: tune.{objective}: its search would start from a round of {objective!r} itself;"
                        f" let a schedule that comes to {searched!r} without it stand first"
                    )
                waiting += needed - before
                before |= needed


def read_grid(file: str, train: str | None = None) -> Grid:
    """Read and check a grid; with `train`, also that this training YAML has every setting that it varies. Raises ConfigError."""
    settings = read_yaml(file)
    check_shape(settings, "grid", file)
    values = {key: [_number(value) for value in candidates] for key, candidates in settings["grid"].items()}
    for key, candidates in values.items():
        repeated = [value for i, value in enumerate(candidates) if value in candidates[:i]]
        if repeated:
            raise ConfigError(f"{file}: grid.{key} names {repeated[0]!r} twice; drop one")
    if train is not None:
        known = flatten(read_yaml(train))
        for key in values:
            if key not in known:
                hint = nearest(key, known) or "; set it there first"
                raise ConfigError(f"{file}: grid varies {key!r}, which {train} does not set{hint}")
    return Grid(file, values, settings.get("min_valid", 0.9))


def overlay(point: Mapping[str, Any]) -> dict[str, Any]:
    """`{"data.batch_size": 64}` -> `{"data": {"batch_size": 64}}`."""
    nested: dict[str, Any] = {}
    for key, value in point.items():
        *path, last = key.split(".")
        inner = nested
        for part in path:
            inner = inner.setdefault(part, {})
        inner[last] = value
    return nested


def flatten(settings: Any) -> dict[str, Any]:
    """`{"data": {"batch_size": 64}}` -> `{"data.batch_size": 64}`; what is no mapping stays whole."""
    flat: dict[str, Any] = {}
    for key, value in settings.items() if isinstance(settings, Mapping) else ():
        inner = flatten(value)
        flat |= {f"{key}.{name}": deeper for name, deeper in inner.items()} if inner else {str(key): value}
    return flat


def _number(value: Any) -> Any:
    """YAML 1.1 reads 1e-4, without a point, as text."""
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value
