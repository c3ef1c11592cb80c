"""Lengths may differ: the grammar lets a completion end from the shortest length on, and the engine samples the ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from lengths import draw_sequences

from llome.codec import SequenceCodec, format_sequence
from llome.domain import Domain
from llome.draws import row_keys
from llome.policy.grammar import Grammar
from llome.policy.sampling import Sampler, row_tokens


def accepted(grammar: Grammar, ids: list[int]) -> bool:
    states = grammar.start(np.zeros((1, 1)))
    for token in ids:
        if not grammar.allowed(states)[0, token]:
            return False
        states = grammar.advance(states, torch.tensor([token]))
    return True


@pytest.mark.parametrize(("shortest", "length"), [(1, 5), (3, 5), (4, 5), (5, 5), (2, 9)])
@pytest.mark.parametrize("kind", ["compact", "text"])
def test_completions_of_these_lengths_and_no_others(kind, shortest, length, compact_policy, text_policy):
    tokenizer = (compact_policy if kind == "compact" else text_policy)[1]
    codec = SequenceCodec(tokenizer, Domain(6, length, "", shortest=shortest))
    grammar = Grammar(codec, len(tokenizer) + 3)
    for count in range(1, length + 3):
        ids = tokenizer(format_sequence(np.arange(count) % 6), add_special_tokens=False)["input_ids"]
        assert accepted(grammar, [*ids, codec.end_id]) == (shortest <= count <= length), count


@pytest.fixture(params=["compact", "text"])
def policy(request):
    model, tokenizer = request.getfixturevalue(f"{request.param}_policy")
    return model, SequenceCodec(tokenizer, Domain(6, 5, "", shortest=2))


def test_sampled_lengths_differ_and_likelihoods_are_the_policys(policy):
    model, codec = policy
    prompts = draw_sequences(12, codec.domain)
    temperatures = np.where(np.arange(12) % 3, 2.5, 0.0)
    keys = row_keys(0, np.arange(12)[:, None], np.arange(40)[None])
    samples = Sampler(model, codec, grammar=True).sample(prompts, temperatures, keys)
    assert samples.parsed.all()
    lengths = (samples.sequences >= 0).sum(axis=2)
    assert set(lengths.ravel().tolist()) == {2, 3, 4, 5}
    for p, j in [(0, 0), (1, 3), (5, 7), (10, 39)]:
        ids = samples.tokens[p, j, : samples.num_tokens[p, j]]
        prompt = codec.encode_prompts(prompts[p : p + 1])[0][0]
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor(np.concatenate([prompt, ids]))[None]).logits[0, len(prompt) - 1 : -1]
        logps = torch.log_softmax(logits, -1).gather(1, torch.tensor(ids)[:, None])
        assert samples.logp_sum[p, j] == pytest.approx(float(logps.sum()), abs=1e-9)


def test_batches_change_nothing_in_float64(policy):
    model, codec = policy
    prompts = draw_sequences(9, codec.domain, seed=1)
    keys = row_keys(5, np.arange(9)[:, None], np.arange(4)[None])
    found = [
        Sampler(model, codec, grammar=True, max_batch_tokens=rows * row_tokens(codec)).sample(
            prompts, np.full(9, 1.5), keys
        )
        for rows in (36, 5, 1)
    ]
    for other in found[1:]:
        np.testing.assert_array_equal(other.tokens, found[0].tokens)
        np.testing.assert_allclose(other.logp_sum, found[0].logp_sum, rtol=0, atol=1e-10)
