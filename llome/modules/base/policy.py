"""What every objective shares: the policy, exact steps over the effective batch, the schedule, and what is measured.

A batch here is a whole optimiser step of this process, a list of micro-batches. `prepare` sees all of it first and returns what the
examples of a step share (a count, a normaliser); then each micro-batch contributes its exact `share` of the step's loss, and the
gradients add up. So 1 x 64, 8 x 8 and 64 x 1 micro-batches, on one device or several, take the same step. Optimisation is Lightning's
automatic one, so precision, gradient clipping and strategies are its own flags; gradients of all micro-batches but the last are
accumulated inside `training_step`, where DistributedDataParallel does not synchronise yet. FSDP2 does, each time (`sharding`).

Objectives whose examples share more than a count look ahead: the log-probabilities of all micro-batches come first, without gradient,
and `prepare` gets them. With a single micro-batch that pass is the training pass itself, and nothing is computed twice.
"""

from __future__ import annotations

import math
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR
from torchmetrics import MeanMetric

from llome.data.batches import Batch
from llome.data.datamodule import PropEnDataModule
from llome.data.pairs import Kind
from llome.errors import ConfigError, DivergedError
from llome.losses.logps import completion_logps, count_correct
from llome.modules.base.checks import check_checkpointing, check_context, check_optimizer
from llome.modules.base.lora import LoRA, add_adapters, merged
from llome.modules.base.sharding import is_sharded, plain_model, shard, whole
from llome.policy.causal_lm import checkpoint_activations, load_policy
from llome.policy.prompts import completion_logits, has_dropout


