"""REINFORCE with importance weights, held near the reference: the policy-gradient counterpart of MargE."""

from __future__ import annotations

from torch import Tensor

from llome.losses.importance import Average, Weights, reference_terms, weighted_shares


def reinforce_terms(logps: Tensor, lengths: Tensor, rewards: Tensor) -> Tensor:
    """(B,) -r(x, y) log pi(y | x): what Eqs. 10 and 33 weight. Summed log-probabilities: `lengths` are not used."""
    return -rewards * logps


def reinforce_loss(
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
    """Eqs. 10, 33, 34, 35 of arXiv 2410.22296: sum of w~ (-r log pi), plus lambda times the batch mean of -log pi / |y|.

    Departs from the authors' release, which has no importance weights here.

    Args:
        logps: (B,) summed log-probability of each target (nats).
        lengths: (B,) tokens of each target.
        ref_logps: (B,) summed log-probability under the reference.
        rewards: (B,) r(x, y).
        lambda_: weight of the divergence to the reference, 0 or more.
        log_normaliser: scalar, of the effective batch (see `importance`).
        baseline: scalar, the weighted mean of `reinforce_terms` over the effective batch.
        count: examples of the effective batch.
        weights: see `weighted_shares`.
        average: see `weighted_shares`.

    Returns:
        (B,) shares, whose sum over the effective batch is the step's loss, and the gradient of that sum the exact one.
    """
    shares = weighted_shares(
        logps - ref_logps,
        reinforce_terms(logps, lengths, rewards),
        log_normaliser=log_normaliser,
        baseline=baseline,
        count=count,
        weights=weights,
        average=average,
    )
    return shares + lambda_ * reference_terms(logps, lengths) / count
