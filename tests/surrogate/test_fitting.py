"""What an ensemble learns: the target, the rows, its members apart, and that it foresees scores it has not seen."""

import numpy as np
import pytest
import torch

from llome.scoring import Ehrlich
from llome.surrogate.fitting import fit
from llome.surrogate.network import Ensemble, filter_width
from llome.surrogate.targets import Target, mean_score, rank_correlation, row_weights


def test_products_are_learnt_as_sums():
    scores = np.array([0.0, 0.25, 1.0])
    target = Target.of(scores)
    floor = np.log(0.25) - 1
    raw = np.array([floor, np.log(0.25), 0.0])
    assert target.logarithmic
    assert target.floor == pytest.approx(floor)
    assert target.standardise(scores) == pytest.approx((raw - raw.mean()) / raw.std())


@pytest.mark.parametrize("scores", [[-1.0, 0.0, 4.0], [0.0, 0.0]])
def test_other_scores_are_learnt_as_they_are(scores):
    target = Target.of(np.array(scores))
    assert not target.logarithmic
    scale = np.std(scores) or 1.0
    assert target.standardise(np.array(scores)) == pytest.approx((np.array(scores) - np.mean(scores)) / scale)


def test_rare_scores_new_rows_and_what_is_not_learnt_are_drawn_more_often():
    scores, rounds = np.array([1.0, 1.0, 1.0, 2.0]), np.array([0, 0, 1, 0])
    weights = row_weights(scores, rounds, np.array([1.0, -3.0, 0.0, 0.0]))
    assert weights.sum() == pytest.approx(1)
    alike = np.array([1 / 4 + 1 / 6, 1 / 4 + 1 / 6, 1 / 4 + 1 / 6 + 1, 1 / 4 + 1 / 2])
    assert weights == pytest.approx((alike + np.array([0.1, 0.9, 0.0, 0.0])) / 4)
    assert row_weights(scores, rounds, np.zeros(4)) == pytest.approx((alike + 1 / 4) / 4)


def test_filters_are_odd_and_no_wider_than_short_sequences():
    assert [filter_width(length) for length in (4, 10, 16, 32, 128)] == [3, 5, 9, 9, 33]


@pytest.fixture(scope="module")
def problem():
    """Mutants of a good sequence of a small function, feasible ones, in two halves."""
    function = Ehrlich(num_states=8, dim=16, num_motifs=2, motif_length=4, quantization=4, random_seed=3)
    rng = np.random.default_rng(0)
    rows = np.tile(function.optimal_solution(), (6000, 1))
    mask = rng.random(rows.shape) < 0.2
    rows[mask] = rng.integers(0, 8, mask.sum())
    rows = np.unique(rows, axis=0)
    scores = function.score(rows)
    rows, scores = rows[np.isfinite(scores)], scores[np.isfinite(scores)]
    order = rng.permutation(len(rows))
    return rows[order], scores[order]


def ensemble(seed=0):
    return Ensemble(8, 16, members=2, filters=16, random_seed=seed)


def fitted(problem, *, steps=200, seed=1):
    rows, scores = (part[: len(problem[0]) // 2] for part in problem)
    net = ensemble()
    weights = row_weights(scores, np.zeros(len(scores)), np.zeros(len(scores)))
    error = fit(
        net,
        rows,
        scores,
        weights,
        target=Target.of(scores),
        steps=steps,
        batch_size=64,
        learning_rate=3e-3,
        random_seed=seed,
    )
    return net, error


def test_it_foresees_scores_it_has_not_seen(problem):
    rows, scores = (part[len(problem[0]) // 2 :] for part in problem)
    assert len(rows) > 200
    net, error = fitted(problem)
    before, after = (rank_correlation(mean_score(one, rows), scores) for one in (ensemble(), net))
    assert abs(before) < 0.4
    assert after > 0.8
    assert error < 0.3


def test_the_seed_decides_and_members_differ(problem):
    first, again, other = (fitted(problem, steps=5, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(value, again[name]) for name, value in first.items())
    assert any(not torch.equal(value, other[name]) for name, value in first.items())
    assert not torch.equal(first["element"][0], first["element"][1])


def test_members_share_nothing():
    net = ensemble()
    rows = torch.randint(0, 8, (2, 5, 16), generator=torch.Generator().manual_seed(0))
    net(rows)[1].sum().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad[0].abs().max() == 0, name
        assert parameter.grad[1].abs().max() > 0, name


def test_the_rank_correlation_of_what_varies():
    assert rank_correlation(np.array([1.0, 2.0, 3.0, 4.0]), np.array([10.0, 20.0, 40.0, 30.0])) == pytest.approx(0.8)
    assert rank_correlation(np.arange(5.0), np.ones(5)) is None
    assert rank_correlation(np.arange(1.0), np.ones(1)) is None


def test_several_threads_give_the_same_bytes_as_one(problem):
    """The gradient of a lookup is a sum over threads, and its order must not matter."""
    rows, scores = (part[:1000] for part in problem)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 2):
            torch.set_num_threads(threads)
            net = Ensemble(8, 16, members=2, filters=64, random_seed=0)
            weights = np.full(len(scores), 1.0)
            settings = {"target": Target.of(scores), "steps": 5, "batch_size": 256, "learning_rate": 3e-3}
            fit(net, rows, scores, weights, **settings, random_seed=1)
            found.append(torch.cat([p.detach().flatten() for p in net.parameters()]).numpy())
    finally:
        torch.set_num_threads(before)
    np.testing.assert_array_equal(found[1], found[2])
    np.testing.assert_array_equal(found[0], found[1])
