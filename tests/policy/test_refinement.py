"""Algorithm 3: counts, the choice of the next input, the temperature rule, shards and interruptions."""

import numpy as np
import pytest

from llome.codec import SequenceCodec
from llome.domain import Domain
from llome.policy.refinement import adjusted_temperatures, refine_sequences
from llome.policy.sampling import Sampler, row_tokens


@pytest.mark.parametrize(
    ("hamming", "increment"),
    [(None, 0), (0.0, 0.6), (0.0749, 0.6), (0.075, 0.4), (0.0999, 0.4), (0.1, 0.2), (0.1499, 0.2), (0.15, 0), (0.9, 0)],
)
def test_temperature_rule(hamming, increment):
    assert adjusted_temperatures([0.6, 1.6], hamming) == pytest.approx([0.6 + increment, 1.6 + increment])


@pytest.fixture
def sampler(compact_policy):
    model, tokenizer = compact_policy
    codec = SequenceCodec(tokenizer, Domain(6, 5, ""))
    return Sampler(model, codec, max_batch_tokens=16 * row_tokens(codec))


def run(sampler, seeds, **options):
    options = {"temperatures": [0.8, 1.4], "iterations": 3, "num_samples": 4, "random_seed": 9} | options
    return refine_sequences(sampler, seeds, **options)


def test_every_iteration_edits_the_likeliest_valid_output_of_the_last(sampler):
    seeds = np.random.default_rng(0).integers(0, 6, (5, 5))
    edits = run(sampler, seeds)
    assert len(edits.sequence) == 5 * (1 + 2 * 4) * 3
    for trajectory in range(15):
        mine = edits.trajectory == trajectory
        seed, kind = divmod(trajectory, 3)
        assert set(edits.temperature[mine]) == {np.float32([0, 0.8, 1.4][kind])}
        expected = seeds[seed]
        for step in range(3):
            rows = np.flatnonzero(mine & (edits.step == step))
            assert len(rows) == (1 if kind == 0 else 4)
            assert (edits.source[rows] == expected).all()
            valid = rows[edits.parsed[rows]]
            if len(valid):
                expected = edits.sequence[valid[edits.logp_sum[valid].argmax()]]
    assert (edits.sequence[~edits.parsed] == -1).all()
    assert 0 < edits.parsed.mean() < 1


def test_best_of_the_trajectory_never_gets_less_likely(sampler):
    edits = run(sampler, np.random.default_rng(1).integers(0, 6, (6, 5)), next_input="trajectory", iterations=4)
    best: dict[int, float] = {}
    inputs: dict[int, np.ndarray] = {}
    for step in range(4):
        for trajectory in range(18):
            rows = np.flatnonzero((edits.trajectory == trajectory) & (edits.step == step))
            if trajectory in inputs:
                assert (edits.source[rows] == inputs[trajectory]).all()
            valid = rows[edits.parsed[rows]]
            inputs.setdefault(trajectory, edits.source[rows[0]])
            if len(valid) and edits.logp_sum[valid].max() > best.get(trajectory, -np.inf):
                best[trajectory] = edits.logp_sum[valid].max()
                inputs[trajectory] = edits.sequence[valid[edits.logp_sum[valid].argmax()]]


def test_shards_of_the_seeds_make_the_same_edits(sampler):
    seeds = np.random.default_rng(2).integers(0, 6, (7, 5))
    whole, head, tail = run(sampler, seeds), run(sampler, seeds[:3]), run(sampler, seeds[3:], first_seed=3)
    rows = {(t, s): [] for t in range(21) for s in range(3)}
    for part in (head, tail):
        for i in range(len(part.sequence)):
            rows[part.trajectory[i], part.step[i]].append(part.sequence[i])
    for (trajectory, step), sequences in rows.items():
        np.testing.assert_array_equal(
            whole.sequence[(whole.trajectory == trajectory) & (whole.step == step)], sequences
        )


def test_an_interrupted_refinement_ends_the_same_and_repeats_no_iteration(sampler, tmp_path, monkeypatch):
    seeds = np.random.default_rng(3).integers(0, 6, (4, 5))
    expected = run(sampler, seeds)
    calls = []
    sample = Sampler.sample_groups

    def failing(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:  # one call an iteration
            raise RuntimeError("power cut")
        return sample(self, *args, **kwargs)

    monkeypatch.setattr(Sampler, "sample_groups", failing)
    with pytest.raises(RuntimeError, match="power cut"):
        run(sampler, seeds, scratch=tmp_path / "state")
    resumed = run(sampler, seeds, scratch=tmp_path / "state")
    assert len(calls) == 2 + 2
    for name, value in vars(expected).items():
        np.testing.assert_array_equal(getattr(resumed, name), value, err_msg=name)


@pytest.mark.parametrize("next_input", ["iteration", "trajectory"])
def test_a_judge_says_what_is_best_of_an_iteration_at_once(compact_policy, tmp_path, next_input):
    """It is asked once an iteration but the last, for what could be parsed; interrupted runs end the same."""
    model, tokenizer = compact_policy
    sampler = Sampler(model, SequenceCodec(tokenizer, Domain(6, 5, "")), grammar=True)
    asked = []

    def judge(sequences, step):
        asked.append((step, len(sequences)))
        return sequences.sum(axis=1).astype(np.float64)

    seeds = np.random.default_rng(0).integers(0, 6, (5, 5))
    edits = run(sampler, seeds, judge=judge, next_input=next_input)
    assert asked == [(step, int(edits.parsed[edits.step == step].sum())) for step in range(2)]
    for trajectory in range(15):
        expected, best = seeds[trajectory // 3], -np.inf
        for step in range(3):
            rows = np.flatnonzero((edits.trajectory == trajectory) & (edits.step == step))
            assert (edits.source[rows] == expected).all()
            valid = rows[edits.parsed[rows]]
            if next_input == "iteration":
                best = -np.inf
            sums = edits.sequence[valid].sum(axis=1)
            if len(valid) and sums.max() > best:
                expected, best = edits.sequence[valid[sums.argmax()]], sums.max()

    def failing(sequences, step):
        if step == 1:
            raise KeyboardInterrupt
        return judge(sequences, step)

    with pytest.raises(KeyboardInterrupt):
        run(sampler, seeds, judge=failing, next_input=next_input, scratch=tmp_path)
    asked.clear()
    again = run(sampler, seeds, judge=judge, next_input=next_input, scratch=tmp_path)
    assert [step for step, _ in asked] == [1]
    np.testing.assert_array_equal(again.sequence, edits.sequence)
