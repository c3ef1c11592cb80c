"""GPT-NeoX in few operations, against transformers' modules: logits, keys and values, whatever is rotated, biased or padded."""

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from llome.policy import neox


def make(**settings):
    """A model of 3 layers in double precision, its weights, biases and normalisations far from their initial values."""
    rope = {"rope_type": "default", "rope_theta": 100.0, "partial_rotary_factor": settings.pop("rotated", 1.0)}
    shape = {"vocab_size": 11, "hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 3}
    config = GPTNeoXConfig(
        **{**shape, "intermediate_size": 40, "max_position_embeddings": 64, "rope_parameters": rope, **settings}
    )
    torch.manual_seed(0)
    model = GPTNeoXForCausalLM(config).double().eval()
    for parameter in model.parameters():
        parameter.data.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("settings", [{}, {"rotated": 0.25}, {"attention_bias": False}, {"hidden_act": "gelu_new"}])
def test_prompts_are_read_as_by_transformers(settings, padded):
    model = make(**settings)
    ids = torch.randint(0, 11, (4, 9))
    mask = torch.ones(4, 9, dtype=torch.bool)
    if padded:
        mask[1, :3] = mask[2, :1] = False
    with torch.inference_mode():
        expected = model(
            input_ids=ids,
            attention_mask=mask.long(),
            position_ids=(mask.long().cumsum(1) - 1).clamp(min=0),
            use_cache=True,
        )
        logits, known = neox.prefill(neox.fold(model), ids, mask)
    torch.testing.assert_close(logits, expected.logits[:, -1], rtol=0, atol=1e-11)
    seen = mask[:, None, :, None]
    for (keys, values), layer in zip(known, expected.past_key_values.layers, strict=True):
        torch.testing.assert_close(keys * seen, layer.keys * seen, rtol=0, atol=1e-11)
        torch.testing.assert_close(values * seen, layer.values * seen, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("settings", "folds"),
    [
        ({}, True),
        ({"use_parallel_residual": False}, False),
        ({"hidden_size": 516, "num_attention_heads": 3}, False),
    ],
)
def test_what_is_not_known_goes_through_transformers(settings, folds):
    assert neox.is_foldable(make(**settings)) is folds
    assert not neox.is_foldable(make(**settings).bfloat16())


def test_other_architectures_go_through_transformers(text_policy):
    assert not neox.is_foldable(text_policy[0])
