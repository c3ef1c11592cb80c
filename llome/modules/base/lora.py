"""LoRA: small matrices beside the linear layers are trained in place of the policy (Hu et al., arXiv 2106.09685), by peft.

A layer's weight W becomes W + (alpha / rank) B A. B starts at zero, so the policy starts as its parent, which remains there to be
asked: it is the policy with the adapters switched off. What is exported is one matrix again, and knows nothing of adapters.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from llome.errors import ConfigError


@dataclass(frozen=True)
class LoRA:
    """Which layers have adapters, and how large they are."""

    rank: int = 16
    """Inner width of an adapter."""
    alpha: float = 32.0
    """An adapter's product is weighted by alpha / rank."""
    dropout: float = 0.0
    """Share of an adapter's inputs that is dropped in training."""
    target_modules: list[str] | None = None
    """Ends of the names of the layers that get one; null: all linear layers but the output's."""


def add_adapters(policy: Any, lora: LoRA, *, random_seed: int) -> None:
    """Give the policy adapters, in place, and freeze everything else.

    Args:
        policy: a causal language model of transformers.
        lora: which and how large.
        random_seed: of A; every process must draw the same.

    Raises:
        ConfigError: a size is out of range, peft is not installed, or no layer has such a name.
    """
    for name, value, fits, remedy in (
        ("rank", lora.rank, lora.rank >= 1, "at least 1"),
        ("alpha", lora.alpha, 0 < lora.alpha < float("inf"), "a finite number above 0"),
        ("dropout", lora.dropout, 0 <= lora.dropout < 1, "0 or more, below 1"),
    ):
        if not fits:
            raise ConfigError(f"lora.{name} is {value}; choose {remedy}")
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as err:
        raise ConfigError(
            f'model.init_args.lora needs peft, which cannot be imported ({err}); pip install "llome[lora]"'
        ) from err
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,  # type: ignore[arg-type]  # an int by name; only their quotient is used
        lora_dropout=lora.dropout,
        target_modules=lora.target_modules or "all-linear",
        fan_in_fan_out=any(type(module).__name__ == "Conv1D" for module in policy.modules()),
    )
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(random_seed)
            inject_adapter_in_model(config, policy)
    except ValueError as err:
        raise ConfigError(
            f"lora.target_modules is {lora.target_modules}, which peft refuses: {str(err).splitlines()[0]} Name linear layers of"
            f" {type(policy).__name__}, or none for all of them"
        ) from err
    assert not any(value.any() for name, value in policy.named_parameters() if ".lora_B." in name)


def _adapted(policy: Any) -> list[tuple[str, Any]]:
    """(name, layer) of every layer with an adapter; none where the policy has no adapters."""
    return [(name, module) for name, module in policy.named_modules() if hasattr(module, "base_layer")]


@contextlib.contextmanager
def without_adapters(policy: Any) -> Iterator[None]:
    """The policy as it was at its start, inside the block."""
    layers = [layer for _, layer in _adapted(policy)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)


def merged(policy: Any, weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights of the policy by name -> those of a policy without adapters, W + (alpha / rank) B A; nothing is changed in place."""
    plain = {name.replace(".base_layer.", "."): value for name, value in weights.items() if ".lora_" not in name}
    for name, layer in _adapted(policy):
        a, b = (weights[f"{name}.lora_{matrix}.default.weight"] for matrix in "AB")
        change = layer.scaling["default"] * (b @ a)
        plain[f"{name}.weight"] = plain[f"{name}.weight"] + (change.T if layer.fan_in_fan_out else change)
    return plain
