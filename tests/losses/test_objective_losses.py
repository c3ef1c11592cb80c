"""Objectives against hand-computed values, finite differences, invariances, limits and extremes."""

import functools
import math

import pytest
import torch

from llome.losses.dpo import dpo_loss, dpo_margins
from llome.losses.importance import normaliser, weight_sums, weighted_shares
from llome.losses.marge import marge_loss, marge_terms
from llome.losses.reinforce import reinforce_loss, reinforce_terms
from llome.losses.rewards import edit_rewards

WEIGHTED = {"marge": (marge_loss, marge_terms), "reinforce": (reinforce_loss, reinforce_terms)}
LENGTHS = torch.tensor([4, 5, 2, 7, 3, 4])


def draw(seed=0, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    logps, ref = (-5 * torch.rand(6, generator=generator, dtype=torch.float64) for _ in range(2))
    rewards = torch.rand(6, generator=generator, dtype=torch.float64)
    return logps * scale, ref, rewards


def shares(name, logps, ref, rewards, lengths=LENGTHS, *, split=(6,), **options):
    """The shares of a whole batch, micro-batch by micro-batch, with the sums that a module computes."""
    loss, terms = WEIGHTED[name]
    with torch.no_grad():
        log_ratios, weighted = (logps - ref).double(), terms(logps, lengths, rewards).double()
        shift = log_ratios.max()
        pieces = zip(log_ratios.split(split), weighted.split(split), strict=True)
        sums = sum(weight_sums(s, g, shift=shift) for s, g in pieces)
        log_normaliser, baseline, _ = normaliser(sums, shift=shift)
    options = {"lambda_": 2.0, "log_normaliser": log_normaliser, "baseline": baseline, "count": sums[3]} | options
    pieces = zip(*(x.split(split) for x in (logps, lengths, ref, rewards)), strict=True)
    return torch.cat([loss(*piece, **options) for piece in pieces])


def plain(name, logps, ref, rewards, lengths=LENGTHS, *, lambda_=2.0, average="sum", detached=False):
    """Eqs. 32 and 33 as printed, by autograd through a softmax of the whole batch."""
    weights = torch.softmax(logps - ref, dim=0)
    weights = weights.detach() if detached else weights
    terms = logps / lengths - rewards if name == "marge" else -rewards * logps
    weighted = (weights * terms).sum()
    return (weighted / len(logps) if average == "mean" else weighted) - lambda_ * (logps / lengths).mean()


def gradient(function, logps):
    logps = logps.clone().requires_grad_()
    value = function(logps)
    return value.detach(), torch.autograd.grad(value, logps)[0]


def test_dpo_by_hand():
    values = [torch.tensor([x], dtype=torch.float64) for x in (-1.0, -2.0, -1.5, -1.0)]
    assert dpo_margins(*values).item() == pytest.approx(1.5)
    assert dpo_loss(*values, beta=0.4).item() == pytest.approx(math.log(1 + math.exp(-0.6)), abs=1e-15)


def test_dpo_gradients_and_limits():
    logps, ref, _ = draw()
    chosen, rejected, ref_chosen, ref_rejected = *logps.split(3), *ref.split(3)
    inputs = tuple(x.clone().requires_grad_() for x in (chosen, rejected))
    assert torch.autograd.gradcheck(lambda c, r: dpo_loss(c, r, ref_chosen, ref_rejected, beta=0.4), inputs)
    torch.testing.assert_close(
        dpo_loss(chosen, rejected, chosen, rejected, beta=0.4), torch.full((3,), math.log(2), dtype=torch.float64)
    )
    order = torch.tensor([2, 0, 1])
    got = dpo_loss(*(x[order] for x in (chosen, rejected, ref_chosen, ref_rejected)), beta=0.4)
    assert torch.equal(got, dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.4)[order])
    got = dpo_loss(chosen, rejected, ref_chosen, ref_rejected, beta=0.0)
    assert got.tolist() == pytest.approx([math.log(2)] * 3, abs=1e-15)


