"""The grid of a hyperparameter search (appendix A.4 of the paper): which settings are varied, and the overlay of each point.

    grid:
      model.init_args.lambda_: [0.2, 1.0, 10.0]
      data.batch_size: [64, 128]
    min_valid: 0.9

A key is a setting of the training YAML that the search varies, written with dots; every combination is a point, numbered
from 1 with the last key varying fastest. A point is an overlay: a YAML of its values alone, given to `llome train fit` as a
second `--config`. Imports nothing heavy: the Snakefile counts the points.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

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
