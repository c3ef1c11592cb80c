"""Ehrlich functions: closed-form test problems with hard constraints (the paper's section 3 and appendix A.1).

The same arguments give the same function as pytorch-holo 0.0.5, the reference of the published benchmarks, under its
argument names. Scores are float64 here, float32 there. Left out: `negate` (higher is better everywhere) and what
belongs to botorch.
"""

from __future__ import annotations

import math
from functools import cached_property
from typing import Any, ClassVar, Self

import numpy as np

from llome.domain import Domain
from llome.errors import OracleError
from llome.scoring import markov, motifs
from llome.scoring.normal import normal
from llome.scoring.oracle import check_sequences, fingerprint

_BLOCK = 1 << 17  # elements scored at once: small enough for a processor's cache


class Ehrlich:
    """The product over spaced motifs of how far each is present; -inf where a transition is forbidden (Eq. 4).

    Attributes: `transition_matrix` (V, V) float32, `motifs` (c, k) int64, `spacings` (c, k-1) int64 distances between
    neighbouring elements of a motif, and the arguments of the constructor.
    """

    kind: ClassVar[str] = "ehrlich"
    optimum: float = 1.0
    repeats: int

    transition_matrix: np.ndarray
    motifs: np.ndarray
    spacings: np.ndarray

    def __init__(
        self,
        num_states: int = 5,
        dim: int = 7,
        num_motifs: int = 1,
        motif_length: int = 3,
        quantization: int | None = None,
        epistasis_factor: float = 0.0,
        noise_std: float = 0.0,
        random_seed: int = 0,
        repeats: int = 1,
    ) -> None:
        """Draw an instance.

        Args:
            num_states: size V of the alphabet, at least 3
            dim: length L of a sequence
            num_motifs: number c of motifs
            motif_length: length k of a motif, c * k <= L
            quantization: levels q of a motif's quality, 1..k (None: k); ceil(k / q) must divide k
            epistasis_factor: penalty of half-present motifs, 0..4
            noise_std: standard deviation of normal noise on each observation
            random_seed: of the instance
            repeats: observations of each sequence that a budget pays for, where there is noise; its score is their mean

        Raises:
            OracleError: the arguments define no function; the message has their values.
        """
        self._set_arguments(
            num_states, dim, num_motifs, motif_length, quantization, epistasis_factor, noise_std, random_seed, repeats
        )
        self._set_arrays(*self._draw())

    @classmethod
    def from_arrays(
        cls,
        *,
        transition_matrix: np.ndarray,
        motifs: np.ndarray,
        spacings: np.ndarray,
        initial_solution: np.ndarray,
        quantization: int | None = None,
        epistasis_factor: float = 0.0,
        noise_std: float = 0.0,
        random_seed: int = 0,
        repeats: int = 1,
    ) -> Self:
        """The function of given arrays (shapes as the attributes; `initial_solution` (L,)); nothing is drawn.

        Raises OracleError where the arrays define no function whose optimum is attained.
        """
        self = cls.__new__(cls)
        num_motifs, motif_length = np.shape(motifs) if np.ndim(motifs) == 2 else (0, 0)
        self._set_arguments(
            len(transition_matrix),
            len(initial_solution),
            num_motifs,
            motif_length,
            quantization,
            epistasis_factor,
            noise_std,
            random_seed,
            repeats,
        )
        self._set_arrays(
            np.array(transition_matrix, dtype=np.float32),
            np.array(motifs, dtype=np.int64),
            np.array(spacings, dtype=np.int64),
            np.array(initial_solution, dtype=np.int64),
        )
        return self

    @classmethod
    def from_spec(cls, spec: dict[str, Any]) -> Self:
        """The function of a spec; see `spec`. Raises OracleError where arguments and arrays do not belong together."""
        try:
            kept = {
                key: spec["arguments"][key] for key in ("quantization", "epistasis_factor", "noise_std", "random_seed")
            }
            self = cls.from_arrays(**spec["arrays"], **kept, repeats=spec["arguments"].get("repeats", 1))
        except (KeyError, TypeError, ValueError) as err:
            raise OracleError(f"the spec of an {cls.kind} function is incomplete or malformed ({err})") from err
        if self.arguments != spec["arguments"]:
            raise OracleError(
                f"the spec's arguments {spec['arguments']} do not fit its arrays, which make {self.arguments}"
            )
        return self

    def _set_arguments(
        self,
        num_states: int,
        dim: int,
        num_motifs: int,
        motif_length: int,
        quantization: int | None,
        epistasis_factor: float,
        noise_std: float,
        random_seed: int,
        repeats: int,
    ) -> None:
        self.num_states = _integer("num_states", num_states, least=1)
        self.dim = _integer("dim", dim, least=1)
        self.num_motifs = _integer("num_motifs", num_motifs, least=1)
        self.motif_length = k = _integer("motif_length", motif_length, least=2)
        self.quantization = q = k if quantization is None else _integer("quantization", quantization, least=1)
        self.epistasis_factor = _real("epistasis_factor", epistasis_factor)
        self.noise_std = _real("noise_std", noise_std)
        self.random_seed = _integer("random_seed", random_seed, least=0)
        if markov.bandwidth(self.num_states) < 1:
            raise OracleError(
                f"num_states = {num_states} is too small for bands of allowed transitions; take at least 3"
            )
        if self.num_states > np.iinfo(np.int16).max:
            raise OracleError(f"num_states = {num_states} is more than tables hold ({np.iinfo(np.int16).max})")
        if self.num_motifs * k > self.dim:
            raise OracleError(
                f"{num_motifs} motifs of length {k} need {self.num_motifs * k} positions, but dim = {dim};"
                " take num_motifs * motif_length <= dim"
            )
        if q > k:
            raise OracleError(f"quantization = {q} is outside 1..{k}, the length of a motif")
        if k % math.ceil(k / q):
            fits = [n for n in range(1, k + 1) if k % math.ceil(k / n) == 0]
            raise OracleError(
                f"quantization = {q} groups the {k} elements of a motif by {math.ceil(k / q)}, which does not divide"
                f" {k}: no sequence could score 1; take one of {fits}"
            )
        if not 0 <= self.epistasis_factor <= 4:
            raise OracleError(f"epistasis_factor = {epistasis_factor} is outside 0..4, where scores stay within 0..1")
        if self.noise_std < 0:
            raise OracleError(f"noise_std = {noise_std} is negative")
        self.repeats = _integer("repeats", repeats, least=1)
        if self.repeats > 1 and not self.noise_std:
            raise OracleError(
                f"repeats = {repeats}, but without noise every observation is the same; leave repeats out"
            )
        if self.random_seed >= 1 << 63:
            raise OracleError(f"random_seed = {random_seed} has more than 63 bits")

    def _draw(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        import torch

        generator = torch.Generator().manual_seed(self.random_seed)
        matrix = markov.draw_transition_matrix(self.num_states, generator)
        start = markov.stationary_distribution(matrix)
        elements = markov.sample_chain(matrix, start, self.num_motifs * self.motif_length, generator)
        slack = (self.dim - len(elements)) // self.num_motifs
        spacings = np.stack([motifs.draw_spacing(self.motif_length, slack, generator) for _ in range(self.num_motifs)])
        initial = markov.sample_chain(matrix, start, self.dim, torch.Generator().manual_seed(self.random_seed))
        return matrix.numpy(), elements.reshape(self.num_motifs, self.motif_length), spacings, initial

    def _set_arrays(self, matrix: np.ndarray, elements: np.ndarray, spacings: np.ndarray, initial: np.ndarray) -> None:
        v, c, k = self.num_states, self.num_motifs, self.motif_length
        if (
            matrix.shape != (v, v)
            or elements.shape != (c, k)
            or spacings.shape != (c, k - 1)
            or initial.shape != (self.dim,)
        ):
            raise OracleError(
                f"arrays of shapes {matrix.shape}, {elements.shape}, {spacings.shape}, {initial.shape};"
                f" expected {(v, v)}, {(c, k)}, {(c, k - 1)}, {(self.dim,)}"
            )
        if (
            not (matrix >= 0).all()
            or not np.allclose(matrix.sum(axis=1), 1, atol=1e-4)
            or not (np.diag(matrix) > 0).all()
        ):
            raise OracleError(
                "the transition matrix must have rows that sum to 1, no negative entry and a positive diagonal"
            )
        if not markov.is_irreducible(matrix):
            raise OracleError("the transition matrix does not lead from every state to every other; try another seed")
        if elements.min() < 0 or elements.max() >= v:
            raise OracleError(f"a motif has an element outside 0..{v - 1}")
        self._offsets = motifs.offsets(spacings)
        if spacings.min() < 1 or (self._offsets[:, -1] + 1).sum() > self.dim:
            raise OracleError(
                f"spacings {spacings.tolist()} do not fit end to end into length {self.dim}, or are below 1"
            )
        self.transition_matrix = matrix
        self.motifs = elements
        self.spacings = spacings
        self._initial = initial
        self._dtype = np.uint8 if v <= 256 else np.int16
        self._forbidden = matrix == 0
        self._responses = motifs.responses(k, self.quantization, self.epistasis_factor)
        for array in (self.transition_matrix, self.motifs, self.spacings):
            array.setflags(write=False)
        self.optimal_solution()

    @property
    def length(self) -> int:
        """Length L of a sequence (pytorch-holo's `dim`)."""
        return self.dim

    @property
    def deterministic(self) -> bool:
        """Whether observations carry no noise."""
        return self.noise_std == 0

    @property
    def arguments(self) -> dict[str, int | float]:
        """The constructor's arguments, quantization resolved."""
        return {
            "num_states": self.num_states,
            "dim": self.dim,
            "num_motifs": self.num_motifs,
            "motif_length": self.motif_length,
            "quantization": self.quantization,
            "epistasis_factor": self.epistasis_factor,
            "noise_std": self.noise_std,
            "random_seed": self.random_seed,
            **({"repeats": self.repeats} if self.repeats > 1 else {}),
        }

    @cached_property
    def fingerprint(self) -> str:
        """Hash of arguments and arrays."""
        return str(self.spec()["fingerprint"])

    @cached_property
    def domain(self) -> Domain:
        """What its sequences look like, and whose they are."""
        return Domain(self.num_states, self.dim, self.fingerprint)

    def spec(self) -> dict[str, Any]:
        """Arguments, arrays, alphabet, optimum and fingerprint, as JSON; float32 survives exactly."""
        spec = {
            "kind": self.kind,
            "arguments": self.arguments,
            "alphabet": [str(element) for element in range(self.num_states)],
            "length": self.length,
            "optimum": self.optimum,
            "deterministic": self.deterministic,
            "arrays": {
                "transition_matrix": self.transition_matrix.tolist(),
                "motifs": self.motifs.tolist(),
                "spacings": self.spacings.tolist(),
                "initial_solution": self._initial.tolist(),
            },
        }
        return spec | {"fingerprint": fingerprint(spec)}

    def __call__(self, sequences: np.ndarray, *, query: int = 0) -> np.ndarray:
        """(N, L) integers -> (N,) float64 observed scores; noise is keyed by the running number of each query."""
        scores = self.score(sequences)
        if self.noise_std:
            scores += self.noise_std * normal(self.random_seed, query, len(scores))
        return scores

    def score(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores without noise, in blocks of bounded memory."""
        sequences = check_sequences(sequences, self.domain)
        scores = np.empty(len(sequences))
        rows = max(1, _BLOCK // self.dim)
        for start in range(0, len(sequences), rows):
            columns = np.ascontiguousarray(sequences[start : start + rows].astype(self._dtype).T)
            scores[start : start + rows] = self._score_columns(columns)
        return scores

    def _score_columns(self, columns: np.ndarray) -> np.ndarray:
        scores = np.ones(columns.shape[1])
        for motif, offset in zip(self.motifs.astype(self._dtype), self._offsets, strict=True):
            scores *= self._responses[motifs.best_matches(columns, motif, offset)]
        scores[markov.has_forbidden(columns, self._forbidden)] = -np.inf
        return scores

    def initial_solution(self) -> np.ndarray:
        """(L,) int64, one draw of the chain: feasible, and the sequence optimisers start from."""
        return self._initial.copy()

    def optimal_solution(self) -> np.ndarray:
        """(L,) int64, a sequence that scores the optimum; raises OracleError should it not."""
        solution = motifs.place_end_to_end(self.motifs, self.spacings, self.dim)
        score = float(self.score(solution[None])[0])
        if score != self.optimum:
            raise OracleError(
                f"the motifs placed end to end score {score}, not {self.optimum}; these arrays have no known optimum"
            )
        return solution

    def __repr__(self) -> str:
        """The call that draws it."""
        return f"Ehrlich({', '.join(f'{name}={value}' for name, value in self.arguments.items())})"


def _integer(name: str, value: object, least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise OracleError(f"{name} = {value!r} is no integer")
    if value < least:
        raise OracleError(f"{name} = {value} is too small; take at least {least}")
    return int(value)


def _real(name: str, value: object) -> float:
    if (
        isinstance(value, bool)
        or not isinstance(value, (int, float, np.integer, np.floating))
        or not math.isfinite(value)
    ):
        raise OracleError(f"{name} = {value!r} is no finite number")
    return float(value)