@pytest.mark.parametrize("ratio", [1e4, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_dpo_extremes(ratio, dtype):
    chosen = torch.tensor([ratio], dtype=dtype, requires_grad=True)
    loss = dpo_loss(chosen, *torch.zeros(3, 1, dtype=dtype), beta=0.4)
    loss.sum().backward()
    assert loss.item() == pytest.approx(0.0 if ratio > 0 else 4e3)
    assert chosen.grad.item() == pytest.approx(0.0 if ratio > 0 else -0.4)


def test_rewards():
    source = torch.tensor([0.25, 0.5, -torch.inf, 0.5, -torch.inf])
    target = torch.tensor([0.75, 0.25, 0.5, -torch.inf, -torch.inf])
    assert edit_rewards(source, target, reward="margin").tolist() == [0.5, 0.0, 0.5, 0.0, 0.0]
    assert edit_rewards(source, target, reward="score").tolist() == [0.75, 0.25, 0.5, 0.0, 0.0]
    assert edit_rewards(source, target, reward="difference").tolist() == [0.5, -0.25, 0.5, -0.5, 0.0]


@pytest.mark.parametrize(("name", "terms"), [("marge", (-1.5, -2.25)), ("reinforce", (0.5, 0.75))])
def test_weighted_by_hand(name, terms):
    """Ratios 3 and 1: weights 3/4 and 1/4. log pi = -1 and -3 of 1 and 2 tokens, rewards 1/2 and 1/4 (3/4 in MargE's second)."""
    logps = torch.tensor([-1.0, -3.0], dtype=torch.float64)
    ref = logps - torch.tensor([3.0, 1.0], dtype=torch.float64).log()
    rewards = torch.tensor([0.5, 0.75 if name == "marge" else 0.25], dtype=torch.float64)
    lengths = torch.tensor([1, 2])
    weighted, held = 0.75 * terms[0] + 0.25 * terms[1], 2.0 * (1.0 + 1.5) / 2
    for options, expected in (
        ({}, weighted + held),
        ({"weights": "detached"}, weighted + held),
        ({"average": "mean"}, weighted / 2 + held),
        ({"weights": "degenerate"}, sum(terms) / 2 + held),
        ({"weights": "degenerate", "average": "mean"}, sum(terms) / 2 + held),
    ):
        got = shares(name, logps, ref, rewards, lengths, split=(2,), **options).sum().item()
        assert got == pytest.approx(expected, abs=1e-14)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("average", ["sum", "mean"])
@pytest.mark.parametrize("weights", ["gradient", "detached"])
@pytest.mark.parametrize("split", [(6,), (1,) * 6, (2, 4), (3, 1, 2)])
def test_shares_add_up_to_the_equation(name, average, weights, split):
    logps, ref, rewards = draw()
    options = {"average": average, "weights": weights}
    value, got = gradient(lambda x: shares(name, x, ref, rewards, split=split, **options).sum(), logps)
    expected, want = gradient(
        lambda x: plain(name, x, ref, rewards, average=average, detached=weights == "detached"), logps
    )
    assert value.item() == pytest.approx(expected.item(), abs=1e-14)
    torch.testing.assert_close(got, want, rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("average", ["sum", "mean"])
def test_finite_differences(name, average):
    """The normaliser is computed anew for each perturbed batch, so this is the derivative of the whole objective."""
    logps, ref, rewards = draw()
    assert torch.autograd.gradcheck(
        lambda x: shares(name, x, ref, rewards, average=average).sum(), (logps.requires_grad_(),)
    )


@pytest.mark.parametrize("name", WEIGHTED)
def test_order_does_not_matter(name):
    logps, ref, rewards = draw()
    order = torch.tensor([3, 5, 0, 1, 4, 2])
    got = shares(name, logps[order], ref[order], rewards[order], LENGTHS[order])
    torch.testing.assert_close(got, shares(name, logps, ref, rewards)[order], rtol=0, atol=1e-14)


def test_policy_is_reference():
    """Uniform weights: the sum is the plain mean, all examples count."""
    logps, _, rewards = draw()
    sums = weight_sums(torch.zeros(6).double(), marge_terms(logps, LENGTHS, rewards), shift=torch.zeros(()).double())
    log_normaliser, baseline, effective = normaliser(sums, shift=torch.zeros(()).double())
    assert log_normaliser.item() == pytest.approx(math.log(6))
    assert baseline.item() == pytest.approx(marge_terms(logps, LENGTHS, rewards).mean().item())
    assert effective.item() == pytest.approx(6)


@pytest.mark.parametrize("name", WEIGHTED)
def test_a_large_lambda_is_sft(name):
    """The gradient divided by lambda goes to that of the mean negative log-likelihood a token."""
    logps, ref, rewards = draw()
    sft = -1 / (6 * LENGTHS.double())
    errors = [
        (gradient(lambda x, s=strength: shares(name, x, ref, rewards, lambda_=s).sum(), logps)[1] / strength - sft)
        .abs()
        .max()
        for strength in (1e2, 1e4, 1e6)
    ]
    assert errors[0] > 10 * errors[1] > 100 * errors[2]
    assert errors[2] < 1e-5


def test_equal_rewards_draw_nowhere_in_marge():
    """Self-normalised weights sum to 1, so a constant reward moves the loss and not the gradient."""
    logps, ref, rewards = draw()
    same, shifted = (
        gradient(lambda x, r=r: shares("marge", x, ref, r).sum(), logps) for r in (0 * rewards, 0 * rewards + 3)
    )
    assert (same[0] - shifted[0]).item() == pytest.approx(3)
    torch.testing.assert_close(same[1], shifted[1], rtol=0, atol=1e-14)


@pytest.mark.parametrize("name", WEIGHTED)
def test_rewards_act_by_their_scale(name):
    logps, ref, rewards = draw()
    zero, one, three = (
        gradient(lambda x, k=k: shares(name, x, ref, k * rewards).sum(), logps)[1] for k in (0.0, 1.0, 3.0)
    )
    assert (one - zero).abs().max() > 1e-3
    torch.testing.assert_close(three - zero, 3 * (one - zero), rtol=0, atol=1e-13)


@pytest.mark.parametrize("weights", ["degenerate", "detached"])
def test_controls_have_no_reward_gradient_in_marge(weights):
    logps, ref, rewards = draw()
    one, other = (
        gradient(lambda x, r=r: shares("marge", x, ref, r, weights=weights).sum(), logps)[1]
        for r in (rewards, 7 * rewards.flip(0))
    )
    if weights == "detached":
        terms = torch.softmax(logps - ref, 0) / LENGTHS - 2.0 / (6 * LENGTHS.double())
        torch.testing.assert_close(one, terms, rtol=0, atol=1e-14)
    else:
        torch.testing.assert_close(one, (1 - 2.0) / (6 * LENGTHS.double()), rtol=0, atol=1e-14)
    assert torch.equal(one, other)


@pytest.mark.parametrize("name", WEIGHTED)
@pytest.mark.parametrize("weights", ["gradient", "detached", "degenerate"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("ratios", [(1e4, -1e4, 0.0), (-1e4, -1e4, -1e4), (1e4, 1e4, 9e3)])
def test_weighted_extremes(name, weights, dtype, ratios):
    """Log-ratios of +-1e4 on either side: of the policy, of the reference."""
    lengths, rewards = torch.tensor([2, 3, 4]), torch.tensor([0.5, 0.0, 1.0], dtype=dtype)
    ratios = torch.tensor(ratios, dtype=dtype)
    for logps, ref in ((ratios, 0 * ratios), (0 * ratios, -ratios)):
        value, grad = gradient(
            lambda x, ref=ref: shares(name, x, ref, rewards, lengths, split=(2, 1), weights=weights).sum(), logps
        )
        assert torch.isfinite(value)
        assert torch.isfinite(grad).all()
        if weights == "gradient":
            want = gradient(functools.partial(plain, name, ref=ref, rewards=rewards, lengths=lengths), logps)[1]
            torch.testing.assert_close(grad, want, rtol=1e-4 if dtype == torch.float32 else 1e-10, atol=1e-4)


def test_weights_alone():
    """Terms without gradient: dT = w~ (g - G) ds."""
    s = torch.tensor([0.0, math.log(3.0)], dtype=torch.float64, requires_grad=True)
    terms = torch.tensor([1.0, 5.0], dtype=torch.float64)
    z, baseline, _ = normaliser(weight_sums(s.detach(), terms, shift=s.detach().max()), shift=s.detach().max())
    got = weighted_shares(s, terms, log_normaliser=z, baseline=baseline, count=2)
    assert got.tolist() == pytest.approx([0.25, 3.75])
    assert torch.autograd.grad(got.sum(), s)[0].tolist() == pytest.approx([0.25 * (1 - 4), 0.75 * (5 - 4)])
