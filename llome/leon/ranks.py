"""What orders proposals, and the settings of that; apart from what does it, so that a command line can list them without loading it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from llome.errors import ConfigError

Rank = Literal["likelihood", "surrogate", "leon"]
"""What proposals are ordered by: the policy's own likelihood (the paper), f_hat, or mu (f_hat + lambda c*)."""


@dataclass(frozen=True, kw_only=True)
class CriticSettings:
    """Settings of a fit; the paper does not print its own, these were chosen on distributions of known distance."""

    hidden: int = 128
    """Units of each of the two hidden layers."""
    slope: Literal["clip", "penalty"] = "clip"
    """What bounds the slope: a clip of the weights (the paper), or a penalty on gradients."""
    clip: float = 0.1
    """Largest size of a weight, with clip."""
    penalty: float = 10.0
    """Weight of the gradient penalty, with penalty."""
    learning_rate: float = 2e-3
    """Of Adam, falling to zero."""
    batch_size: int = 256
    """Designs of each side a step."""
    steps: int = 600
    """Optimiser steps."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        for name in ("hidden", "batch_size", "steps"):
            if getattr(self, name) < 1:
                raise ConfigError(f"critic.{name} is {getattr(self, name)}; it must be at least 1")
        for name in ("clip", "penalty", "learning_rate"):
            if not 0 < getattr(self, name) < float("inf"):
                raise ConfigError(f"critic.{name} is {getattr(self, name)}; it must be above 0")


@dataclass(frozen=True, kw_only=True)
class Leon:
    """Settings of `rank: leon`; the defaults were chosen on Ehrlich functions of random seeds 1 to 5, none of them published."""

    known: int = 1000
    """The best feasible labelled sequences that distances are from: what the policy edits, and where the surrogate has seen most."""
    bound: float = 1.0
    """W0: how far, in square roots of substitutions, what is favoured may be from these."""
    step: float = 0.1
    """Of the dual ascent that lambda takes."""
    climbs: int = 100
    """Steps of it."""
    critic: bool = True
    """Whether the distance from what is known counts; without, lambda is 0."""
    certainty: bool = True
    """Whether mu is estimated from how often the policy wrote what; without, it is 1."""
    radius: int = 0
    """Substitutions within which proposals are one class; 0: equal ones alone."""
    fit: CriticSettings = field(
        default_factory=lambda: CriticSettings(hidden=32, slope="penalty", steps=60, batch_size=128, learning_rate=1e-2)
    )
    """Of the critic; a penalty on its slope, since a clipped one is so simple that it sees little of the distance."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        if self.bound < 0:
            raise ConfigError(f"leon.bound is {self.bound}; a distance is at least 0")
        if not 0 < self.step < float("inf"):
            raise ConfigError(f"leon.step is {self.step}; it must be above 0")
        for name, least in (("known", 1), ("climbs", 1), ("radius", 0)):
            if getattr(self, name) < least:
                raise ConfigError(f"leon.{name} is {getattr(self, name)}; it must be at least {least}")
