"""The engine against plain forward passes of the same model: tokens, log-probabilities, distributions, invariances."""

import numpy as np
import pytest
import torch

from llome.codec import SequenceCodec
from llome.domain import Domain
from llome.draws import row_keys, uniforms
from llome.errors import PolicyError
from llome.policy import neox, sampling
from llome.policy.passes import passes_of
from llome.policy.sampling import Sampler, row_tokens
from llome.policy.tree import TreeCache


def full_forward_logps(model, codec, prompt, completion_ids):
    """Log-probability of each completion token by one plain pass without a cache."""
    prompt_ids = codec.encode_prompts(prompt[None])[0][0]
    ids = torch.tensor(np.concatenate([prompt_ids, completion_ids]))[None]
    with torch.inference_mode():
        logits = model(input_ids=ids).logits[0]
    return torch.log_softmax(logits, -1)[len(prompt_ids) - 1 : -1].gather(1, torch.tensor(completion_ids)[:, None])[
        :, 0
    ]


@pytest.fixture
def compact(compact_policy):
    model, tokenizer = compact_policy
    return model, SequenceCodec(tokenizer, Domain(6, 5, ""))


@pytest.fixture
def modules(compact_policy, monkeypatch):
    """The same policy, run by transformers' modules."""
    monkeypatch.setattr(neox, "is_foldable", lambda model: False)
    model, tokenizer = compact_policy
    return model, SequenceCodec(tokenizer, Domain(6, 5, ""))


class Watched:
    """Passes that report the number of rows of each to `see` first."""

    def __init__(self, passes, see):
        self.passes, self.see = passes, see

    def read(self, ids, mask):
        self.see(len(ids))
        return self.passes.read(ids, mask)

    def write(self, tokens, *args):
        self.see(len(tokens))
        return self.passes.write(tokens, *args)


@pytest.fixture
def watch(monkeypatch):
    """A function that sets what sees the rows of every pass from now on."""
    return lambda see: monkeypatch.setattr(sampling, "passes_of", lambda *args: Watched(passes_of(*args), see))


@pytest.fixture
def text(text_policy):
    model, tokenizer = text_policy
    return model, SequenceCodec(tokenizer, Domain(12, 5, ""))


@pytest.mark.parametrize("which", ["compact", "modules", "text"])
@pytest.mark.parametrize("grammar", [False, True])
def test_tokens_and_log_probabilities_match_plain_forward_passes(which, grammar, request):
    model, codec = request.getfixturevalue(which)
    prompts = np.random.default_rng(0).integers(0, codec.num_states, (6, 5))
    temperatures = np.array([0.0, 0.7, 1.0, 1.5, 2.0, 0.0])
    keys = row_keys(0, np.arange(6)[:, None], np.arange(3)[None])
    sampler = Sampler(model, codec, grammar=grammar, max_batch_tokens=9 * row_tokens(codec))
    samples = sampler.sample(prompts, temperatures, keys)
    ids = samples.tokens
    drawn = uniforms(keys, sampler.max_tokens)
    assert samples.num_tokens.min() >= 1
    if grammar:
        assert samples.parsed.all()
    for p in range(6):
        for j in range(3):
            row = ids[p, j, : samples.num_tokens[p, j]]
            assert (row[:-1] != codec.end_id).all()
            logps = full_forward_logps(model, codec, prompts[p], row)
            assert samples.logp_sum[p, j] == pytest.approx(float(logps.sum()), abs=1e-9)
            assert samples.logp_mean[p, j] == pytest.approx(float(logps.mean()), abs=1e-9)
            if temperatures[p] == 0 and not grammar:  # greedy: no token is likelier
                assert_greedy(model, codec, prompts[p], row)
            elif not grammar:
                assert_inverse_transform(model, codec, prompts[p], row, temperatures[p], drawn[p, j])


def logits_of(model, codec, prompt, row):
    prompt_ids = codec.encode_prompts(prompt[None])[0][0]
    with torch.inference_mode():
        return model(input_ids=torch.tensor(np.concatenate([prompt_ids, row]))[None]).logits[
            0, len(prompt_ids) - 1 : -1
        ]


def assert_greedy(model, codec, prompt, row):
    np.testing.assert_array_equal(logits_of(model, codec, prompt, row).argmax(-1).numpy(), row)


