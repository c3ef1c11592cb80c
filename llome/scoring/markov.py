"""The feasible sequences of an Ehrlich function: the support of a Markov chain with forbidden transitions (A.1.1).

Drawing needs torch, for its random stream is part of the definition: a published instance is "pytorch-holo, seed
50494". The draws here are made by the same calls in the same order, in float32, so that equal arguments give equal
functions. Scoring needs NumPy only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from llome.errors import OracleError

if TYPE_CHECKING:
    import torch

SOFTMAX_TEMPERATURE = 0.5


def bandwidth(num_states: int) -> int:
    """Allowed neighbours on each side of the diagonal, before the rows are shuffled."""
    return int(num_states * 0.4)


def draw_transition_matrix(num_states: int, generator: torch.Generator) -> torch.Tensor:
    """(V, V) float32: a random softmax, masked by shuffled bands that wrap around, with repeats always possible."""
    import torch

    logits = torch.randn(num_states, num_states, generator=generator) / SOFTMAX_TEMPERATURE
    states = torch.arange(num_states)
    gap = (states[None, :] - states[:, None]) % num_states
    bands = torch.minimum(gap, num_states - gap) <= bandwidth(num_states)
    allowed = bands[torch.randperm(num_states, generator=generator)]
    allowed.fill_diagonal_(True)
    weights = logits.softmax(dim=-1) * allowed
    return weights / weights.sum(dim=-1, keepdim=True)


def stationary_distribution(matrix: torch.Tensor) -> torch.Tensor:
    """(V,) float32 distribution pi with pi A = pi and sum 1. Raises OracleError where there is none."""
    import torch

    size = len(matrix)
    system = torch.cat([(torch.eye(size) - matrix).T, torch.ones(1, size)])
    target = torch.zeros(size + 1, 1)
    target[-1] = 1
    q, r = torch.linalg.qr(system)
    solution = torch.linalg.solve(r, q.T @ target)
    residual = float((system @ solution - target).norm())
    if not residual <= 1e-5:
        raise OracleError(
            f"the transition matrix of {size} states has no stationary distribution (residual {residual:.1e});"
            " try another seed"
        )
    return solution[:, 0]


def sample_chain(matrix: torch.Tensor, start: torch.Tensor, steps: int, generator: torch.Generator) -> np.ndarray:
    """(steps,) int64 states of one chain whose first state is drawn from `start` (V,)."""
    import torch

    states = torch.multinomial(start, 1, replacement=True, generator=generator)
    chain = [int(states)]
    for _ in range(steps - 1):
        states = torch.multinomial(matrix[states], 1, generator=generator)[:, 0]
        chain.append(int(states))
    return np.array(chain, dtype=np.int64)


def is_irreducible(matrix: np.ndarray) -> bool:
    """Whether every state reaches every other; with a positive diagonal that makes the chain ergodic (Eq. 11)."""
    reach = (matrix > 0).astype(np.float32)
    for _ in range(max(1, len(matrix) - 1).bit_length()):
        reach = np.minimum(reach @ reach + reach, 1)
    return bool((reach > 0).all())


def has_forbidden(columns: np.ndarray, forbidden: np.ndarray) -> np.ndarray:
    """(B,) bool, whether a sequence makes a transition of probability zero.

    `columns` is (L, B), one sequence a column; `forbidden` is (V, V) bool.
    """
    pairs: np.ndarray = columns[:-1].astype(np.dtype(np.uint16 if forbidden.size <= 1 << 16 else np.intp))
    pairs *= len(forbidden)
    pairs += columns[1:]
    return np.asarray(forbidden.take(pairs, mode="clip").any(axis=0))  # none is clipped; that mode is the fastest
