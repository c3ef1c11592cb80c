"""Direct preference optimisation: the chosen sequence of a triple above the rejected one, against the reference."""

from __future__ import annotations

import torch
from torch import Tensor


def dpo_loss(
    chosen_logps: Tensor, rejected_logps: Tensor, ref_chosen_logps: Tensor, ref_rejected_logps: Tensor, *, beta: float
) -> Tensor:
    """Eq. 3 of arXiv 2410.22296: -log sigmoid(beta log-ratio of the chosen - beta log-ratio of the rejected).

    A step's loss is the mean over its effective batch.

    Args:
        chosen_logps: (B,) summed log-probability of y_w (nats).
        rejected_logps: (B,) of y_l.
        ref_chosen_logps: (B,) of y_w under the reference.
        ref_rejected_logps: (B,) of y_l under the reference.
        beta: strength of the preference, 0 or more.

    Returns:
        (B,) losses, no reduction; ln 2 where policy and reference agree.
    """
    return -torch.nn.functional.logsigmoid(
        beta * dpo_margins(chosen_logps, rejected_logps, ref_chosen_logps, ref_rejected_logps)
    )


def dpo_margins(
    chosen_logps: Tensor, rejected_logps: Tensor, ref_chosen_logps: Tensor, ref_rejected_logps: Tensor
) -> Tensor:
    """(B,) log-ratio of the chosen minus that of the rejected; times beta, the margin of the implicit rewards. Arguments as above."""
    return (chosen_logps - ref_chosen_logps) - (rejected_logps - ref_rejected_logps)
