"""The paper's genetic algorithm (appendix A.3.3, Algorithms 5-7): it makes the first labels, and it is the baseline.

Pure functions with an explicit generator. `evolve` keys the generator of each round by the round's number: carrying a
run on needs the next population and nothing else. Left out: elitism; survivors mutate like all others (Algorithm 5,
line 13).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from llome.errors import ConfigError
from llome.provenance import derive_seed


@dataclass(frozen=True, kw_only=True)
class Genetics:
    """Settings of the algorithm; the defaults are the paper's."""

    population: int = 1000
    """Sequences n a round."""
    mutation_probability: float = 0.005
    """p_m, of each element; the new element is drawn from the whole alphabet, the old one included."""
    survival_quantile: float = 0.1
    """alpha, the share that survives a round."""
    recombination_probability: float = 0.0882
    """p_r, of taking an element from the first parent rather than the second."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        if self.population < 2:
            raise ConfigError(f"population is {self.population}; it must be at least 2")
        if not 0 <= self.mutation_probability <= 1:
            raise ConfigError(f"mutation_probability is {self.mutation_probability}, outside 0..1")
        if not 0 <= self.recombination_probability <= 1:
            raise ConfigError(f"recombination_probability is {self.recombination_probability}, outside 0..1")
        if not 0 < self.survival_quantile < 1 or self.survival_quantile * self.population < 2:
            raise ConfigError(
                f"survival_quantile is {self.survival_quantile} of a population of {self.population}; it must be"
                f" below 1 and keep at least 2, that is be at least {2 / self.population:g}"
            )


@dataclass(frozen=True)
class Round:
    """One round: a population, its scores, and what becomes of it."""

    number: int
    """From 1."""
    population: np.ndarray
    """(n, L) int64, the sequences scored."""
    scores: np.ndarray
    """(n,) float64, -inf infeasible."""
    best: np.ndarray
    """(L,) int64, the best sequence since `evolve` began."""
    best_score: float
    """Its score; -inf where none was feasible."""
    following: np.ndarray
    """(n, L) int64, the population of the next round."""


def mutate(
    sequences: np.ndarray, probability: float, copies: int, *, num_states: int, rng: np.random.Generator
) -> np.ndarray:
    """(N, L) -> (N * copies, L) mutants, those of one sequence side by side (Algorithm 6)."""
    mutants = np.repeat(sequences, copies, axis=0)
    mask = rng.random(mutants.shape) < probability
    mutants[mask] = rng.integers(num_states, size=mutants.shape)[mask]
    return mutants


def recombine(sequences: np.ndarray, probability: float, count: int, *, rng: np.random.Generator) -> np.ndarray:
    """(N, L) -> (count, L): each element is one random parent's with `probability`, else another's (Algorithm 7)."""
    first, second = rng.integers(len(sequences), size=(2, count))
    mask = rng.random((count, sequences.shape[1])) < probability
    return np.where(mask, sequences[first], sequences[second])


def select(scores: np.ndarray, survival_quantile: float) -> np.ndarray:
    """(N,) scores -> (N,) bool, who survives: those at or above the 1 - alpha quantile (Algorithm 5, lines 9 and 10).

    Ties survive together. The infeasible do not survive while anyone is feasible; where no one is, all do.
    """
    feasible = scores > -np.inf
    if not feasible.any():
        return np.ones(len(scores), dtype=bool)
    threshold = np.quantile(scores, 1 - survival_quantile, method="higher")  # an observed score: no arithmetic on -inf
    return feasible & (scores >= threshold)


def first_population(initial: np.ndarray, settings: Genetics, *, num_states: int, random_seed: int) -> np.ndarray:
    """(n, L) mutants of the initial solution (L,) (Algorithm 5, line 2), which is not scored for its own sake."""
    return mutate(
        np.asarray(initial)[None],
        settings.mutation_probability,
        settings.population,
        num_states=num_states,
        rng=_generator(random_seed, 0),
    )


def evolve(
    score: Callable[[np.ndarray], np.ndarray],
    population: np.ndarray,
    settings: Genetics,
    *,
    num_states: int,
    random_seed: int,
    start: int = 1,
) -> Iterator[Round]:
    """Rounds `start`, `start` + 1, ... without end (Algorithm 5); `population` (n, L) is that of round `start`.

    A round is scored when it is asked for, and depends on `random_seed`, its number and its population only.
    """
    best, best_score = population[0], -np.inf
    number = start
    while True:
        scores = score(population)
        top = int(scores.argmax())
        if scores[top] > best_score:
            best, best_score = population[top], float(scores[top])
        rng = _generator(random_seed, number)
        survivors = population[select(scores, settings.survival_quantile)]
        children = recombine(survivors, settings.recombination_probability, len(population) - len(survivors), rng=rng)
        following = mutate(
            np.concatenate([survivors, children]), settings.mutation_probability, 1, num_states=num_states, rng=rng
        )
        yield Round(number, population, scores, best, best_score, following)
        population = following
        number += 1


def _generator(random_seed: int, number: int) -> np.random.Generator:
    return np.random.default_rng([derive_seed(random_seed, "ga", number)])
