"""REINFORCE on matched pairs (Eqs. 10 and 33), with MargE's weights and its hold to the reference."""

from __future__ import annotations

from llome.losses.reinforce import reinforce_loss, reinforce_terms
from llome.modules.base import WeightedModule


class REINFORCEModule(WeightedModule):
    """Raises the likelihood of edits by their reward and holds the policy to the reference; weights are of the effective batch."""

    objective = "reinforce"
    terms = staticmethod(reinforce_terms)
    loss = staticmethod(reinforce_loss)
