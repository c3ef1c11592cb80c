"""Supervised fine-tuning: imitate the better sequence of each pair."""

from __future__ import annotations

from torch import Tensor


def sft_loss(logps: Tensor) -> Tensor:
    """Negative log-likelihood of each target, Eq. 1 of arXiv 2410.22296: -log pi(y | x).

    A step's loss is the sum over its effective batch divided by the number of completion tokens there: the mean a token of the
    authors' trainer (TRL), but over the whole optimiser step, so that no split into micro-batches or devices changes it.

    Args:
        logps: (B,) summed log-probability of each completion (nats).

    Returns:
        (B,) losses (nats), no reduction.
    """
    return -logps
