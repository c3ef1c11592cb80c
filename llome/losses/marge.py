"""Margin-aligned expectation: between a Boltzmann distribution of the rewards and the reference."""

from __future__ import annotations

from torch import Tensor

from llome.losses.importance import Average, Weights, reference_terms, weighted_shares


def marge_terms(logps: Tensor, lengths: Tensor, rewards: Tensor) -> Tensor:
    """(B,) log pi(y | x) / |y| - r(x, y): what Eqs. 8 and 32 weight; the divergence to the target distribution."""
    return logps / lengths - rewards


def marge_loss(
    logps: Tensor,
    lengths: Tensor,
    ref_logps: Tensor,
    rewards: Tensor,
    *,
    lambda_: float,
    log_normaliser: Tensor,
    baseline: Tensor,
    count: Tensor | float,
    weights: Weights = "gradient",
    average: Average = "sum",
) -> Tensor:
    """Eqs. 8, 32, 34, 35 of arXiv 2410.22296: sum of w~ (log pi / |y| - r), plus lambda times the batch mean of -log pi / |y|.

    Departs from the authors' release where that departs from the paper: weights are normalised over the effective batch, in log space.

    Args:
        logps: (B,) summed log-probability of each target (nats).
        lengths: (B,) tokens of each target.
        ref_logps: (B,) summed log-probability under the reference.
        rewards: (B,) r(x, y).
        lambda_: weight of the divergence to the reference, 0 or more.
        log_normaliser: scalar, of the effective batch (see `importance`).
        baseline: scalar, the weighted mean of `marge_terms` over the effective batch.
        count: examples of the effective batch.
        weights: see `weighted_shares`.
        average: see `weighted_shares`.

    Returns:
        (B,) shares, whose sum over the effective batch is the step's loss, and the gradient of that sum the exact one.
    """
    shares = weighted_shares(
        logps - ref_logps,
        marge_terms(logps, lengths, rewards),
        log_normaliser=log_normaliser,
        baseline=baseline,
        count=count,
        weights=weights,
        average=average,
    )
    return shares + lambda_ * reference_terms(logps, lengths) / count
