"""A task of the user's: its contexts, what is known of designs, and the surrogate that is fitted to that.

All of it is read from files, and what can be wrong with it is found out, before anything is paid for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from llome.errors import ConfigError, DesignError
from llome.exchange import Faults, read_columns, read_number, read_table
from llome.leon.features import Features
from llome.leon.space import Space
from llome.leon.surrogate import Surrogate, SurrogateSettings, fit_vectors
from llome.provenance import hash_file, hash_json
from llome.settings import nearest

FEWEST = 20
"""Labels that a surrogate is fitted to at least."""
_BASE = 1000
"""Known designs that say how good one is on average for a context."""


@dataclass(frozen=True)
class Contexts:
    """For whom designs are sought."""

    ids: list[str]
    shown: list[dict[str, str]]
    """What the model is told of each."""
    features: dict[str, list[str]]
    """What the surrogate is told."""


@dataclass(frozen=True)
class Source:
    """Labelled designs."""

    designs: list[dict[str, Any]]
    features: dict[str, list[str]]
    scores: np.ndarray
    """(N,), higher is better, -inf infeasible."""
    groups: list[str] | None
    """Cluster of each, such as a patient; none of them is split when some are held out."""
    hash: str


def keys(settings: Any, where: str, needed: Sequence[str], others: Sequence[str] = ()) -> dict[str, Any]:
    """The mapping, its keys checked. Raises ConfigError naming `where`, and the key that is unknown or missing."""
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where} is {settings!r}; give a mapping with {', '.join([*needed, *others])}")
    known = [*needed, *others]
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key {key!r}{nearest(str(key), known)}; the keys are {', '.join(known)}"
            )
    for key in needed:
        if key not in settings:
            raise ConfigError(f"{where}: the key {key!r} is missing; the keys are {', '.join(known)}")
    return dict(settings)


def names_of(value: Any, where: str) -> list[str]:
    """A list of texts. Raises ConfigError."""
    if not isinstance(value, list) or not all(isinstance(name, str) and name for name in value):
        raise ConfigError(f"{where} is {value!r}; give a list of names")
    return list(value)


def read_contexts(settings: Any, features: Sequence[str]) -> Contexts:
    """From `{table, id[, show]}`: `show` names the columns that the model is told, all but the id where it is left out.

    Raises:
        ConfigError, TableError: what is wrong, naming the key or the file.
    """
    given = keys(settings, "context", ("table", "id"), ("show",))
    shown = names_of(given["show"], "context: show") if given.get("show") is not None else None
    path = Path(str(given["table"]))
    if shown is None:
        shown = [name for name in read_table(path).column_names if name != given["id"]]
    wanted = list(dict.fromkeys([str(given["id"]), *shown, *features]))
    lines, columns = read_columns(path, wanted)
    table = dict(zip(wanted, columns, strict=True))
    faults, ids, seen = Faults(path), [text.strip() for text in table[str(given["id"])]], set[str]()
    for line, name in zip(lines, ids, strict=True):
        if not name or name in seen:
            faults.add(line, f"the id {name!r} {'comes twice' if name else 'is empty'}")
        seen.add(name)
    faults.check()
    if not ids:
        raise ConfigError(f"{path} holds no context; name the table of those whom designs are sought for")
    rows = [{name: table[name][i].strip() for name in shown if table[name][i].strip()} for i in range(len(ids))]
    return Contexts(ids, rows, {name: [t.strip() for t in table[name]] for name in features})


def read_source(settings: Any, space: Space) -> Source:
    """From `{table, outcome, features[, maximize, design, groups]}`: `design` maps fields to columns of other names.

    Raises:
        ConfigError: a key is wrong, there are too few labels, or all of them are the same.
        TableError: the file cannot be read, lacks a column, or has faults, all told at once.
    """
    given = keys(settings, "source", ("table", "outcome", "features"), ("maximize", "design", "groups"))
    maximize = given.get("maximize", True)
    if not isinstance(maximize, bool):
        raise ConfigError(f"source: maximize is {maximize!r}, expected true or false")
    features = names_of(given["features"], "source: features")
    renamed = keys(given.get("design") or {}, "source: design", (), space.names)
    columns = {name: str(renamed.get(name, name)) for name in space.names}
    grouped = given.get("groups")
    wanted = [*columns.values(), *features, str(given["outcome"]), *([str(grouped)] if grouped is not None else [])]
    path = Path(str(given["table"]))
    lines, texts = read_columns(path, wanted)
    table = dict(zip(wanted, texts, strict=True))
    faults, designs, scores = Faults(path), list[dict[str, Any]](), np.zeros(len(lines))
    for row, line in enumerate(lines):
        try:
            designs.append(space.read({name: table[column][row] for name, column in columns.items()}))
        except DesignError as err:
            faults.add(line, str(err))
        said = table[wanted[len(columns) + len(features)]][row].strip()
        number, worst = read_number(said), "-inf" if maximize else "inf"
        if number is None and said.lower() != worst:
            faults.add(line, f"{given['outcome']} is {said!r}, expected a number, or {worst} where infeasible")
        scores[row] = -np.inf if number is None else number if maximize else -number
    faults.check()
    finite = scores[np.isfinite(scores)]
    if len(finite) < FEWEST:
        raise ConfigError(f"{path} has {len(finite)} labels; a surrogate needs {FEWEST} at least")
    if np.ptp(finite) == 0:
        raise ConfigError(f"all outcomes in {path} are {said}; there is nothing that a surrogate could learn")
    known = {name: [t.strip() for t in table[name]] for name in features}
    return Source(designs, known, scores, table[str(grouped)] if grouped is not None else None, hash_file(path))


class Foresight:
    """The surrogate of a task: f_hat of designs for a context, and the known designs as a critic sees them."""

    def __init__(self, space: Space, source: Source, settings: Any, *, random_seed: int) -> None:
        """Fit it. Raises ConfigError on an unknown setting, DivergedError where the fit fails."""
        known = [field.name for field in fields(SurrogateSettings)]
        given = SurrogateSettings(**keys(settings, "surrogate", (), known))
        self._space, self._features = space, Features.of(source.features)
        encoded = space.encode(source.designs)
        inputs = np.hstack([self._features.encode(source.features, len(encoded)), encoded])
        groups = None if source.groups is None else np.array(source.groups)
        self.surrogate: Surrogate = fit_vectors(
            inputs, source.scores, settings=given, random_seed=random_seed, groups=groups
        )
        self.known = encoded[np.isfinite(source.scores)]
        """(N, D) feasible known designs, encoded."""
        every = max(1, len(self.known) // _BASE)
        self._base = self.known[::every]
        self.hash = hash_json([source.hash, vars(given), random_seed])

    def strange(self, contexts: Contexts) -> dict[str, list[str]]:
        """What contexts say that the source has nothing like, by column."""
        return self._features.strange(contexts.features)

    def of(self, contexts: Contexts, row: int) -> Callable[[Sequence[Mapping[str, Any]]], np.ndarray]:
        """f_hat for a context: N designs -> (N,), in standard deviations of the outcomes, 0 as good as a known design on average."""
        features = self._features.encode({n: [texts[row]] for n, texts in contexts.features.items()}, 1)
        zero = float(self._worth(features, self._base).mean())
        return lambda designs: self._worth(features, self._space.encode(designs)) - zero

    def _worth(self, features: np.ndarray, encoded: np.ndarray) -> np.ndarray:
        inputs = np.hstack([np.repeat(features, len(encoded), axis=0), encoded])
        return self.surrogate.predict(inputs).worth
