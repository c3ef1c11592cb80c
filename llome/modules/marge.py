"""Margin-aligned expectation on matched pairs (Eqs. 8 and 32): the reward as a target distribution."""

from __future__ import annotations

from llome.losses.marge import marge_loss, marge_terms
from llome.modules.base import WeightedModule


class MargEModule(WeightedModule):
    """Draws the policy towards exp(reward) and holds it to the reference; weights are of the effective batch."""

    objective = "marge"
    terms = staticmethod(marge_terms)
    loss = staticmethod(marge_loss)
