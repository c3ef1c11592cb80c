"""Margin-aligned expectation on matched pairs (Eqs. 8 and 32): the reward as a target distribution."""

from __future__ import annotations

from torch import Tensor

from llome.data.batches import Batch
from llome.losses.marge import marge_loss, marge_terms
from llome.modules.base import WeightedModule


class MargEModule(WeightedModule):
    """Draws the policy towards exp(reward) and holds it to the reference; weights are of the effective batch."""

    objective = "marge"

    def terms(self, logps: Tensor, lengths: Tensor, rewards: Tensor) -> Tensor:
        """(B,) see `marge_terms`."""
        return marge_terms(logps, lengths, rewards)

    def losses(self, logps: Tensor, lengths: Tensor, micro: Batch, prepared: Tensor) -> Tensor:
        """(B,) see `marge_loss`."""
        return marge_loss(
            logps,
            lengths,
            self.reference_of(micro)[:, 0],
            self.rewards[micro["rows"]],
            lambda_=self.lambda_,
            log_normaliser=prepared[0],
            baseline=prepared[1],
            count=prepared[2],
            weights=self.weights,
            average=self.average,
        )
