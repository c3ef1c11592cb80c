"""The source critic against distances that are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from llome.errors import ConfigError, DivergedError
from llome.leon.critic import Critic, fit_critic
from llome.leon.ranks import CriticSettings

SLOPES = ("clip", "penalty")


@pytest.mark.parametrize("slope", SLOPES)
@pytest.mark.parametrize(("dimensions", "shift"), [(1, 1.0), (8, 2.0)])
def test_two_gaussians_of_one_covariance(slope: str, dimensions: int, shift: float) -> None:
    """W1 is the distance of their means."""
    rng = np.random.default_rng(5)
    source, proposals = rng.normal(size=(2, 3000, dimensions))
    proposals[:, 0] += shift
    critic = fit_critic(source, proposals, CriticSettings(slope=slope), random_seed=3)
    assert critic.distance(source, proposals) == pytest.approx(shift, rel=0.15)
    assert critic.distance(proposals, source) == -critic.distance(source, proposals)
    # designs like the known ones have more of it, and it changes by no more than a unit a unit
    points = np.linspace(-2, 2 + shift, 50)[:, None] * np.eye(dimensions)[:1]
    values = critic.score(points)
    assert (np.diff(values) < 0.02).all()
    assert (np.abs(np.diff(values)) <= np.diff(points[:, 0]) * 1.02).all()


@pytest.mark.parametrize(("settings", "share"), [({}, 0.25), ({"slope": "penalty"}, 0.15)])
def test_two_discrete_distributions(settings: dict[str, Any], share: float) -> None:
    """W1 from the transport problem, solved as a linear programme."""
    from scipy.optimize import linprog

    rng = np.random.default_rng(11)
    places = rng.normal(size=(6, 3)), rng.normal(size=(5, 3))
    masses = rng.dirichlet(np.ones(6)), rng.dirichlet(np.ones(5))
    costs = np.linalg.norm(places[0][:, None] - places[1][None], axis=2)
    sums = np.concatenate([np.kron(np.eye(6), np.ones(5)), np.kron(np.ones(6), np.eye(5))])
    exact = linprog(costs.ravel(), A_eq=sums, b_eq=np.concatenate(masses)).fun
    source, proposals = (p[rng.choice(len(p), 4000, p=m)] for p, m in zip(places, masses, strict=True))
    found = fit_critic(source, proposals, CriticSettings(**settings), random_seed=0).distance(source, proposals)
    assert found == pytest.approx(exact, rel=share)
    assert found < 1.05 * exact  # a bounded slope cannot see more than there is


@pytest.mark.parametrize("slope", SLOPES)
def test_one_distribution_twice(slope: str) -> None:
    source, proposals = np.random.default_rng(0).normal(size=(2, 3000, 2))
    assert (
        abs(fit_critic(source, proposals, CriticSettings(slope=slope), random_seed=1).distance(source, proposals))
        < 0.12
    )


@pytest.mark.parametrize("slope", SLOPES)
def test_sequences_are_their_one_hot_vectors(slope: str) -> None:
    """Looked up or multiplied out: the same function, the same gradients, so the same critic up to rounding."""
    rng = np.random.default_rng(2)
    source, proposals = rng.integers(0, 5, (2, 300, 7))
    proposals[:, :3] = 1
    settings = CriticSettings(slope=slope, steps=60, batch_size=32)
    one = fit_critic(source, proposals, settings, random_seed=4, num_states=5)
    vectors = [(np.eye(5) * 0.5**0.5)[side].reshape(len(side), -1) for side in (source, proposals)]
    other = fit_critic(*vectors, settings, random_seed=4)
    np.testing.assert_allclose(one.score(source), other.score(vectors[0]), atol=2e-4)
    assert one.distance(source, proposals) == pytest.approx(other.distance(*vectors), abs=2e-4)
    assert one.distance(source, proposals) > 0.3


def test_the_gradient_of_a_look_up_is_that_of_the_product() -> None:
    rng = torch.Generator().manual_seed(0)
    critic = Critic(4, 6, random_seed=1, num_states=3).double()
    inputs = critic.as_inputs(torch.randint(0, 3, (9, 4), generator=rng).numpy())

    def value(table: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(critic, {"table": table}, (inputs,))

    assert torch.autograd.gradcheck(value, (critic.table.detach().requires_grad_(),))
    reached = critic.reach(inputs).detach().requires_grad_()
    ones = (torch.eye(3).double() * 0.5**0.5)[inputs - torch.arange(4) * 3].reshape(9, -1).requires_grad_()
    (slope,) = torch.autograd.grad(critic.rest((ones - critic.centre) @ critic.table + critic.bias).sum(), ones)
    torch.testing.assert_close(critic.slopes(reached), slope.norm(dim=1))


@pytest.mark.parametrize("num_states", [None, 3])
@pytest.mark.parametrize("penalty", [0.0, 7.0])
def test_the_gradients_are_those_of_the_loss(num_states: int | None, penalty: float) -> None:
    """Autograd of what is descended, where some slopes are steep enough for the penalty to count."""
    rng = np.random.default_rng(0)
    designs = rng.integers(0, 3, (12, 4)) if num_states else rng.normal(size=(12, 4))
    critic = Critic(4, 6, random_seed=1, num_states=num_states).double()
    inputs = critic.as_inputs(designs) if num_states else torch.from_numpy(designs)
    critic.centre.copy_(critic.mean(inputs))
    share = torch.from_numpy(rng.random((6, 1))) if penalty else None
    if share is not None:
        with torch.no_grad():  # half of the slopes are above 1
            here, there = critic.reach(inputs).split(6)
            critic.last.weight.div_(critic.slopes(share * here + (1 - share) * there).quantile(0.5))
    reached = critic.reach(inputs)
    known, proposed = critic.rest(reached).split(6)
    loss = proposed.mean() - known.mean()
    if share is not None:
        steep = critic.slopes(share * reached[:6] + (1 - share) * reached[6:])
        assert 0 < (steep > 1).sum() < 6
        loss = loss + penalty * (steep - 1).clamp(min=0).square().mean()
    expected = torch.autograd.grad(loss, list(critic.parameters()))
    critic.descend(inputs, share, penalty)
    for (name, weight), gradient in zip(critic.named_parameters(), expected, strict=True):
        torch.testing.assert_close(weight.grad, gradient, msg=lambda text, name=name: f"{name}: {text}")


def test_the_same_seed_gives_the_same_critic() -> None:
    source, proposals = np.random.default_rng(0).normal(size=(2, 100, 3))
    settings = CriticSettings(steps=20)
    one, other, third = (fit_critic(source, proposals, settings, random_seed=seed).score(source) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, other)
    assert (one != third).any()


def test_what_it_refuses() -> None:
    some = np.zeros((4, 2))
    with pytest.raises(ConfigError, match="4 known and 0 proposed"):
        fit_critic(some, some[:0], CriticSettings(), random_seed=0)
    with pytest.raises(ConfigError, match="give the same"):
        fit_critic(some, np.zeros((4, 3)), CriticSettings(), random_seed=0)
    with pytest.raises(ConfigError, match=r"critic\.clip is 0"):
        CriticSettings(clip=0)
    with pytest.raises(DivergedError, match="has diverged; lower"):
        fit_critic(some, some + 1, CriticSettings(steps=3, learning_rate=1e30, slope="penalty"), random_seed=0)


def test_equal_designs_on_both_sides() -> None:
    some = np.ones((10, 2))
    assert fit_critic(some, some, CriticSettings(steps=5), random_seed=0).distance(some, some) == 0
