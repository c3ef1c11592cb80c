"""The source critic c*: tells designs that are known from those that are proposed, and how far apart the two are (W1).

By Kantorovich and Rubinstein, W1(p, q) is the largest difference E_p[c] - E_q[c] over functions c that change by at most the distance
between two designs. A network stands for c. What keeps its slope bounded is a clip of its weights, as in the paper, or a penalty on
gradients whose norm exceeds 1 (Gulrajani et al., arXiv 1704.00028, its one-sided form): slower, and nearer to the truth. A clip bounds
the slope by some number and not by 1, so the network is divided by the steepest slope that it has between designs: then W1 is in units
of distance, and c* is comparable between fits. Either sees some of the distance only, never more but for chance.

Sequences are looked up and never written out as vectors: the first layer adds up a row an element, in place of one an element and state.
The loop is a loop, and not Lightning, which takes longer to import than a critic to fit, twice a round.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from llome.errors import ConfigError, DivergedError
from llome.leon.ranks import CriticSettings
from llome.provenance import derive_seed

_ELEMENT = 0.5**0.5
"""A one of a sequence's one-hot vector: two sequences are the square root of their substitutions apart."""
_POINTS = 4096
"""Designs of either side, and between them, at which the steepest slope is looked for."""


class Critic(nn.Module):
    """c*: N designs -> (N,) numbers, higher the more a design is like the known ones; changes by at most 1 a unit of distance."""

    centre: Tensor
    scale: Tensor

    def __init__(self, dimensions: int, hidden: int, *, random_seed: int, num_states: int | None = None) -> None:
        """Draw the weights.

        Args:
            dimensions: D of vectors (N, D); or L of sequences.
            hidden: units of each of the two hidden layers.
            random_seed: of the weights.
            num_states: V of sequences (N, L) of the integers 0..V-1; None: designs are vectors.
        """
        super().__init__()
        rng = torch.Generator().manual_seed(random_seed)
        width = dimensions * (num_states or 1)

        def draw(*shape: int, fan_in: int) -> nn.Parameter:
            return nn.Parameter((2 * torch.rand(shape, generator=rng) - 1) * fan_in**-0.5)

        self.table, self.bias = draw(width, hidden, fan_in=width), draw(hidden, fan_in=width)
        self.second, self.last = nn.Linear(hidden, hidden), nn.Linear(hidden, 1)
        for layer in (self.second, self.last):
            layer.weight = draw(*layer.weight.shape, fan_in=hidden)
            layer.bias = draw(*layer.bias.shape, fan_in=hidden)
        self.num_states = num_states
        self.register_buffer("centre", torch.zeros(width))
        self.register_buffer("scale", torch.ones(()))

    def as_inputs(self, designs: np.ndarray) -> Tensor:
        """Vectors (N, D) as float32; sequences (N, L) as the places (N, L) of their ones."""
        if self.num_states is None:
            return torch.from_numpy(np.asarray(designs, dtype=np.float32))
        return torch.from_numpy(np.arange(designs.shape[1]) * self.num_states + designs.astype(np.int64))

    def mean(self, inputs: Tensor) -> Tensor:
        """(N, ...) inputs -> (D,) their mean as vectors."""
        if self.num_states is None:
            return inputs.mean(dim=0)
        return _ELEMENT * torch.bincount(inputs.flatten(), minlength=len(self.centre)) / len(inputs)

    def reach(self, inputs: Tensor) -> Tensor:
        """(N, ...) inputs -> (N, H) what the first layer says; linear in the designs."""
        if self.num_states is None:
            return (inputs - self.centre) @ self.table + self.bias
        found: Tensor = _Sums.apply(self.table, inputs)
        return _ELEMENT * found + (self.bias - self.centre @ self.table)

    def rest(self, reached: Tensor) -> Tensor:
        """(N, H) of `reach` -> (N,)."""
        return self.last(torch.relu(self.second(torch.relu(reached)))).squeeze(-1) / self.scale

    def slopes(self, reached: Tensor) -> Tensor:
        """(N, H) of `reach` -> (N,) the slopes, as the designs change; written out, since a gradient of a gradient takes twice as long."""
        above = self.second(torch.relu(reached)) > 0
        slope = ((self.last.weight / self.scale * above) @ self.second.weight) * (reached > 0)
        square = (slope @ (self.table.t() @ self.table) * slope).sum(dim=1)
        return square.clamp(min=torch.finfo(torch.float32).tiny).sqrt()

    def forward(self, inputs: Tensor) -> Tensor:
        """(N, ...) inputs -> (N,)."""
        return self.rest(self.reach(inputs))

    def score(self, designs: np.ndarray) -> np.ndarray:
        """(N, D) vectors or (N, L) sequences -> (N,) float64."""
        with torch.no_grad():
            return self(self.as_inputs(designs)).double().numpy()

    def distance(self, source: np.ndarray, proposals: np.ndarray) -> float:
        """W1 as this critic sees it: its mean over N designs of `source` less its mean over M `proposals`."""
        return float(self.score(source).mean() - self.score(proposals).mean())


