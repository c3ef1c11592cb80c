"""The black box: what it promises, and how it lies on disk. What stands between it and everybody else is the budget.

An oracle's spec holds its constructor arguments *and* its drawn arrays: it is loaded from the arrays and never drawn
again, so another version of a random generator cannot change a problem under way. Its fingerprint is the hash of that
spec. How long to wait for it and how often to ask again is no part of the problem: that lies beside the spec in a file of
its own, so that a run can go on with more patience.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from llome.domain import PAD, Domain
from llome.errors import ConfigError, OracleError
from llome.provenance import read_json, write_json
from llome.scoring.problem import PATIENCE, Problem, fingerprint

KINDS: dict[str, tuple[str, str]] = {
    "ehrlich": ("llome.scoring.ehrlich", "Ehrlich"),
    "rough_mt_fuji": ("llome.scoring.fuji", "RoughMtFuji"),
    "table": ("llome.scoring.landscape", "Landscape"),
    "python": ("llome.scoring.programs", "Python"),
    "command": ("llome.scoring.programs", "Command"),
    "poli": ("llome.scoring.programs", "Poli"),
    "manual": ("llome.scoring.lab", "Manual"),
}
"""Module and class of each kind of oracle. A class has `kind`, a constructor of plain arguments and `from_spec`.

One whose first argument is a `problem` shares the settings of `llome.scoring.problem.Problem`, written beside its own.
"""


@runtime_checkable
class Oracle(Protocol):
    """A black box that scores sequences; higher is better, -inf is infeasible."""

    @property
    def num_states(self) -> int:
        """Size V of the alphabet; elements are 0..V-1."""

    @property
    def length(self) -> int:
        """Length L of a sequence."""

    @property
    def domain(self) -> Domain:
        """What its sequences look like, and whose they are."""

    @property
    def optimum(self) -> float | None:
        """The best possible score (without noise), if known."""

    @property
    def deterministic(self) -> bool:
        """Whether a sequence always scores the same."""

    @property
    def repeats(self) -> int:
        """How often each sequence is measured; the score is the mean."""

    @property
    def fingerprint(self) -> str:
        """Hash of the spec: equal for equal problems only."""

    def __call__(self, sequences: np.ndarray, *, query: int = 0) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores.

        `query` is the running number of the first of them: it keys observation noise, so that how calls are split, or
        interrupted, changes no answer.
        """

    def initial_solution(self) -> np.ndarray:
        """(L,) integers, a feasible sequence to start from."""

    def spec(self) -> dict[str, Any]:
        """All that defines the oracle, as JSON, its fingerprint included."""


@dataclass(frozen=True)
class Answer:
    """What was said of one sequence of a batch."""

    row: int
    """Its place in the batch."""
    score: float | None
    """Finite, or -inf where infeasible, higher is better; None: the attempt failed."""
    message: str = ""
    """Why it failed."""


@runtime_checkable
class Checked(Protocol):
    """An oracle of which something can be said before it is asked."""

    def check(self) -> None:
        """Raises ConfigError where what it needs is not there."""


@runtime_checkable
class Streaming(Oracle, Protocol):
    """An oracle that answers one by one, and that may fail."""

    @property
    def retries(self) -> int:
        """How often a sequence that failed is asked for again."""

    def answers(self, sequences: np.ndarray, queries: np.ndarray) -> Iterator[Sequence[Answer]]:
        """(N, L) integers and their running numbers (N,) -> answers as they come, those that came together in one piece.

        Raises OracleError where the oracle itself is broken, after what it answered before has been handed over.
        """

    def close(self) -> None:
        """End what runs; the next question starts it again."""


def read_settings(path: str | Path) -> dict[str, Any]:
    """The settings in a YAML file. Raises ConfigError, naming the file, where it is missing or holds no mapping."""
    import yaml

    try:
        settings = yaml.safe_load(Path(path).read_text())
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(
            f"cannot read {path}: {getattr(err, 'strerror', None) or err}; give the YAML of an oracle"
        ) from err
    except yaml.YAMLError as err:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(err).split())}") from err
    if not isinstance(settings, dict):
        raise ConfigError(
            f"{path} holds no settings; it needs `name` (one of {', '.join(KINDS)}) and the arguments of that kind"
        )
    return settings


