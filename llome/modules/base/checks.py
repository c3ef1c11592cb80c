"""What a policy and an optimiser cannot do, said before the first step and not by a traceback out of it."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch.cli import OptimizerCallable
from torch.nn import Parameter

from llome.errors import ConfigError, PolicyError


def check_optimizer(optimizer: OptimizerCallable, parameters: list[Parameter]) -> None:
    """Raises ConfigError where the optimiser refuses its settings, or one of them is no finite number."""
    try:
        built = optimizer(parameters)
    except (ValueError, TypeError, RuntimeError) as err:
        raise ConfigError(
            f"the optimizer refuses its settings: {err}; mend model.init_args.optimizer.init_args"
        ) from err
    for name, value in built.defaults.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise ConfigError(
                f"{name} of {type(built).__name__} is {value}; set model.init_args.optimizer.init_args.{name} to a finite number"
            )


def check_checkpointing(policy: Any, parent: str) -> None:
    """Raises ConfigError where the architecture has no gradient checkpointing."""
    if not getattr(policy, "supports_gradient_checkpointing", False):
        raise ConfigError(
            f"gradient_checkpointing is true, but {type(policy).__name__} of {parent} has none; set it to false, and lower"
            " data.micro_batch_size where memory is short"
        )


def check_context(policy: Any, width: int, parent: str) -> None:
    """Raises PolicyError where a prompt with its completion, `width` tokens, is longer than the policy's context.

    Positions beyond it have no embedding where they are learnt, and no training where they are computed.
    """
    positions = getattr(policy.config, "max_position_embeddings", None)
    if positions is not None and width > positions:
        raise PolicyError(
            f"a prompt and its completion take {width} tokens, but the policy {parent} reads {positions} at most; choose a"
            " base policy with a longer context"
        )
