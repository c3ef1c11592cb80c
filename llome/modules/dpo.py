"""Direct preference optimisation on triples of a sequence, a better and a no better neighbour (Eqs. 3 and 31)."""

from __future__ import annotations

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from llome.data.batches import Batch
from llome.errors import ConfigError
from llome.losses.dpo import dpo_loss, dpo_margins
from llome.modules.base import LoRA, ReferenceModule


class DPOModule(ReferenceModule):
    """Raises the chosen completion's log-ratio above the rejected one's; the loss is the mean over the effective batch."""

    objective, kind, per = "dpo", "triples", "example"

    def __init__(
        self,
        parent: str,
        *,
        optimizer: OptimizerCallable,
        beta: float = 0.4,
        warmup_steps: int = 0,
        random_seed: int = 0,
        gradient_checkpointing: bool = False,
        lora: LoRA | None = None,
    ) -> None:
        """Load the parent policy, which is the reference too.

        Args:
            parent: policy directory to start from.
            optimizer: of all parameters, fresh each round.
            beta: strength of the preference.
            warmup_steps: steps of linear warm-up, before the linear decay to zero at the end of the run.
            random_seed: of dropout, where the policy has any; keyed by step.
            gradient_checkpointing: keep the inputs of each block alone and compute the rest again; less memory, a third more time.
            lora: train adapters of this size, and nothing else; null: all weights.
        """
        if not 0 <= beta < float("inf"):
            raise ConfigError(f"beta is {beta}; choose 0 or more")
        super().__init__(
            parent,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            random_seed=random_seed,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
        )
        self.beta = beta

    def prepare(self, batch: list[Batch], ahead: list[tuple[Tensor, Tensor]]) -> Tensor:
        """Examples of the effective batch, scalar."""
        return self.sum_over_ranks(torch.tensor(sum(len(micro["rows"]) for micro in batch), device=self.device))

    def share(self, micro: Batch, logps: Tensor, lengths: Tensor, prepared: Tensor) -> Tensor:
        """Its summed losses over all examples of the step."""
        reference = self.reference_of(micro)
        pairs = (logps[:, 0], logps[:, 1], reference[:, 0], reference[:, 1])
        margins = self.beta * dpo_margins(*pairs).detach()
        self.record("mean", chosen_logps=logps[:, 0], rejected_logps=logps[:, 1], log_ratio=logps - reference)
        self.record("mean", reward_margin=margins, reward_accuracy=(margins > 0).to(margins))
        return dpo_loss(*pairs, beta=self.beta).sum() / prepared
