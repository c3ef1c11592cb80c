"""The objectives as LightningModules: what is shared lives in `PolicyModule`, an objective adds its loss."""

from llome.modules.base import PolicyModule
from llome.modules.sft import SFTModule

__all__ = ["PolicyModule", "SFTModule"]
