"""What objectives share, once: the policy in exact steps, the reference as a column, weights over the effective batch."""

from llome.modules.base.lora import LoRA
from llome.modules.base.policy import PolicyModule
from llome.modules.base.reference import ReferenceModule
from llome.modules.base.weighted import WeightedModule

__all__ = ["LoRA", "PolicyModule", "ReferenceModule", "WeightedModule"]