class PolicyModule(LightningModule, ABC):
    """A policy in training. An objective names itself and implements `prepare` and `share`."""

    objective: ClassVar[str]
    kind: ClassVar[Kind] = "pairs"
    """The examples it learns from."""
    looks_ahead: ClassVar[bool] = False
    """Whether `prepare` needs the log-probabilities of the whole effective batch."""
    per: ClassVar[Literal["token", "example"]] = "token"
    """What its loss is a mean over, up to a factor; steps of validation count by it."""
    scratch: Path | None = None
    """Folder of this run, where what a resumed run cannot compute again is kept; the stage sets it."""

    def __init__(
        self,
        parent: str,
        *,
        optimizer: OptimizerCallable,
        warmup_steps: int = 0,
        random_seed: int = 0,
        gradient_checkpointing: bool = False,
        lora: LoRA | None = None,
    ) -> None:
        """Load the parent policy.

        Args:
            parent: policy directory to start from.
            optimizer: of all parameters that are trained, fresh each round.
            warmup_steps: steps of linear warm-up, before the linear decay to zero at the end of the run.
            random_seed: of dropout, where the policy has any; keyed by step.
            gradient_checkpointing: keep the inputs of each block alone and compute the rest again; less memory, a third more time.
            lora: train adapters of this size, and nothing else; null: all weights.
        """
        super().__init__()
        if warmup_steps < 0:
            raise ConfigError(f"warmup_steps is {warmup_steps}; choose 0 or more")
        self.policy, self.tokenizer, self.card = load_policy(parent)
        self.policy.train()
        if gradient_checkpointing:
            check_checkpointing(self.policy, parent)
        if lora is not None:
            add_adapters(self.policy, lora, random_seed=random_seed)
        check_optimizer(optimizer, self.trained())
        self.optimizer, self.warmup_steps, self.random_seed = optimizer, warmup_steps, random_seed
        self.gradient_checkpointing, self.lora = gradient_checkpointing, lora
        self.val_loss, self.val_nll, self.val_accuracy = MeanMetric(), MeanMetric(), MeanMetric()
        self.step_loss: float | None = None
        """The objective over the last step's effective batch."""
        self._tokens, self._since = 0, time.perf_counter()
        self._recorded: dict[tuple[str, str], list[Tensor]] = {}
        self._validated: list[tuple[float, dict[tuple[str, str], float]]] = []

    def trained(self) -> list[torch.nn.Parameter]:
        """The parameters that the optimiser moves: all, or those of the adapters."""
        return [parameter for parameter in self.policy.parameters() if parameter.requires_grad]

    def exported(self, weights: dict[str, Tensor]) -> Any:
        """An ordinary model of the policy's weights, as `whole_weights` names them."""
        if self.lora is None and not is_sharded(self.policy):
            self.policy.load_state_dict(weights)
            return self.policy
        return plain_model(self.policy, merged(self.policy, weights))

    def configure_model(self) -> None:
        """Spread the policy over processes, where the strategy is made for that."""
        shard(self.policy, self.trainer)

    def setup(self, stage: str) -> None:
        """Check the data, where the stage has not already."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(data, PropEnDataModule):
            self.check(data)

    def check(self, data: PropEnDataModule) -> None:
        """Refuse examples of another kind, or longer ones than the policy can read; `data` is set up."""
        if data.kind != self.kind:
            raise ConfigError(
                f"{type(self).__name__} learns from {self.kind}, but data.kind is {data.kind}; set data.kind to {self.kind}"
            )
        check_context(self.policy, data.table.width, data.parent)

    @abstractmethod
    def prepare(self, batch: list[Batch], ahead: list[tuple[Tensor, Tensor]]) -> Tensor:
        """What all examples of a step share, from the whole effective batch (all micro-batches of all ranks); no gradient.

        Args:
            batch: the micro-batches of this rank.
            ahead: log-probabilities and lengths, both (B, C), of each of them; empty unless the objective looks ahead.
        """

    @abstractmethod
    def share(self, micro: Batch, logps: Tensor, lengths: Tensor, prepared: Tensor) -> Tensor:
        """A micro-batch's part of the step's loss; the parts of all micro-batches of all ranks add up to it.

        Args:
            micro: the micro-batch of B examples, C completions each.
            logps: (B, C) summed log-probability of each completion (nats).
            lengths: (B, C) tokens of each completion.
            prepared: the answer of `prepare` for this step.

        Returns:
            Scalar.
        """

    def forward(self, micro: Batch) -> Tensor:
        """(B * C, W + 1, V) logits of the last positions, from the last prompt token on."""
        return completion_logits(
            self.policy,
            micro["input_ids"],
            micro["attention_mask"],
            micro["completion_width"],
            in_one_pass=has_dropout(self.policy)
            or is_sharded(self.policy),  # a block is gathered for its own outputs alone
        )

    def logps(self, micro: Batch, logits: Tensor) -> tuple[Tensor, Tensor]:
        """(B, C) summed log-probabilities and lengths of the completions; B is 0 where the micro-batch is idle."""
        logps, lengths = completion_logps(
            logits, micro["input_ids"].flatten(0, 1), micro["completion_mask"].flatten(0, 1)
        )
        shape, count = micro["input_ids"].shape[:2], len(micro["rows"])
        return logps.view(shape)[:count], lengths.view(shape)[:count]

    def sum_over_ranks(self, value: Tensor) -> Tensor:
        """The sum of a tensor over all processes; no gradient."""
        reduced = self.trainer.strategy.reduce(value.detach().clone(), reduce_op="sum")  # it reduces in place
        assert isinstance(reduced, Tensor)
        return reduced

    def max_over_ranks(self, value: Tensor) -> Tensor:
        """The largest number of a tensor over all processes, some of which may have none; no gradient."""
        largest = torch.cat([value.detach().flatten(), value.new_full((1,), -math.inf)]).max()
        reduced = self.trainer.strategy.reduce(largest, reduce_op="max")
        assert isinstance(reduced, Tensor)
        return reduced

    def record(self, how: Literal["mean", "sum", "max"], **values: Tensor) -> None:
        """Note values of a micro-batch that are logged, over the effective batch, by this name."""
        for name, value in values.items():
            self._recorded.setdefault((name, how), []).append(value.detach().flatten())

    def _recorded_metrics(self) -> dict[tuple[str, str], float]:
        """(name, how) -> value over the effective batch."""
        metrics = {}
        for (name, how), parts in self._recorded.items():
            values = torch.cat(parts)
            if how == "max":
                metrics[name, how] = float(self.max_over_ranks(values))
            else:
                total, count = self.sum_over_ranks(torch.stack([values.sum(), torch.ones_like(values).sum()])).tolist()
                metrics[name, how] = total / count if how == "mean" else total
        return metrics

    def _look_ahead(self, batch: list[Batch]) -> list[tuple[Tensor, Tensor]]:
        """Log-probabilities and lengths of all micro-batches; with gradient if there is only one."""
        if not self.looks_ahead:
            return []
        if len(batch) == 1:
            return [self.logps(batch[0], self(batch[0]))]
        with torch.no_grad():
            ahead = [self.logps(micro, self(micro)) for micro in batch]
        self._seed_dropout()  # the training passes draw the same again
        return ahead

    def _loss(self, micro: Batch, prepared: Tensor) -> Tensor:
        return self.share(micro, *self.logps(micro, self(micro)), prepared)

    def training_step(self, batch: list[Batch], batch_idx: int) -> Tensor:
        """Accumulate the gradient of the whole step but for its last micro-batch, whose loss Lightning takes on."""
        self._seed_dropout()
        self.trainer.optimizers[0].zero_grad()
        self._recorded = {}
        ahead = self._look_ahead(batch)
        prepared = self.prepare(batch, ahead)
        world_size = self.trainer.world_size  # data parallelism averages gradients over ranks; shares are to be added
        total = torch.zeros(
            (), device=self.device, dtype=torch.float64 if self.dtype == torch.float64 else torch.float32
        )
        for micro in batch[:-1]:
            loss = self._loss(micro, prepared)
            total += loss.detach()
            self.trainer.strategy.backward(loss * world_size, None)
        once = len(batch) == len(ahead) == 1
        loss = self.share(batch[0], *ahead[0], prepared) if once else self._loss(batch[-1], prepared)
        self.step_loss = float(self.sum_over_ranks(total + loss.detach()))
        self._rows = [micro["rows"] for micro in batch]
        self._stop_if_not_finite("loss", self.step_loss)
        self._tokens += sum(micro["input_ids"].numel() for micro in batch)
        return loss * world_size

    def _seed_dropout(self) -> None:
        """Key this step's dropout by seed and step, so that a resumed run draws what an uninterrupted one does."""
        seed = (self.random_seed + self.global_step) % 2**63
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would ask every backend, at a millisecond a step
        if self.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def optimizer_zero_grad(self, epoch: int, batch_idx: int, optimizer: Optimizer) -> None:
        """Nothing: Lightning calls this after `training_step`, which has zeroed and accumulated already."""

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Check the gradient, before clipping, and log the step."""
        norm = float(whole(torch.nn.utils.get_total_norm([p.grad for p in self.trained() if p.grad is not None])))
        if self.trainer.scaler is None:  # float16's scaler skips such steps itself
            self._stop_if_not_finite("gradient norm", norm)
        if (self.global_step + 1) % self.trainer.log_every_n_steps == 0:  # type: ignore[attr-defined]
            now = time.perf_counter()
            rate = self._tokens * self.trainer.world_size / max(now - self._since, 1e-9)
            self._tokens, self._since = 0, now
            assert self.step_loss is not None
            self.log("train/loss", self.step_loss, prog_bar=True)
            self.log_dict(
                {"train/lr": optimizer.param_groups[0]["lr"], "train/grad_norm": norm, "train/tokens_per_second": rate}
            )
            self.log_dict({f"train/{name}": value for (name, _), value in self._recorded_metrics().items()})

    def on_train_start(self) -> None:
        """Gradient checkpointing for the run alone."""
        if self.gradient_checkpointing:
            checkpoint_activations(self.policy, True)

    def on_train_end(self) -> None:
        """The policy that is exported is an ordinary one."""
        if self.gradient_checkpointing:
            checkpoint_activations(self.policy, False)

    def on_train_epoch_start(self) -> None:
        """Start the clock of tokens a second."""
        self._tokens, self._since = 0, time.perf_counter()

    def _stop_if_not_finite(self, name: str, value: float) -> None:
        if not math.isfinite(value):
            rows = torch.cat(self._rows).tolist()
            shown = ", ".join(map(str, rows[:16])) + (f", ... ({len(rows)} in all)" if len(rows) > 16 else "")
            raise DivergedError(
                f"the {name} is {value} at step {self.global_step + 1}, examples {shown}; lower the learning rate, clip gradients"
                " (--trainer.gradient_clip_val 1) or train in higher precision; no step was taken from it"
            )

    def on_validation_epoch_start(self) -> None:
        """Undo the rounding of a half-precision run on the sums over the validation set: bfloat16 counts to 256."""
        for metric in (self.val_loss, self.val_nll, self.val_accuracy):
            metric.set_dtype(torch.float64 if self.dtype == torch.float64 else torch.float32)

    def validation_step(self, batch: list[Batch], batch_idx: int) -> None:
        """Add the objective's loss, and likelihood and accuracy of the (chosen) completions' tokens."""
        self._recorded = {}
        measured, correct = [], []
        for micro in batch:
            logits = self(micro)
            measured.append(self.logps(micro, logits))
            right = count_correct(logits, micro["input_ids"].flatten(0, 1), micro["completion_mask"].flatten(0, 1))
            correct.append(right.view(micro["input_ids"].shape[:2])[: len(micro["rows"])])
        prepared = self.prepare(batch, measured)
        sums = torch.zeros(5, device=self.device, dtype=torch.float64 if self.device.type != "mps" else torch.float32)
        for micro, (logps, lengths), right in zip(batch, measured, correct, strict=True):
            parts = (
                self.share(micro, logps, lengths, prepared),
                -logps[:, 0].sum(),
                right[:, 0].sum(),
                lengths[:, 0].sum(),
                torch.ones_like(logps[:, 0]).sum(),
            )
            sums += torch.stack([part.to(sums) for part in parts])
        loss, nll, hits, tokens, examples = self.sum_over_ranks(sums)
        weight = tokens if self.per == "token" else examples
        self.val_loss.update(loss, weight=weight)
        self.val_nll.update(nll / tokens, weight=tokens)
        self.val_accuracy.update(hits / tokens, weight=tokens)
        self._validated.append((float(weight), self._recorded_metrics()))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all validation examples; every rank has the same numbers, and `sync_dist` says so to Lightning."""
        metrics = (self.val_loss, self.val_nll, self.val_accuracy)
        loss, nll, accuracy = (float(metric.compute()) for metric in metrics)
        for metric in metrics:
            metric.reset()
        self.log("val/loss", loss, prog_bar=True, sync_dist=True)
        shown = {"val/perplexity": math.exp(min(nll, 700.0)), "val/token_accuracy": accuracy}
        total = sum(weight for weight, _ in self._validated)
        for name, how in self._validated[0][1] if self._validated else ():
            values = [(weight, recorded[name, how]) for weight, recorded in self._validated]
            largest, mean = max(value for _, value in values), sum(weight * value for weight, value in values) / total
            shown[f"val/{name}"] = largest if how == "max" else mean
        self._validated = []
        self.log_dict(shown, sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """The optimizer of the settings; the learning rate rises over the warm-up and falls to zero at the last step, linearly."""
        total = self.trainer.estimated_stepping_batches
        if not math.isfinite(total):
            raise ConfigError(
                "the learning rate decays to the last step, but there is none; set trainer.max_epochs or trainer.max_steps"
            )
        steps, warmup = int(total), self.warmup_steps

        def factor(step: int) -> float:
            return (step + 1) / warmup if step < warmup else max(steps - step, 0) / max(steps - warmup, 1)

        optimizer = self.optimizer(self.trained())
        schedule: Any = {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}
        return {"optimizer": optimizer, "lr_scheduler": schedule}
