"""Rewards of an edit from the scores before and after it: Eq. 9 of arXiv 2410.22296 and the variants of its appendix A.5."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Reward = Literal["margin", "score", "difference"]


def edit_rewards(source_scores: Tensor, target_scores: Tensor, *, reward: Reward) -> Tensor:
    """r(x, y) of each example; f = 0 for infeasible sequences in all variants.

    Args:
        source_scores: (B,) f(x), -inf infeasible.
        target_scores: (B,) f(y).
        reward: "margin", f(y) - f(x) where that is positive, else 0 (Eq. 9); "score", f(y); "difference", f(y) - f(x).

    Returns:
        (B,) rewards.
    """
    source, target = (torch.where(scores.isneginf(), 0.0, scores) for scores in (source_scores, target_scores))
    if reward == "score":
        return target
    return (target - source).clamp(min=0.0) if reward == "margin" else target - source
