"""REINFORCE on matched pairs (Eqs. 10 and 33), with MargE's weights and its hold to the reference."""

from __future__ import annotations

from torch import Tensor

from llome.data.batches import Batch
from llome.losses.reinforce import reinforce_loss, reinforce_terms
from llome.modules.base import WeightedModule


class REINFORCEModule(WeightedModule):
    """Raises the likelihood of edits by their reward and holds the policy to the reference; weights are of the effective batch."""

    objective = "reinforce"

    def terms(self, logps: Tensor, lengths: Tensor, rewards: Tensor) -> Tensor:
        """(B,) see `reinforce_terms`."""
        return reinforce_terms(logps, lengths, rewards)

    def losses(self, logps: Tensor, lengths: Tensor, micro: Batch, prepared: Tensor) -> Tensor:
        """(B,) see `reinforce_loss`."""
        return reinforce_loss(
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