def assert_inverse_transform(model, codec, prompt, row, temperature, drawn):
    cumulative = torch.softmax(logits_of(model, codec, prompt, row) / temperature, -1).cumsum(-1).numpy()
    for t, token in enumerate(row):
        assert (cumulative[t, token - 1] if token else 0) <= drawn[t] + 1e-9
        assert drawn[t] <= cumulative[t, token] + 1e-9


@pytest.mark.parametrize("which", ["compact", "modules", "text"])
def test_batches_order_and_company_change_nothing_in_float64(which, request):
    model, codec = request.getfixturevalue(which)
    rng = np.random.default_rng(1)
    prompts, temperatures = rng.integers(0, codec.num_states, (8, 5)), rng.choice([0.0, 0.8, 1.6], 8)
    keys = row_keys(5, np.arange(8)[:, None], np.arange(4)[None])
    whole = Sampler(model, codec, max_batch_tokens=32 * row_tokens(codec)).sample(prompts, temperatures, keys)
    small = Sampler(model, codec, max_batch_tokens=1).sample(prompts, temperatures, keys)
    order = rng.permutation(8)
    shuffled = Sampler(model, codec, max_batch_tokens=12 * row_tokens(codec)).sample(
        prompts[order], temperatures[order], keys[order]
    )
    np.testing.assert_array_equal(whole.sequences, small.sequences)
    np.testing.assert_array_equal(whole.sequences[order], shuffled.sequences)
    np.testing.assert_allclose(whole.logp_sum, small.logp_sum, rtol=0, atol=1e-10)
    np.testing.assert_allclose(whole.logp_sum[order], shuffled.logp_sum, rtol=0, atol=1e-10)


@pytest.mark.parametrize("which", ["compact", "modules", "text"])
def test_the_number_of_threads_changes_nothing_in_float64(which, request):
    model, codec = request.getfixturevalue(which)
    prompts = np.random.default_rng(4).integers(0, codec.num_states, (40, 5))
    keys = row_keys(8, np.arange(40)[:, None], np.arange(4)[None])
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            found.append(Sampler(model, codec).sample(prompts, np.full(40, 1.2), keys))
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        np.testing.assert_array_equal(other.tokens, found[0].tokens)
        np.testing.assert_allclose(other.logp_sum, found[0].logp_sum, rtol=0, atol=1e-10)


@pytest.mark.parametrize("grammar", [False, True])
def test_groups_change_nothing_in_float64(compact, grammar):
    """Rows of several groups share prompts. The model's own settings are left alone."""
    model, codec = compact
    rng = np.random.default_rng(2)
    prompts = rng.integers(0, codec.num_states, (6, 5))
    groups = [
        (
            prompts[rng.integers(6, size=rows)],
            rng.choice([0.0, 1.0], rows),
            row_keys(3, n, np.arange(rows)[:, None], np.arange(n)),
        )
        for rows, n in ((5, 1), (12, 3))
    ]
    before, seen = model.config._attn_implementation, []
    alone = [
        Sampler(model, codec, grammar=grammar, max_batch_tokens=6 * row_tokens(codec)).sample(*group)
        for group in groups
    ]
    one = Sampler(model, codec, grammar=grammar, max_batch_tokens=6 * row_tokens(codec)).sample_groups(
        groups, progress=seen.append
    )
    assert model.config._attn_implementation == before
    assert seen == [6, 6, 6, 6, 6, 6, 5]  # 41 rows
    for first, second in zip(alone, one, strict=True):
        np.testing.assert_array_equal(first.tokens, second.tokens)
        np.testing.assert_allclose(first.logp_sum, second.logp_sum, rtol=0, atol=1e-10)


@pytest.mark.parametrize("which", ["compact", "modules", "text"])
def test_rows_that_have_written_the_same_are_computed_once(which, request, watch):
    """Counted in rows of the passes: equal rows cost one, and what they hold is that of each alone."""
    model, codec = request.getfixturevalue(which)
    computed = []
    watch(computed.append)
    prompts = np.array([[1, 2, 3, 4, 5 % codec.num_states]] * 8 + [[0, 0, 0, 0, 0]])
    keys = row_keys(9, np.zeros((9, 1), dtype=int), np.arange(3)[None])  # all prompts draw alike
    temperatures = np.full(9, 1.0)
    together = Sampler(model, codec).sample(prompts, temperatures, keys)
    assert computed[0] == 2  # prompts
    assert max(computed) <= 2 * 3  # draws of each, at most
    for row in (0, 8):
        apart = Sampler(model, codec).sample(prompts[row : row + 1], temperatures[:1], keys[:1])
        np.testing.assert_array_equal(together.tokens[row], apart.tokens[0])
        np.testing.assert_allclose(together.logp_sum[row], apart.logp_sum[0], rtol=0, atol=1e-10)
    assert (together.tokens[:8] == together.tokens[:1]).all()


