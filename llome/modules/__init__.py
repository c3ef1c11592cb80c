"""The objectives as LightningModules: what is shared lives in `PolicyModule`, an objective adds its loss."""

from llome.modules.base import PolicyModule
from llome.modules.dpo import DPOModule
from llome.modules.marge import MargEModule
from llome.modules.reinforce import REINFORCEModule
from llome.modules.sft import SFTModule

__all__ = ["DPOModule", "MargEModule", "PolicyModule", "REINFORCEModule", "SFTModule"]