def make_oracle(settings: dict[str, Any], where: str = "the oracle's settings") -> Oracle:
    """Draw an oracle from `{"name": kind, argument: value, ...}`. Raises ConfigError on an unknown key."""
    arguments = dict(settings)
    cls = _kind(arguments.pop("name", None), "name", where)
    parameters = inspect.signature(cls).parameters
    own = [name for name in parameters if name != "problem"]
    shared = [field.name for field in fields(Problem)] if "problem" in parameters else []
    known = [*shared, *own]
    for key in arguments:
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key {key!r}{_nearest(key, known)}; an oracle of this kind has {', '.join(known)}"
            )
    for name, of in (*((f.name, f) for f in fields(Problem) if shared), *((n, parameters[n]) for n in own)):
        if name not in arguments and _required(of):
            raise ConfigError(f"{where}: the key {name!r} is missing; an oracle of this kind has {', '.join(known)}")
    if shared:
        problem = Problem(**{key: arguments.pop(key) for key in shared if key in arguments})
        arguments["problem"] = problem
    oracle: Oracle = cls(**arguments)
    return oracle


def _required(argument: Any) -> bool:
    """Whether a parameter, or a dataclass's field, has no default."""
    if isinstance(argument, inspect.Parameter):
        return argument.default is inspect.Parameter.empty
    return argument.default is MISSING and argument.default_factory is MISSING


def save_oracle(oracle: Oracle, path: str | Path) -> None:
    """Write the oracle's spec, and its patience beside it where it has any."""
    spec = oracle.spec()
    patience = spec.pop(PATIENCE, None)
    if patience:
        write_json(_beside(path), patience)
    write_json(path, spec)


def load_oracle(path: str | Path) -> Oracle:
    """Load an oracle from its spec. Raises OracleError where the spec is not the one that was written."""
    spec = read_json(path)
    if not isinstance(spec, dict) or "kind" not in spec or "fingerprint" not in spec:
        raise OracleError(
            f"{path} is not the spec of an oracle (no kind, no fingerprint); write one with `llome oracle`"
        )
    if fingerprint(spec) != spec["fingerprint"]:
        raise OracleError(
            f"{path} was changed after it was written: its content hashes to {fingerprint(spec)}, it says"
            f" {spec['fingerprint']}; draw it again with `llome oracle`"
        )
    if _beside(path).is_file():
        spec[PATIENCE] = read_json(_beside(path))
    oracle: Oracle = _kind(spec["kind"], "kind", str(path)).from_spec(spec)
    if oracle.fingerprint != spec["fingerprint"]:
        raise OracleError(f"{path} was written by another version of llome and no longer describes the same oracle")
    return oracle


def _beside(path: str | Path) -> Path:
    path = Path(path)
    return path.with_name(f"{path.stem}.{PATIENCE}.json")


def _kind(name: object, key: str, where: str) -> Any:
    if name not in KINDS:
        said = "is missing" if name is None else f"{name!r} is unknown{_nearest(str(name), list(KINDS))}"
        raise ConfigError(f"{where}: {key} {said}; there is {', '.join(KINDS)}")
    module, cls = KINDS[str(name)]
    return getattr(importlib.import_module(module), cls)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def check_sequences(sequences: np.ndarray, domain: Domain) -> np.ndarray:
    """The (N, L) integers, unchanged. Raises OracleError, naming row and value, on what an oracle cannot score.

    Where lengths differ, a sequence ends with its first -1 (`PAD`), and has nothing but these from there on.
    """
    sequences = np.asarray(sequences)
    length, num_states = domain.length, domain.num_states
    if sequences.ndim != 2 or sequences.shape[1] != length:
        raise OracleError(f"sequences have shape {sequences.shape}; this oracle scores (N, {length})")
    if sequences.dtype.kind not in "iu":
        raise OracleError(f"sequences have dtype {sequences.dtype}; this oracle scores integers")
    if domain.shortest is not None and domain.shortest < length:
        return _check_lengths(sequences, domain, domain.shortest)
    unsigned = sequences.view(
        sequences.dtype.str.replace("i", "u")
    )  # where what is negative is large; bytes in the same order
    if sequences.size and unsigned.max() >= num_states:
        row = int(((sequences < 0) | (sequences >= num_states)).any(axis=1).argmax())
        raise OracleError(f"sequence {row} has an element outside 0..{num_states - 1}: {sequences[row].tolist()}")
    return sequences


def _check_lengths(sequences: np.ndarray, domain: Domain, shortest: int) -> np.ndarray:
    there = sequences != PAD
    lengths = there.sum(axis=1)
    bad = (there & ((sequences < 0) | (sequences >= domain.num_states))).any(axis=1)
    bad |= (there != (np.arange(domain.length) < lengths[:, None])).any(axis=1) | (lengths < shortest)
    if bad.any():
        row = int(bad.argmax())
        raise OracleError(
            f"sequence {row} is none of {shortest} to {domain.length} elements of 0..{domain.num_states - 1}:"
            f" {sequences[row].tolist()}"
        )
    return sequences