@pytest.mark.parametrize("which", ["compact", "modules", "text"])
def test_a_prompt_of_many_rows_widens_no_others_table(which, request, monkeypatch):
    """Where trajectories meet, a prompt has many times the rows of others: places in the table stay within twice the rows."""
    model, codec = request.getfixturevalue(which)
    places, start = [], TreeCache._place

    def noted(self):
        start(self)
        places.append(sum(size * columns for size, columns in zip(self.sizes, self.columns, strict=True)))

    monkeypatch.setattr(TreeCache, "_place", noted)
    rng = np.random.default_rng(6)
    prompts = np.unique(rng.integers(0, codec.num_states, (30, 5)), axis=0)[:20]
    prompts = prompts[rng.permutation(np.concatenate([np.arange(20), np.full(40, 3), np.full(9, 7)]))]
    keys = row_keys(2, np.arange(69)[:, None], np.arange(2)[None])
    together = Sampler(model, codec).sample(prompts, np.full(69, 3.0), keys)
    assert max(places) <= 2 * 138, places
    assert max(places) > 60  # they part
    for row in range(0, 69, 7):
        apart = Sampler(model, codec).sample(prompts[row : row + 1], np.full(1, 3.0), keys[row : row + 1])
        np.testing.assert_array_equal(together.tokens[row], apart.tokens[0])
        np.testing.assert_allclose(together.logp_sum[row], apart.logp_sum[0], rtol=0, atol=1e-10)


def failing(error, most):
    """What fails in a pass of more than `most` rows."""

    def see(rows):
        if rows > most:
            raise error

    return see


def test_a_failure_in_a_batch_is_the_samplers(compact, watch):
    model, codec = compact
    watch(failing(RuntimeError("no such kernel"), 0))
    with pytest.raises(RuntimeError, match="no such kernel"):
        Sampler(model, codec).sample(np.zeros((8, 5), dtype=int), np.ones(8), row_keys(3, np.arange(8)[:, None]))


def test_a_batch_that_does_not_fit_goes_on_in_halves_to_the_same_rows(compact, watch, capsys):
    model, codec = compact
    case = np.arange(40).reshape(8, 5) % 6, np.ones(8), row_keys(3, np.arange(8)[:, None], np.arange(3)[None])
    whole = Sampler(model, codec).sample(*case)
    watch(failing(torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."), 2))
    halved = Sampler(model, codec, max_batch_tokens=12 * row_tokens(codec)).sample(*case)
    np.testing.assert_array_equal(halved.tokens, whole.tokens)
    np.testing.assert_allclose(halved.logp_sum, whole.logp_sum, rtol=0, atol=1e-10)
    assert "12 completions at once do not fit into the memory of cpu: going on with halves" in capsys.readouterr().err
    watch(failing(RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), 0))
    with pytest.raises(PolicyError, match="too little memory left to write a single completion"):
        Sampler(model, codec).sample(*case)


def test_samples_follow_the_tempered_distribution(compact):
    model, codec = compact
    prompt = np.array([[1, 2, 3, 4, 5]])
    n, temperature = 4000, 1.3
    samples = Sampler(model, codec, grammar=True).sample(
        prompt, np.array([temperature]), row_keys(2, np.zeros((1, 1), int), np.arange(n)[None])
    )
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor(codec.encode_prompts(prompt)[0])).logits[0, -1]
    expected = torch.softmax(logits[torch.tensor(codec.elements)] / temperature, -1).numpy() * n
    counts = np.bincount(samples.sequences[0, :, 0], minlength=6)
    likely = expected > 5
    assert ((counts - expected)[likely] ** 2 / expected[likely]).sum() < 5 + 5 * np.sqrt(10)
    assert (samples.sequences[0] >= 0).all()


def test_a_model_outside_the_attention_interface_is_refused(compact):
    with pytest.raises(PolicyError, match="attention interface"):
        Sampler(torch.nn.Linear(1, 1), compact[1])
