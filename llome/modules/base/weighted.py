"""What MargE and REINFORCE share: self-normalised weights over the effective batch, rewards, and a term that holds to the reference."""

from __future__ import annotations

from abc import abstractmethod

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from llome.data.batches import Batch
from llome.errors import ConfigError
from llome.losses.importance import Average, Weights, normaliser, reference_terms, weight_sums
from llome.losses.rewards import Reward, edit_rewards
from llome.modules.base.lora import LoRA
from llome.modules.base.reference import ReferenceModule
from llome.tables import lowest_value


class WeightedModule(ReferenceModule):
    """An objective names its weighted terms and its loss."""

    looks_ahead, per = True, "example"
    rewards: Tensor

    def __init__(
        self,
        parent: str,
        *,
        optimizer: OptimizerCallable,
        lambda_: float = 10.0,
        reward: Reward = "margin",
        weights: Weights = "gradient",
        average: Average = "sum",
        warmup_steps: int = 0,
        random_seed: int = 0,
        gradient_checkpointing: bool = False,
        lora: LoRA | None = None,
    ) -> None:
        """Load the parent policy, which is the reference too.

        Args:
            parent: policy directory to start from.
            optimizer: of all parameters, fresh each round.
            lambda_: weight of the divergence to the reference.
            reward: margin, the gain in score or 0 (Eq. 9); score, of the target; difference, the plain gain.
            weights: gradient (exact), detached, or degenerate: the release's micro-batch of one, without any reward gradient in MargE.
            average: sum of the weighted terms, or their mean, Eq. 32 to the letter.
            warmup_steps: steps of linear warm-up, before the linear decay to zero at the end of the run.
            random_seed: of dropout, where the policy has any; keyed by step.
            gradient_checkpointing: keep the inputs of each block alone and compute the rest again; less memory, a third more time.
            lora: train adapters of this size, and nothing else; null: all weights.
        """
        if not 0 <= lambda_ < float("inf"):
            raise ConfigError(f"lambda_ is {lambda_}; choose 0 or more")
        super().__init__(
            parent,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            random_seed=random_seed,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
        )
        self.lambda_, self.reward, self.weights, self.average = lambda_, reward, weights, average

    @staticmethod
    @abstractmethod
    def terms(logps: Tensor, lengths: Tensor, rewards: Tensor) -> Tensor:
        """(B,) what is weighted."""

    @staticmethod
    @abstractmethod
    def loss(
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
        """(B,) shares of the step's loss; arguments as those of `marge_loss`."""

    def on_fit_start(self) -> None:
        """Reference and reward of every example."""
        super().on_fit_start()
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        scores = torch.from_numpy(data.scores).clamp(min=lowest_value(data.scores))  # an infeasible one too has a value
        source, target = (scores[rows] for rows in (data.examples.sources, data.examples.targets[:, 0]))
        self.rewards = edit_rewards(source, target, reward=self.reward).to(self.reference)

    def prepare(self, batch: list[Batch], ahead: list[tuple[Tensor, Tensor]]) -> Tensor:
        """(3,) log normaliser, weighted mean of the terms, examples: of the effective batch."""
        rows = torch.cat([micro["rows"] for micro in batch])
        logps, lengths = (torch.cat([one[i][:, 0].detach() for one in ahead]) for i in (0, 1))
        dtype = torch.float32 if self.device.type == "mps" else torch.float64
        log_ratios = (logps - self.reference[rows, 0]).to(dtype)
        terms = self.terms(logps, lengths, self.rewards[rows]).to(dtype)
        shift = self.max_over_ranks(log_ratios)
        sums = self.sum_over_ranks(weight_sums(log_ratios, terms, shift=shift))
        log_normaliser, baseline, effective = normaliser(sums, shift=shift)
        self.record("mean", effective_sample_size=effective)
        return torch.stack([log_normaliser, baseline, sums[3]])

    def share(self, micro: Batch, logps: Tensor, lengths: Tensor, prepared: Tensor) -> Tensor:
        """Its weighted terms, and lambda times its part of the mean -log pi / |y|."""
        rewards = self.rewards[micro["rows"]]
        losses = self.loss(
            logps[:, 0],
            lengths[:, 0],
            self.reference_of(micro)[:, 0],
            rewards,
            lambda_=self.lambda_,
            log_normaliser=prepared[0],
            baseline=prepared[1],
            count=prepared[2],
            weights=self.weights,
            average=self.average,
        )
        held = self.lambda_ * reference_terms(logps[:, 0], lengths[:, 0]) / prepared[2]
        self.record("sum", target_term=losses - held, reference_term=held)
        self.record("mean", log_ratio=logps - self.reference_of(micro), rewards=rewards)
        self.record("max", rewards_max=rewards)
        return losses.sum()
