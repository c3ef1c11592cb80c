"""The source critic c*: tells designs that are known from those that are proposed, and how far apart the two are (W1).

By Kantorovich and Rubinstein, W1(p, q) is the largest difference E_p[c] - E_q[c] over functions c that change by at most the distance
between two designs. A network stands for c. What keeps its slope bounded is a clip of its weights, as in the paper, or a penalty on
gradients whose norm exceeds 1 (Gulrajani et al., arXiv 1704.00028, its one-sided form): slower, and nearer to the truth. A clip bounds
the slope by some number and not by 1, so the network is divided by the steepest slope that it has between designs: then W1 is in units
of distance, and c* is comparable between fits. Either sees some of the distance only, never more but for chance.

Sequences are looked up and never written out as vectors: the first layer adds up a row an element, in place of one an element and state.
The loop is a loop, and not Lightning, which takes longer to import than a critic to fit, twice a round; and its gradients are written out,
since on so small a network autograd takes several times as long as the sums.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
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
        return _ELEMENT * F.embedding_bag(inputs, self.table, mode="sum") + (self.bias - self.centre @ self.table)

    def rest(self, reached: Tensor) -> Tensor:
        """(N, H) of `reach` -> (N,)."""
        return self.last(torch.relu(self.second(torch.relu(reached)))).squeeze(-1) / self.scale

    def slopes(self, reached: Tensor) -> Tensor:
        """(N, H) of `reach` -> (N,) the slopes, as the designs change."""
        return self._slopes(reached)[3] / self.scale

    def _slopes(self, reached: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """(N, H) -> which units of the second layer answer (N, H); the gradients by what is reached (N, H), and their products with the
        table's Gram matrix (N, H); the slopes as the designs change (N,); all of them before `scale` divides.
        """
        answer = self.second(torch.relu(reached)) > 0
        inner = ((self.last.weight * answer) @ self.second.weight) * (reached > 0)
        turned = inner @ (self.table.t() @ self.table)
        square = (turned * inner).sum(dim=1).clamp(min=torch.finfo(torch.float32).tiny)
        return answer, inner, turned, square.sqrt()

    @torch.no_grad()
    def descend(self, inputs: Tensor, share: Tensor | None = None, penalty: float = 0.0) -> None:
        """Set the gradients of E_proposals[c] - E_source[c], and of the penalty on slopes beyond 1 where `share` says; `scale` is 1.

        Args:
            inputs: (2 B, ...), the known designs first.
            share: (B, 1) of the known one in the design between a row's two at which a slope is taken.
            penalty: weight of their mean square beyond 1.
        """
        count, second, last = len(inputs) // 2, self.second.weight, self.last.weight
        reached = self.reach(inputs)
        first = torch.relu(reached)
        above = self.second(first)
        ends = torch.full((2, count, 1), 1 / count, dtype=last.dtype)
        ends[0].neg_()
        back = ends.flatten(0, 1)  # (2 B, 1), and then of each unit, a layer after the other
        last.grad, self.last.bias.grad = back.t() @ torch.relu(above), back.sum(dim=0)
        back = back * last * (above > 0)
        second.grad, self.second.bias.grad = back.t() @ first, back.sum(dim=0)
        back = (back @ second) * (reached > 0)
        self.table.grad, self.bias.grad = self._spread(inputs, back), back.sum(dim=0)
        if share is None:
            return
        between = share * reached[:count] + (1 - share) * reached[count:]
        answer, inner, turned, steep = self._slopes(between)
        rate = (penalty * (steep - 1).clamp(min=0) / (count * steep))[:, None]  # by the squared slopes
        self.table.grad += 2 * self.table @ (inner.t() @ (rate * inner))
        back = 2 * rate * turned * (between > 0)
        second.grad += (last * answer).t() @ back
        last.grad += ((back @ second.t()) * answer).sum(dim=0, keepdim=True)

    def _spread(self, inputs: Tensor, back: Tensor) -> Tensor:
        """(N, ...) inputs and (N, H) gradients of what they reach -> (D, H) that of the table."""
        if self.num_states is None:
            return (inputs - self.centre).t() @ back
        flat, rows = inputs.flatten().numpy(), len(self.table)
        order = np.argsort(flat.astype(np.min_scalar_type(rows)), kind="stable") // inputs.shape[1]
        counts = np.bincount(flat, minlength=rows)
        starts = torch.from_numpy(np.cumsum(counts) - counts)
        sums = F.embedding_bag(torch.from_numpy(order), back, starts, mode="sum")
        return _ELEMENT * sums - torch.outer(self.centre, back.sum(dim=0))

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
        picked = [side[rng.integers(len(side), size=settings.batch_size)] for side in (known, proposed)]
        share = None
        if settings.slope == "penalty":
            share = torch.from_numpy(rng.random((settings.batch_size, 1)).astype(np.float32))
        critic.descend(torch.cat(picked), share, settings.penalty)
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
