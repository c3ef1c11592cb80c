"""The ensemble: looked-up scores are those of the convolution, whatever the size of a pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from surrogate_fixtures import swap_each

from llome.surrogate import network
from llome.surrogate.network import Ensemble, filter_width


@pytest.mark.parametrize(("num_states", "length"), [(4, 2), (5, 9), (32, 32), (8, 128)])
def test_scores_are_the_predictions(num_states: int, length: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ensemble = Ensemble(num_states, length, members=2, filters=8, random_seed=1)
    with torch.no_grad():
        ensemble.threshold.add_(0.3 * torch.randn(ensemble.threshold.shape, generator=torch.Generator().manual_seed(0)))
        ensemble.mix_bias.add_(0.1)
    sequences = np.random.default_rng(0).integers(0, num_states, (50, length)).astype(np.int16)
    with torch.no_grad():
        expected = ensemble(torch.from_numpy(sequences.astype(np.int64)).expand(2, -1, -1)).numpy()[..., 0]
    assert expected.std(axis=1).min() > 1e-3  # the check below is of something
    for block in (network.BLOCK, 3 * 8 * length, 1):
        monkeypatch.setattr(network, "BLOCK", block)
        for member in range(2):
            np.testing.assert_allclose(ensemble.score(member, sequences), expected[member], rtol=0, atol=2e-6)
    assert ensemble.score(0, sequences[:0]).shape == (0,)


@pytest.mark.parametrize("outputs", [1, 2])
@pytest.mark.parametrize(("num_states", "length"), [(4, 2), (5, 9), (32, 32), (8, 128)])
def test_scores_of_swaps_are_those_of_the_swapped(
    num_states: int, length: int, outputs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensemble = Ensemble(num_states, length, members=2, filters=16, random_seed=1, outputs=outputs).double()
    with torch.no_grad():
        for parameter in ensemble.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, num_states, (9, length)).astype(np.int16)
    elements = (sequences + rng.integers(0, num_states, sequences.shape)) % num_states
    swapped = swap_each(sequences, elements)
    for block in (network.BLOCK, 3 * 16 * length * filter_width(length), 1):
        monkeypatch.setattr(network, "BLOCK", block)
        for member in range(2):
            expected = ensemble.score(member, swapped).reshape(sequences.shape)
            assert expected.std(axis=1).min() > 1e-3
            found = ensemble.score_swaps(member, sequences, elements)
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    assert ensemble.score_swaps(0, sequences[:0], elements[:0]).shape == (0, length)


@pytest.mark.parametrize("few", [0, 64])
def test_a_member_is_the_plain_network(few: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against torch's own convolution with its weights, members one by one or together: answers and gradients."""
    monkeypatch.setattr(network, "FEW", few)
    net = Ensemble(8, 16, members=2, filters=16, random_seed=0, outputs=2).double()
    rows = torch.randint(0, 8, (7, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1))
    described = net.element[1][rows].transpose(1, 2) + net.place[1]
    best = torch.conv1d(described, net.pattern[1], net.threshold[1], padding=4).relu().amax(dim=2)
    mixed = torch.relu(best @ net.mix_in[1] + net.mix_bias[1])
    pairs = network.PAIR * sum(net.pair[1][8 * rows[:, i] + rows[:, i + 1]] for i in range(15))
    expected = best @ net.direct[1] + mixed @ net.mix_out[1] + net.offset[1] + torch.stack([0 * pairs, pairs], dim=1)
    found = net(torch.stack([rows.flip(0), rows]))[1]
    torch.testing.assert_close(found, expected)
    assert net.answers(1, rows.numpy()) == pytest.approx(expected.detach().numpy())
    assert net.score(1, rows.numpy()) == pytest.approx(expected[:, 0].detach().numpy())
    towards = torch.randn(7, 2, generator=torch.Generator().manual_seed(2)).double()
    gradients = (torch.autograd.grad((y * towards).sum(), list(net.parameters())) for y in (found, expected))
    for ours, plain in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, plain)


def test_what_pairs_say_begins_at_their_counts() -> None:
    """A pair that infeasible sequences alone have counts against one, as often as it is in more of them; others, and repeats, do not."""
    net = Ensemble(3, 4, members=2, filters=4, random_seed=0, outputs=2)
    rows = np.array([[0, 1, 0, 1], [1, 1, 1, 1], [0, 2, 1, 0], [0, 2, 0, 2], [1, 0, 2, 2]], dtype=np.int16)
    feasible = np.array([True, True, False, False, False])
    net.begin(rows, feasible)
    found = (network.PAIR * net.pair).detach().numpy().reshape(2, 3, 3)
    assert found[1].tolist() == found[0].tolist()
    assert found[0, 0, 2] == pytest.approx(np.log((0.5 / 3) / (3.5 / 4)))  # in none of two, and in three of three
    assert found[0, 1, 0] == pytest.approx(min(0, np.log((1.5 / 3) / (2.5 / 4))))
    assert found[0, 1, 1] == 0  # a pair of feasible ones
    assert found[0, 0, 0] == 0  # never seen
    before = net.pair.clone()
    net.begin(rows, ~feasible)  # what has learnt goes on from there
    assert torch.equal(net.pair, before)
    alike = Ensemble(3, 4, members=2, filters=4, random_seed=0, outputs=2)
    alike.begin(rows, np.ones(5, dtype=bool))  # nothing to tell apart
    assert not alike.pair.any()


def test_a_filter_is_odd_and_sees_a_quarter() -> None:
    assert [filter_width(length) for length in (2, 8, 18, 32, 64, 128)] == [1, 5, 9, 9, 17, 33]
