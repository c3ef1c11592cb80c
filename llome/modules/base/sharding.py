"""A policy whose weights, gradients and optimiser states are spread over all processes (FSDP2), and how it becomes whole again.

Lightning's ModelParallelStrategy leaves it to the module what is spread: here every transformer block and, as one more piece, what is
around them. A block is gathered when it is its turn, forward and backward, so a device holds its share of the policy and one block.
Gradients are averaged over processes with every micro-batch, as none of them has room for a whole gradient. What is exported and what
is compared with a checkpoint is gathered in the main memory of the first process alone.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Trainer
from lightning.pytorch.strategies import ModelParallelStrategy
from torch import Tensor
from transformers.modeling_layers import GradientCheckpointingLayer


def is_sharded(policy: Any) -> bool:
    """Whether the policy's weights are spread over processes."""
    from torch.distributed.fsdp import FSDPModule

    return isinstance(policy, FSDPModule)


def shard(policy: Any, trainer: Trainer) -> None:
    """Spread the policy over all processes of all nodes, where the strategy is Lightning's ModelParallelStrategy; else nothing.

    With bf16-mixed, weights are gathered in bfloat16 and gradients are averaged in float32; the shares that the optimiser sees are
    float32. Other precisions are those of the weights.
    """
    if not isinstance(trainer.strategy, ModelParallelStrategy) or is_sharded(policy):
        return
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

    half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    options: dict[str, Any] = {
        "mesh": init_device_mesh(trainer.strategy.root_device.type, (trainer.world_size,)),
        "mp_policy": half if trainer.precision == "bf16-mixed" else MixedPrecisionPolicy(),
    }
    for block in [module for module in policy.modules() if isinstance(module, GradientCheckpointingLayer)]:
        fully_shard(block, **options)
    fully_shard(policy, **options)


def whole(tensor: Tensor) -> Tensor:
    """A tensor that may be spread, or summed only in part, as every process should see it; all processes take part."""
    full_tensor = getattr(tensor, "full_tensor", None)
    return tensor if full_tensor is None else full_tensor()


def whole_weights(policy: Any) -> dict[str, Tensor]:
    """The policy's weights by name, in main memory; all processes take part, and only the first gets those that are spread."""
    from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

    weights: dict[str, Any] = get_model_state_dict(
        policy, options=StateDictOptions(full_state_dict=True, cpu_offload=True)
    )
    return weights


def read_weights(checkpoint: Path, like: dict[str, Tensor]) -> dict[str, Tensor]:
    """The policy's weights in a checkpoint, a file or the folder of a spread one; `like` has their names and shapes."""
    if not checkpoint.is_dir():
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        return {name: state[f"policy.{name}"] for name in like}
    from torch.distributed import checkpoint as dcp

    weights = {name: torch.empty_like(value) for name, value in like.items()}
    spread = {f"policy.{name}": value for name, value in weights.items()}
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")  # on purpose: one process reads
        dcp.load({"state_dict": spread}, checkpoint_id=checkpoint, no_dist=True)
    return weights


def plain_model(policy: Any, weights: dict[str, Tensor]) -> Any:
    """An ordinary model of the policy's architecture, in main memory, with these weights."""
    from transformers import AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(policy.config)
    model.load_state_dict(weights, assign=True)
    model.tie_weights()
    model.generation_config = policy.generation_config
    return model
