"""Completions after prompts that are read once, against one pass over both: logits, gradients, and what is computed."""

import numpy as np
import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from llome.codec import SequenceCodec
from llome.data.batches import TokenTable
from llome.data.pairs import Examples
from llome.domain import Domain
from llome.policy.causal_lm import checkpoint_activations
from llome.policy.prompts import completion_logits, has_dropout


def batch(codec, completions):
    """Five examples of one or two completions; text prompts differ in length."""
    rng = np.random.default_rng(0)
    sequences = rng.integers(0, codec.num_states, (20, codec.length))
    examples = Examples(sources=np.arange(5), targets=5 + np.arange(5 * completions).reshape(5, completions))
    return TokenTable(examples, sequences, codec).collate(np.arange(5))


@pytest.fixture(params=["compact", "text"])
def policy(request):
    """A GPT-NeoX, and a Llama whose prompts are padded."""
    model, tokenizer = request.getfixturevalue(f"{request.param}_policy")
    return model, SequenceCodec(tokenizer, Domain(12 if request.param == "text" else 6, 5, ""))


def gradients(model, micro, *, in_one_pass, checkpointing=False):
    """Logits, and gradients of a sum over the completions that weights every number differently."""
    model.train().zero_grad()
    checkpoint_activations(model, checkpointing)
    args = micro["input_ids"], micro["attention_mask"], micro["completion_width"]
    logits = completion_logits(model, *args, in_one_pass=in_one_pass)
    weights = torch.sin(torch.arange(logits.numel(), dtype=logits.dtype)).view_as(logits)
    seen = micro["attention_mask"].flatten(0, 1)[:, -logits.shape[1] :, None]
    (torch.tanh(logits) * weights * seen).sum().backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}
    checkpoint_activations(model, False)
    model.eval().zero_grad()
    return torch.where(seen, logits, 0.0).detach(), found


@pytest.mark.parametrize("completions", [1, 2])
def test_logits_and_gradients_are_those_of_one_pass(policy, completions):
    model, codec = policy
    micro = batch(codec, completions)
    if not codec.compact:
        assert not micro["attention_mask"].all()
    expected, expected_gradients = gradients(model, micro, in_one_pass=True)
    logits, found = gradients(model, micro, in_one_pass=False)
    assert logits.shape == (5 * completions, micro["completion_width"] + 1, expected.shape[2])
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-11)
    assert found.keys() == expected_gradients.keys()
    size = max(float(gradient.abs().max()) for gradient in expected_gradients.values())
    error = max(float((gradient - expected_gradients[name]).abs().max()) for name, gradient in found.items())
    assert error < size * (1e-12 if codec.compact else 1e-6)  # Llama's normalisation rounds to float32


@pytest.mark.parametrize("completions", [1, 2])
def test_gradient_checkpointing_changes_no_bit(policy, completions):
    model, codec = policy
    micro = batch(codec, completions)
    expected, expected_gradients = gradients(model, micro, in_one_pass=False)
    logits, found = gradients(model, micro, in_one_pass=False, checkpointing=True)
    assert torch.equal(logits, expected)
    assert found.keys() == expected_gradients.keys()
    assert all(torch.equal(gradient, expected_gradients[name]) for name, gradient in found.items())


def test_prompts_are_read_once_and_stop_before_the_last_layer_is_done(policy):
    model, codec = policy
    micro = batch(codec, 2)
    seen: dict[int, list[int]] = {0: [], 1: []}
    layers = [m for name, m in model.named_modules() if name.endswith(".mlp")]
    hooks = [
        layer.register_forward_hook(lambda module, args, output, i=i: seen[i].append(args[0].shape[:2].numel()))
        for i, layer in enumerate(layers)
    ]
    completion_logits(model, micro["input_ids"], micro["attention_mask"], micro["completion_width"])
    for hook in hooks:
        hook.remove()
    total, width = micro["input_ids"].shape[2], micro["completion_width"] + 1
    assert seen == {0: [5 * (total - width), 10 * width], 1: [10 * width]}


def test_dropout_is_found_in_configuration_and_modules(compact_policy, text_policy):
    for model, _ in (compact_policy, text_policy):
        assert not has_dropout(model)

    def make(dropped):
        return GPTNeoXForCausalLM(
            GPTNeoXConfig(vocab_size=8, hidden_size=8, num_attention_heads=2, num_hidden_layers=1, **dropped)
        )

    assert has_dropout(make({"attention_dropout": 0.1}))
    assert has_dropout(make({"hidden_dropout": 0.1}))
    model = make({})
    assert not has_dropout(model)
    model.gpt_neox.emb_dropout.p = 0.1
    assert has_dropout(model)
