"""The networks of a surrogate for designs that are no sequences: members of two smooth hidden layers, side by side in one product."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from llome.surrogate.network import Network


class VectorEnsemble(Network):
    """M members of one shape, each with weights of its own; smooth, so that designs can climb its gradient."""

    centre: Tensor
    scale: Tensor

    def __init__(self, inputs: np.ndarray, *, members: int, hidden: int, random_seed: int, outputs: int = 2) -> None:
        """Draw the weights.

        Args:
            inputs: (N, D) that the members will be fitted to; inputs are standardised by theirs.
            members: M.
            hidden: units of each of the two layers.
            random_seed: seed of the weights.
            outputs: 1, the score; or 2, the logit of being feasible as well.
        """
        super().__init__()
        self.members, self.outputs = members, outputs
        rng = torch.Generator().manual_seed(random_seed)
        sizes = (inputs.shape[1], hidden, hidden, outputs)
        self.weights, self.biases = nn.ParameterList(), nn.ParameterList()
        for a, b in pairwise(sizes):
            self.weights.append(nn.Parameter(torch.randn(members, a, b, generator=rng) / math.sqrt(max(1, a))))
            self.biases.append(nn.Parameter(0.1 * torch.randn(members, 1, b, generator=rng)))
        spread = inputs.std(axis=0)
        self.register_buffer("centre", torch.from_numpy(inputs.mean(axis=0).astype(np.float32)))
        self.register_buffer("scale", torch.from_numpy(np.where(spread > 0, spread, 1.0).astype(np.float32)))

    def as_inputs(self, designs: np.ndarray) -> Tensor:
        """(N, D) numbers -> (N, D) float32."""
        return torch.from_numpy(np.asarray(designs, dtype=np.float32))

    def forward(self, designs: Tensor) -> Tensor:
        """(M, B, D), each member's own designs -> (M, B, outputs): standardised scores, and logits of being feasible."""
        hidden = (designs - self.centre) / self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = F.silu(hidden @ weight + bias)
        return hidden @ self.weights[-1] + self.biases[-1]

    @torch.no_grad()
    def answers(self, member: int, designs: np.ndarray) -> np.ndarray:
        """(N, D) -> (N, outputs) float32 of one member."""
        hidden = (self.as_inputs(designs) - self.centre) / self.scale
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = F.silu(hidden @ weight[member] + bias[member])
        return (hidden @ self.weights[-1][member] + self.biases[-1][member]).numpy()

    def slope(self, designs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) -> (N,) mean standardised score of the members and (N, D) its gradient, float64."""
        inputs = self.as_inputs(designs).requires_grad_()
        mean = self(inputs.expand(self.members, *inputs.shape))[..., 0].mean(dim=0)
        (slope,) = torch.autograd.grad(mean.sum(), inputs)
        return mean.detach().double().numpy(), slope.double().numpy()
