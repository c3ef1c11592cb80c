"""Objectives that compare the policy with a reference: its log-probabilities are a column, computed once.

The reference is the policy at the start of the round, so the policy itself computes them before its first step, and no second model is
held. A resumed run has other weights by then: the column is kept in the run's scratch folder, and read back from there. A policy with
adapters is its parent whenever they are off.
"""

from __future__ import annotations

import hashlib
import itertools
import pickle
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from llome.data.batches import Batch
from llome.data.datamodule import PropEnDataModule
from llome.errors import LlomeError
from llome.modules.base.lora import LoRA, without_adapters
from llome.modules.base.policy import PolicyModule
from llome.policy.causal_lm import hash_policy
from llome.provenance import hash_json, replacing


class ReferenceModule(PolicyModule):
    """Adds `reference`, (M, C) summed log-probabilities of all examples' completions under the parent policy."""

    reference: Tensor

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
        """As in `PolicyModule`."""
        super().__init__(
            parent,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            random_seed=random_seed,
            gradient_checkpointing=gradient_checkpointing,
            lora=lora,
        )
        self.parent = parent

    def on_fit_start(self) -> None:
        """Read the column or compute it, before the first step; a plain attribute, which no precision plugin rounds."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PropEnDataModule)
        path = self.scratch / f"reference-{self._key(data)}.pt" if self.scratch is not None else None
        first = self.trainer.is_global_zero
        column = self.trainer.strategy.broadcast(_read(path, data.examples.targets.shape) if first else None)
        if column is None:
            if self.trainer.ckpt_path is not None and self.lora is None:  # with adapters, the parent is still there
                raise LlomeError(
                    f"cannot go on from {self.trainer.ckpt_path}: the reference log-probabilities of its start are not in"
                    f" {path or 'a scratch folder'}, and the policy has changed since; delete the checkpoint and train anew"
                )
            column = self._compute(data).cpu()
            if path is not None and first:
                with replacing(path) as temporary:
                    torch.save(column, temporary)
        self.reference = column.to(self.device)

    def reference_of(self, micro: Batch) -> Tensor:
        """(B, C) log-probabilities of the micro-batch's completions under the reference."""
        return self.reference[micro["rows"]]

    def _key(self, data: PropEnDataModule) -> str:
        """Of the data, the parent, which examples were made, and the precision of the forward passes."""
        examples = hashlib.sha256(data.examples.sources.tobytes() + data.examples.targets.tobytes()).hexdigest()[:16]
        return hash_json([data.data_hash, hash_policy(self.parent), examples, str(self.trainer.precision)])

    def _compute(self, data: PropEnDataModule) -> Tensor:
        """Every rank computes its part of the rows; zeros elsewhere, so that the sum is the column."""
        dtype = torch.float64 if self.dtype == torch.float64 else torch.float32
        column = torch.zeros(data.examples.targets.shape, dtype=dtype, device=self.device)
        training = self.policy.training
        self.policy.eval()
        with torch.no_grad(), without_adapters(self.policy), self.trainer.precision_plugin.forward_context():
            for batch in itertools.chain.from_iterable(data.loader(np.arange(len(data.examples)))):
                micro = self.trainer.strategy.batch_to_device(batch, self.device)
                column[micro["rows"]] = self.logps(micro, self(micro))[0].to(dtype)
        self.policy.train(training)
        return self.sum_over_ranks(column)


def _read(path: Path | None, shape: tuple[int, ...]) -> Tensor | None:
    """The column of an earlier start of the run; None where there is none of this shape that can be read."""
    if path is None or not path.is_file():
        return None
    try:
        column = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, EOFError, RuntimeError, pickle.UnpicklingError):
        return None
    return column if isinstance(column, Tensor) and column.shape == shape else None
