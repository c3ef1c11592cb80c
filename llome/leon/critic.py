"""The source critic c*: tells designs that are known from those that are proposed, and how far apart the two are (W1).

By Kantorovich and Rubinstein, W1(p, q) is the largest difference E_p[c] - E_q[c] over functions c that change by at most the distance
between two designs. A network stands for c. What keeps its slope bounded is a clip of its weights, as in the paper, or a penalty on
gradients whose norm exceeds 1 (Gulrajani et al., arXiv 1704.00028, its one-sided form): slower, and nearer to the truth. A clip bounds
the slope by some number and not by 1, so the network is divided by the steepest slope that it has between designs: then W1 is in units
of distance, and c* is comparable between fits. Either sees some of the distance only, never more but for chance.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader, IterableDataset

from llome.errors import ConfigError, DivergedError
from llome.leon.ranks import CriticSettings
from llome.provenance import derive_seed


class Critic(nn.Module):
    """c*: (N, D) designs -> (N,) numbers, higher the more a design is like the known ones; changes by at most 1 a unit of distance."""

    centre: Tensor
    scale: Tensor

    def __init__(self, dimensions: int, hidden: int, *, random_seed: int) -> None:
        super().__init__()
        rng = torch.Generator().manual_seed(random_seed)
        sizes = (dimensions, hidden, hidden, 1)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))
        for layer, a in zip(self.layers, sizes, strict=False):
            assert isinstance(layer, nn.Linear)
            bound = a**-0.5
            with torch.no_grad():
                layer.weight.copy_((2 * torch.rand(layer.weight.shape, generator=rng) - 1) * bound)
                layer.bias.copy_((2 * torch.rand(layer.bias.shape, generator=rng) - 1) * bound)
        self.register_buffer("centre", torch.zeros(dimensions))
        self.register_buffer("scale", torch.ones(()))

    def forward(self, designs: Tensor) -> Tensor:
        """(N, D) -> (N,)."""
        first, second, last = self.layers
        hidden = torch.relu(second(torch.relu(first(designs - self.centre))))
        return last(hidden).squeeze(-1) / self.scale

    def score(self, designs: np.ndarray) -> np.ndarray:
        """(N, D) -> (N,) float64."""
        with torch.no_grad():
            return self(torch.from_numpy(np.asarray(designs, dtype=np.float32))).double().numpy()

    def distance(self, source: np.ndarray, proposals: np.ndarray) -> float:
        """W1 as this critic sees it: its mean over `source` (N, D) less its mean over `proposals` (M, D)."""
        return float(self.score(source).mean() - self.score(proposals).mean())


def fit_critic(source: np.ndarray, proposals: np.ndarray, settings: CriticSettings, *, random_seed: int) -> Critic:
    """Fit c* to designs that are known and designs that are proposed.

    Args:
        source: (N, D) known designs.
        proposals: (M, D) proposed ones.
        settings: of the fit.
        random_seed: of the weights and the batches, keyed by step.

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
    known, proposed = (torch.from_numpy(np.asarray(side, dtype=np.float32)) for side in (source, proposals))
    critic = Critic(source.shape[1], settings.hidden, random_seed=derive_seed(random_seed, "critic", "weights"))
    critic.centre.copy_(torch.cat([known, proposed]).mean(dim=0))
    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no hardware listing, no tips
    trainer = Trainer(
        accelerator="cpu",
        devices=1,
        max_steps=settings.steps,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        enable_progress_bar=False,
    )
    batches = _Batches(known, proposed, settings, derive_seed(random_seed, "critic", "rows"))
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*does not have many workers")
        warnings.filterwarnings("ignore", message=r".isinstance\(treespec, LeafSpec", category=FutureWarning)
        trainer.fit(_Dual(critic, settings), DataLoader(batches, batch_size=None))
    critic.scale.copy_(_steepest(critic, known, proposed, derive_seed(random_seed, "critic", "slope")))
    if not np.isfinite(critic.distance(source, proposals)):
        raise DivergedError("the source critic has diverged; lower critic.learning_rate or critic.clip")
    return critic.eval()


class _Batches(IterableDataset[tuple[Tensor, Tensor, Tensor]]):
    """Designs of both sides, and (B, 1) where between them slopes are looked at."""

    def __init__(self, source: Tensor, proposals: Tensor, settings: CriticSettings, random_seed: int) -> None:
        self.sides, self.size, self.steps, self.random_seed = (
            (source, proposals),
            settings.batch_size,
            settings.steps,
            random_seed,
        )

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
        for step in range(self.steps):
            rng = np.random.default_rng([self.random_seed, step])
            source, proposals = (side[rng.integers(len(side), size=self.size)] for side in self.sides)
            yield source, proposals, torch.from_numpy(rng.random((self.size, 1)).astype(np.float32))


class _Dual(LightningModule):
    """Ascent on E_source[c] - E_proposals[c], the slope bounded."""

    def __init__(self, critic: Critic, settings: CriticSettings) -> None:
        super().__init__()
        self.critic, self.settings = critic, settings

    def training_step(self, batch: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        source, proposals, share = batch
        loss = self.critic(proposals).mean() - self.critic(source).mean()
        if self.settings.slope == "penalty":
            between = (share * source + (1 - share) * proposals).requires_grad_()
            (slope,) = torch.autograd.grad(self.critic(between).sum(), between, create_graph=True)
            loss = loss + self.settings.penalty * (slope.norm(dim=1) - 1).clamp(min=0).square().mean()
        return loss

    def on_train_batch_end(self, *_: object) -> None:
        if self.settings.slope == "clip":
            with torch.no_grad():
                for layer in self.critic.layers:
                    assert isinstance(layer, nn.Linear)
                    layer.weight.clamp_(-self.settings.clip, self.settings.clip)

    def configure_optimizers(self) -> dict[str, object]:  # type: ignore[override]
        optimizer = torch.optim.Adam(self.critic.parameters(), lr=self.settings.learning_rate, betas=(0.5, 0.9))
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=self.settings.steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def _steepest(critic: Critic, source: Tensor, proposals: Tensor, random_seed: int, count: int = 4096) -> Tensor:
    """The steepest slope of the network at designs of both sides and between them; above 0."""
    rng = np.random.default_rng(random_seed)
    one, other = (side[rng.integers(len(side), size=count)] for side in (source, proposals))
    share = torch.from_numpy(rng.random((count, 1)).astype(np.float32))
    points = torch.cat([one, other, share * one + (1 - share) * other]).requires_grad_()
    (slope,) = torch.autograd.grad(critic(points).sum(), points)
    return slope.norm(dim=1).max().clamp(min=torch.finfo(torch.float32).tiny)