class _Sums(torch.autograd.Function):
    """Sums of the rows of a table; the gradient is as quick, which torch's own is not: it is looked up and summed the other way round."""

    @staticmethod
    def forward(ctx: Any, table: Tensor, places: Tensor) -> Tensor:
        """(D, H) and the rows (N, L) to add up -> (N, H)."""
        ctx.save_for_backward(places)
        ctx.rows = len(table)
        return F.embedding_bag(places, table, mode="sum")

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, None]:
        """(N, H) -> (D, H), each row the sum over the designs that have it."""
        (places,) = ctx.saved_tensors
        flat = places.flatten().numpy()
        order = np.argsort(flat.astype(np.min_scalar_type(ctx.rows)), kind="stable") // places.shape[1]
        counts = np.bincount(flat, minlength=ctx.rows)
        starts = torch.from_numpy(np.cumsum(counts) - counts)
        return F.embedding_bag(torch.from_numpy(order), slope.contiguous(), starts, mode="sum"), None


def fit_critic(
    source: np.ndarray,
    proposals: np.ndarray,
    settings: CriticSettings,
    *,
    random_seed: int,
    num_states: int | None = None,
) -> Critic:
    """Fit c* to designs that are known and designs that are proposed: ascent on E_source[c] - E_proposals[c], the slope bounded.

    Args:
        source: (N, D) known designs; sequences (N, L) with `num_states`.
        proposals: (M, D) or (M, L) proposed ones.
        settings: of the fit.
        random_seed: of the weights and the batches, keyed by step.
        num_states: V, where designs are sequences.

    Raises:
        ConfigError: one side is empty, or they differ in D.
        DivergedError: the fit ended in numbers that are not finite.
    """
    if not len(source) or not len(proposals):
        raise ConfigError(
            f"a critic needs designs on both sides; there are {len(source)} known and {len(proposals)} proposed"
        )
    if source.shape[1:] != proposals.shape[1:]:
        raise ConfigError(
            f"known designs have shape {source.shape[1:]}, proposed ones {proposals.shape[1:]}; give the same"
        )
    seed = derive_seed(random_seed, "critic", "weights")
    critic = Critic(source.shape[1], settings.hidden, random_seed=seed, num_states=num_states)
    known, proposed = critic.as_inputs(source), critic.as_inputs(proposals)
    critic.centre.copy_(critic.mean(torch.cat([known, proposed])))
    _ascend(critic, known, proposed, settings, derive_seed(random_seed, "critic", "rows"))
    critic.scale.copy_(_steepest(critic, known, proposed, derive_seed(random_seed, "critic", "slope")))
    if not np.isfinite(critic.distance(source, proposals)):
        raise DivergedError("the source critic has diverged; lower critic.learning_rate or critic.clip")
    return critic.eval()


def _ascend(critic: Critic, known: Tensor, proposed: Tensor, settings: CriticSettings, random_seed: int) -> None:
    optimizer = torch.optim.Adam(critic.parameters(), lr=settings.learning_rate, betas=(0.5, 0.9), fused=True)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=settings.steps)
    for step in range(settings.steps):
        rng = np.random.default_rng([random_seed, step])
        picked = (side[rng.integers(len(side), size=settings.batch_size)] for side in (known, proposed))
        reached = critic.reach(torch.cat(tuple(picked)))
        one, other = critic.rest(reached).split(settings.batch_size)
        loss = other.mean() - one.mean()
        if settings.slope == "penalty":
            share = torch.from_numpy(rng.random((settings.batch_size, 1)).astype(np.float32))
            here, there = reached.split(settings.batch_size)
            steep = critic.slopes(share * here + (1 - share) * there)
            loss = loss + settings.penalty * (steep - 1).clamp(min=0).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if settings.slope == "clip":
            with torch.no_grad():
                for weight in (critic.table, critic.second.weight, critic.last.weight):
                    weight.clamp_(-settings.clip, settings.clip)


def _steepest(critic: Critic, known: Tensor, proposed: Tensor, random_seed: int) -> Tensor:
    """The steepest slope of the network at designs of both sides and between them; above 0."""
    rng = np.random.default_rng(random_seed)
    one, other = (critic.reach(side[rng.integers(len(side), size=_POINTS)]).detach() for side in (known, proposed))
    share = torch.from_numpy(rng.random((_POINTS, 1)).astype(np.float32))
    points = torch.cat([one, other, share * one + (1 - share) * other])
    return critic.slopes(points).detach().max()
