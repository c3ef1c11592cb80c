"""Gradient checkpointing changes memory and time, not a gradient: blocks run twice, on the same dropout, in any split."""

import pytest
import torch
from lightning.pytorch import Callback
from test_objective_modules import ALL, Nudge, run
from test_policy_module import _lightnings_own_warnings  # noqa: F401

from llome.errors import ConfigError
from llome.modules import SFTModule


class Watch(Callback):
    """Sets dropout, and counts how often blocks are run by the optimiser's steps."""

    def __init__(self, dropout):
        self.dropout, self.blocks, self.layers, self.on = dropout, 0, 0, []

    def on_train_start(self, trainer, pl_module):
        for module in pl_module.policy.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = self.dropout
            if hasattr(module, "attention_dropout"):
                module.attention_dropout = self.dropout
            if type(module).__name__ in ("GPTNeoXMLP", "GPT2MLP"):
                self.layers += 1
                module.register_forward_pre_hook(self.count)

    def count(self, module, inputs):
        self.blocks += module.training

    def on_train_batch_start(self, trainer, pl_module, *args):
        self.on.append(checkpointed(pl_module.policy))


def checkpointed(policy):
    return any(getattr(module, "gradient_checkpointing", False) for module in policy.modules())


@pytest.mark.parametrize("path", ["policy", "text_policy_path"])
@pytest.mark.parametrize("size", [None, 8])
@pytest.mark.parametrize("name", ALL)
def test_the_gradients_are_the_same_with_dropout(request, labeled, name, size, path):
    parent = request.getfixturevalue(path)
    results = []
    for on in (False, True):
        watch = Watch(0.2)
        record, module, _, _ = run(
            name,
            parent,
            labeled,
            steps=2,
            callbacks=[Nudge(), watch],
            data={"micro_batch_size": size},
            gradient_checkpointing=on,
        )
        assert watch.layers == 1
        assert watch.on == [on, on]
        assert not checkpointed(module.policy)
        assert not getattr(module.policy.get_input_embeddings(), "_forward_hooks", {})
        results.append((record, watch.blocks))
    (plain, once), (recomputed, twice) = results
    for one, other in zip(plain.gradients, recomputed.gradients, strict=True):
        assert one.abs().max() > 1e-3
        assert (one - other).abs().max() < 1e-10
    assert recomputed.losses == pytest.approx(plain.losses, abs=1e-10)
    passes = 2 * (1 if size is None else 64 // size)  # with gradient, in two steps
    assert twice - once == passes
    assert once == passes * (2 if ALL[name].looks_ahead and size else 1)


def test_the_dropout_of_that_test_is_felt(policy, labeled):
    losses = [run("sft", policy, labeled, steps=1, callbacks=[Watch(p)])[0].losses[0] for p in (0.0, 0.2)]
    assert abs(losses[0] - losses[1]) > 1e-3


def test_an_architecture_without_it_is_refused(policy, monkeypatch):
    from transformers import GPTNeoXForCausalLM

    monkeypatch.setattr(GPTNeoXForCausalLM, "supports_gradient_checkpointing", False)
    with pytest.raises(ConfigError, match=r"GPTNeoXForCausalLM of .* has none; set it to false, and lower"):
        SFTModule(str(policy), optimizer=torch.optim.AdamW, gradient_checkpointing=True)
    assert not SFTModule(str(policy), optimizer=torch.optim.AdamW).gradient_checkpointing
