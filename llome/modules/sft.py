"""Supervised fine-tuning on matched pairs (Eq. 1): the first round of every schedule."""

from __future__ import annotations

import torch
from torch import Tensor

from llome.data.batches import Batch
from llome.losses.sft import sft_loss
from llome.modules.base import PolicyModule


class SFTModule(PolicyModule):
    """Imitates the better sequence of each pair; the loss is the mean a completion token over the effective batch."""

    objective = "sft"

    def prepare(self, batch: list[Batch], ahead: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Completion tokens of the effective batch, scalar."""
        return self.sum_over_ranks(torch.stack([micro["completion_mask"].sum() for micro in batch]).sum())

    def share(self, micro: Batch, logps: Tensor, lengths: Tensor, prepared: Tensor) -> Tensor:
        """Its summed negative log-likelihood over all completion tokens of the step."""
        return sft_loss(logps[:, 0]).sum() / prepared
