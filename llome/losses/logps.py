"""Log-probabilities of completions from logits: what every objective is made of.

The log-softmax is never stored: a token's log-probability is its logit minus the log-sum-exp of its position, so autograd keeps the
logits it has anyway and numbers of shape (B, W). Half-precision logits are raised to float32; float64 stays float64.
"""

from __future__ import annotations

import torch
from torch import Tensor


def completion_logps(logits: Tensor, input_ids: Tensor, completion_mask: Tensor) -> tuple[Tensor, Tensor]:
    """Summed log-probability and length of each completion.

    Args:
        logits: (B, K, V) of the last K of T positions; K may be less than T if position T - K precedes every completion.
        input_ids: (B, T) int64.
        completion_mask: (B, T) bool, True on tokens of the completion.

    Returns:
        logps (B,): sum over the completion of log p(token t | tokens before t), in nats.
        lengths (B,) int64: tokens of the completion.
    """
    targets, mask = aligned_targets(logits, input_ids, completion_mask)
    scores = logits[:, :-1]
    if scores.dtype in (torch.float16, torch.bfloat16):
        scores = scores.float()
    token_logps = scores.gather(2, targets[..., None]).squeeze(2) - scores.logsumexp(dim=2)  # (B, K - 1)
    return torch.where(mask, token_logps, 0.0).sum(dim=1), mask.sum(dim=1)


def count_correct(logits: Tensor, input_ids: Tensor, completion_mask: Tensor) -> Tensor:
    """(B,) int64: tokens of each completion that are the most likely one, given the tokens before. Arguments as above."""
    targets, mask = aligned_targets(logits, input_ids, completion_mask)
    return ((logits[:, :-1].argmax(dim=2) == targets) & mask).sum(dim=1)


def aligned_targets(logits: Tensor, input_ids: Tensor, completion_mask: Tensor) -> tuple[Tensor, Tensor]:
    """The token that each position of `logits` but the last predicts (B, K - 1), and whether it counts."""
    first = input_ids.shape[1] - logits.shape[1] + 1
    return input_ids[:, first:], completion_mask[:, first:]
