"""The black box: what it promises, how it lies on disk, and the budget that stands between it and everybody else.

An oracle's spec holds its constructor arguments *and* its drawn arrays: it is loaded from the arrays and never drawn
again, so another version of a random generator cannot change a problem under way. Its fingerprint is the hash of that
spec.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np

from llome.domain import Domain
from llome.errors import BudgetExhaustedError, ConfigError, OracleError
from llome.provenance import hash_json, read_json, write_json

if TYPE_CHECKING:
    from llome.scoring.journal import Journal

KINDS: dict[str, tuple[str, str]] = {"ehrlich": ("llome.scoring.ehrlich", "Ehrlich")}
"""Module and class of each kind of oracle. A class has `kind`, a constructor of plain arguments and `from_spec`."""


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


def fingerprint(spec: dict[str, Any]) -> str:
    """Hash of a spec without its own fingerprint."""
    return hash_json({key: value for key, value in spec.items() if key != "fingerprint"})


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
    known = [name for name in inspect.signature(cls).parameters if name != "self"]
    for key in arguments:
        if key not in known:
            raise ConfigError(
                f"{where}: unknown key {key!r}{_nearest(key, known)}; an oracle of this kind has {', '.join(known)}"
            )
    return cls(**arguments)


def save_oracle(oracle: Oracle, path: str | Path) -> None:
    """Write the oracle's spec."""
    write_json(path, oracle.spec())


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
    oracle: Oracle = _kind(spec["kind"], "kind", str(path)).from_spec(spec)
    if oracle.fingerprint != spec["fingerprint"]:
        raise OracleError(f"{path} was written by another version of llome and no longer describes the same oracle")
    return oracle


def _kind(name: object, key: str, where: str) -> Any:
    if name not in KINDS:
        said = "is missing" if name is None else f"{name!r} is unknown{_nearest(str(name), list(KINDS))}"
        raise ConfigError(f"{where}: {key} {said}; there is {', '.join(KINDS)}")
    module, cls = KINDS[str(name)]
    return getattr(importlib.import_module(module), cls)


def _nearest(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(str(word), known, n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def check_sequences(sequences: np.ndarray, num_states: int, length: int) -> np.ndarray:
    """The (N, L) integers, unchanged. Raises OracleError, naming row and value, on what an oracle cannot score."""
    sequences = np.asarray(sequences)
    if sequences.ndim != 2 or sequences.shape[1] != length:
        raise OracleError(f"sequences have shape {sequences.shape}; this oracle scores (N, {length})")
    if sequences.dtype.kind not in "iu":
        raise OracleError(f"sequences have dtype {sequences.dtype}; this oracle scores integers")
    unsigned = sequences.view(
        sequences.dtype.str.replace("i", "u")
    )  # where what is negative is large; bytes in the same order
    if sequences.size and unsigned.max() >= num_states:
        row = int(((sequences < 0) | (sequences >= num_states)).any(axis=1).argmax())
        raise OracleError(f"sequence {row} has an element outside 0..{num_states - 1}: {sequences[row].tolist()}")
    return sequences


def _check_scores(scores: np.ndarray, count: int, query: int) -> np.ndarray:
    scores = np.asarray(scores)
    if scores.shape != (count,) or scores.dtype.kind not in "fiu":
        raise OracleError(
            f"the oracle answered {count} sequences with shape {scores.shape}, dtype {scores.dtype};"
            f" it must answer ({count},) numbers"
        )
    scores = scores.astype(np.float64)
    bad = np.isnan(scores) | (scores == np.inf)
    if bad.any():
        row = int(bad.argmax())
        raise OracleError(
            f"the oracle scored query {query + row} with {scores[row]}; scores are finite, or -inf where infeasible"
        )
    return scores


class Budget:
    """The only way to an oracle: counts every sequence scored, and refuses what does not fit before anything is called.

    Long calls are made in batches, and each answered batch is journaled before the next is asked.
    """

    def __init__(
        self,
        oracle: Oracle,
        *,
        total: int | None = None,
        spent: int = 0,
        journal: Journal | None = None,
        batch_size: int = 250,
        progress: Callable[[int], object] | None = None,
    ) -> None:
        """`total` calls in all (None: no limit), `spent` of them made before; `progress` hears of each batch's size."""
        if batch_size < 1:
            raise ConfigError(f"batch_size is {batch_size}; it must be at least 1")
        self.oracle = oracle
        self.total = total
        self.spent = spent
        self._journal = journal
        self._batch_size = batch_size
        self._progress = progress

    def require(self, count: int) -> None:
        """Raise BudgetExhaustedError unless `count` more calls fit."""
        if self.total is not None and self.spent + count > self.total:
            raise BudgetExhaustedError(
                f"{self.spent} of {self.total} oracle calls are spent and {count} more were asked for;"
                f" raise the budget to {self.spent + count} or ask for at most {max(0, self.total - self.spent)}"
            )

    def __call__(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores, N calls spent; what the journal answers is not asked again."""
        sequences = check_sequences(sequences, self.oracle.num_states, self.oracle.length)
        self.require(len(sequences))
        scores = np.empty(len(sequences))
        done = 0
        if self._journal is not None:
            known = self._journal.replay(self.spent, sequences)
            scores[: len(known)] = known
            done = self._count(len(known))
        while done < len(sequences):
            batch = sequences[done : done + self._batch_size]
            answers = _check_scores(self.oracle(batch, query=self.spent), len(batch), self.spent)
            if self._journal is not None:
                self._journal.append(self.spent, batch, answers)
            scores[done : done + len(batch)] = answers
            done += self._count(len(batch))
        return scores

    def _count(self, answered: int) -> int:
        self.spent += answered
        if self._progress is not None and answered:
            self._progress(answered)
        return answered
