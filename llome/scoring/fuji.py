"""Rough Mount Fuji landscapes (Neidhart, Szendro and Krug 2014, arXiv 1402.3065), in the form that pytorch-holo 0.0.5 gives them.

A slope towards one sequence, and a seeded random term. As in pytorch-holo, the random term is drawn for each element at each place and
summed, where the paper draws one number for each sequence; so there are no valleys that only several edits at once would cross. With
two elements the function is pytorch-holo's, drawn from the same seed; pytorch-holo has no other number of elements.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np

from llome.errors import ConfigError
from llome.scoring.normal import normal
from llome.scoring.oracle import check_sequences
from llome.scoring.problem import Posed, Problem


class RoughMtFuji(Posed):
    """f(x) = -a d(x, c) + sum over i of r[i, x_i], with d the Hamming distance to the centre c and r[i, 0] = 0."""

    kind = "rough_mt_fuji"

    def __init__(
        self,
        problem: Problem,
        additive_term: float = 0.25,
        random_term_std: float = 1.0,
        noise_std: float = 0.0,
        random_seed: int = 0,
    ) -> None:
        """Nothing is drawn yet.

        Args:
            problem: what all kinds share; sequences have one length.
            additive_term: what a step away from the centre costs, a.
            random_term_std: standard deviation of the random term r.
            noise_std: standard deviation of normal noise on each observation.
            random_seed: of centre, random term and noise.

        Raises:
            ConfigError: an impossible argument.
        """
        super().__init__(problem)
        for name, value in (
            ("additive_term", additive_term),
            ("random_term_std", random_term_std),
            ("noise_std", noise_std),
        ):
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < np.inf:
                raise ConfigError(f"{name} is {value!r}; it must be a number, 0 or more")
        if isinstance(random_seed, bool) or not isinstance(random_seed, int) or not 0 <= random_seed < 1 << 63:
            raise ConfigError(f"random_seed is {random_seed!r}; it must be an integer of 0 or more, below 2^63")
        if problem.lengths[0] != problem.lengths[1]:
            raise ConfigError(f"length is {problem.length}; all sequences of a rough_mt_fuji have one length")
        self.additive_term = float(additive_term)
        self.random_term_std = float(random_term_std)
        self.noise_std = float(noise_std)
        self.random_seed = random_seed

    @property
    def arguments(self) -> dict[str, Any]:
        """The constructor's own arguments."""
        names = ("additive_term", "random_term_std", "noise_std", "random_seed")
        return {name: getattr(self, name) for name in names}

    @property
    def patience(self) -> dict[str, Any]:
        """A formula answers at once."""
        return {}

    @property
    def deterministic(self) -> bool:
        """Whether observations carry no noise."""
        return self.noise_std == 0

    @cached_property
    def drawn(self) -> dict[str, Any]:
        """The centre (L,), and the random term (L, V); float32 survives exactly."""
        import torch

        generator = torch.Generator().manual_seed(self.random_seed)
        states, length = self.num_states, self.length
        centre = torch.randint(0, states, (1, length), generator=generator)[0]
        random = torch.randn(states - 1, length, generator=generator) * self.random_term_std
        return {"centre": centre.tolist(), "random": [[0.0, *row] for row in random.T.tolist()]}

    @cached_property
    def _values(self) -> np.ndarray:
        """(L, V) what each element is worth at each place."""
        values = np.array(self.drawn["random"], dtype=np.float64) - self.additive_term
        values[np.arange(self.length), self.drawn["centre"]] += self.additive_term
        return values

    @property
    def optimum(self) -> float | None:
        """The best possible score without noise, higher is better."""
        if self.problem.optimum is not None:
            return super().optimum
        values = self._values if self.problem.maximize else -self._values
        return float(values.max(axis=1).sum())

    def score(self, sequences: np.ndarray) -> np.ndarray:
        """(N, L) integers -> (N,) float64 scores without noise, higher is better."""
        sequences = check_sequences(sequences, self.domain)
        scores = self._values[np.arange(self.length), sequences].sum(axis=1)
        return scores if self.problem.maximize else 0.0 - scores

    def __call__(self, sequences: np.ndarray, *, query: int = 0) -> np.ndarray:
        """(N, L) integers -> (N,) float64 observed scores; noise is keyed by the running number of each query."""
        scores = self.score(sequences)
        if self.noise_std:
            scores += self.noise_std * normal(self.random_seed, query, len(scores))
        return scores

    def initial_solution(self) -> np.ndarray:
        """(L,) int64, the start or the wild type where one is given, else a draw of its own."""
        if self.problem.start is not None or self.problem.wild_type is not None:
            return super().initial_solution()
        return np.random.default_rng([self.random_seed, 1]).integers(self.num_states, size=self.length)
