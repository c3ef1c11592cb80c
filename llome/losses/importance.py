"""Self-normalised importance weights over an effective batch (Eqs. 34 and 35 of arXiv 2410.22296), in exact shares.

Write s_i = log pi(y_i | x_i) - log pi_ref(y_i | x_i). The weights are w~ = softmax(s) over the *effective batch*, all examples of one
optimiser step, and T = sum_i w~_i g_i for terms g_i. The derivative is

    dT = sum_i w~_i (dg_i + (g_i - G) ds_i),    G = sum_j w~_j g_j,

so an example's share of value and gradient takes two numbers of the whole batch: log Z = logsumexp(s) and G. With both held constant,
exp(s_i - log Z) (g_i - G) + [w~_i] G, [.] without gradient, has the value w~_i g_i and exactly that share of the gradient. Any split
of the batch into micro-batches and devices adds up to T. Probabilities are never formed: s - log Z <= 0, so nothing overflows. A large s
costs digits of that difference, so it is taken in the precision of log Z, float64 where the device has it.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Weights = Literal["gradient", "detached", "degenerate"]
Average = Literal["sum", "mean"]


def weight_sums(log_ratios: Tensor, terms: Tensor, *, shift: Tensor) -> Tensor:
    """What the normaliser is made of: sums that add up over micro-batches and devices.

    Args:
        log_ratios: (B,) s.
        terms: (B,) g.
        shift: scalar, the largest s of the effective batch.

    Returns:
        (4,) sums of exp(s - shift), of its square, of exp(s - shift) g, and B.
    """
    weights = (log_ratios - shift).exp()
    return torch.stack([weights.sum(), weights.square().sum(), (weights * terms).sum(), torch.ones_like(terms).sum()])


def normaliser(sums: Tensor, *, shift: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """(log Z, G, effective sample size 1 / sum of w~^2), scalars, from the sums of a whole effective batch."""
    total, squares, weighted = sums[:3]
    return shift + total.log(), weighted / total, total.square() / squares


def weighted_shares(
    log_ratios: Tensor,
    terms: Tensor,
    *,
    log_normaliser: Tensor,
    baseline: Tensor,
    count: Tensor | float,
    weights: Weights = "gradient",
    average: Average = "sum",
) -> Tensor:
    """Each example's share of the weighted term of Eqs. 32 and 33.

    Args:
        log_ratios: (B,) s, with gradient.
        terms: (B,) g, with gradient.
        log_normaliser: scalar log Z of the effective batch, without gradient.
        baseline: scalar G of the effective batch, without gradient.
        count: N, examples of the effective batch.
        weights: "gradient": the exact derivative, that of the weights included. "detached": weights are constants, so only the terms
            have a gradient; a reward that is added to a term then has none at all. "degenerate": the control for experiments, what the
            authors' release computes with its micro-batches of one example, whose normalised weight is always 1 and has no gradient;
            the term is the plain mean of g whatever `average` says.
        average: "sum": the self-normalised estimator, sum of w~ g. "mean": Eq. 32 to the letter, whose mean over weights that already
            sum to 1 divides the term by N once more.

    Returns:
        (B,) shares; they sum to the term over the effective batch.
    """
    if weights == "degenerate":
        return terms / count
    weight = (log_ratios.to(log_normaliser.dtype) - log_normaliser).exp()
    constant = weight.detach()
    shares = constant * terms if weights == "detached" else weight * (terms - baseline) + constant * baseline
    return shares / count if average == "mean" else shares


def reference_terms(logps: Tensor, lengths: Tensor) -> Tensor:
    """(B,) -log pi(y | x) / |y|, Eq. 19: the divergence from the reference to the length-normalised policy, up to a constant."""
    return -logps / lengths
