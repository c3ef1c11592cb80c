"""LoRA: what trains, what the reference is, and what is exported."""

import sys

import pytest
import torch
from test_objective_modules import Nudge, run
from test_policy_module import _lightnings_own_warnings  # noqa: F401
from transformers import AutoModelForCausalLM

from llome.errors import ConfigError
from llome.modules import SFTModule
from llome.modules.base import LoRA
from llome.modules.base.sharding import whole_weights
from llome.policy import neox
from llome.policy.causal_lm import load_policy, save_policy
from llome.policy.prompts import has_dropout

SMALL = LoRA(rank=3, alpha=12.0)


def logits(model):
    ids = torch.arange(12)[None]
    return model.eval()(input_ids=ids).logits.detach()


@pytest.mark.parametrize("path", ["policy", "text_policy_path"])
@pytest.mark.parametrize("name", ["sft", "dpo", "marge"])
def test_adapters_train_and_the_parent_stays(request, labeled, tmp_path, name, path):
    parent = request.getfixturevalue(path)
    before = load_policy(parent, dtype=torch.float64)[0]
    record, module, trainer, _ = run(name, parent, labeled, lora=SMALL, callbacks=[], data={"micro_batch_size": 8})
    names = [key for key, value in module.policy.named_parameters() if value.requires_grad]
    assert all(".lora_" in key for key in names)
    assert len(names) == 2 * 4  # of the block's four linear layers
    (group,) = trainer.optimizers[0].param_groups
    assert {id(value) for value in group["params"]} == {id(value) for value in module.trained()}
    assert sum(value.numel() for value in module.trained()) == record.gradients[0].numel()
    assert record.gradients[0].abs().max() > 1e-3
    weights = {key.replace(".base_layer", ""): value for key, value in module.policy.named_parameters()}
    for key, value in before.named_parameters():
        assert torch.equal(weights[key], value), key
    save_policy(tmp_path / "model", module.exported(whole_weights(module.policy)), module.tokenizer, module.card)
    exported = load_policy(tmp_path / "model", dtype=torch.float64)[0]
    assert (logits(exported) - logits(module.policy)).abs().max() < 1e-12
    assert (logits(exported) - logits(before)).abs().max() > 1e-2
    for key, value in before.named_parameters():  # the export has left it alone
        assert torch.equal(weights[key], value), key


@pytest.mark.parametrize("name", ["dpo", "marge", "reinforce"])
def test_the_reference_is_the_policy_without_adapters(policy, labeled, name):
    """Whatever the adapters are by then: here they are moved before the column is computed."""

    class Early(Nudge):
        def setup(self, trainer, pl_module, stage):
            super().on_train_start(trainer, pl_module)

        def on_train_start(self, trainer, pl_module):
            pass

    plain = run(name, policy, labeled, steps=1, callbacks=[])[1].reference
    record, module, trainer, _ = run(name, policy, labeled, steps=1, callbacks=[Early()], lora=SMALL)
    assert torch.equal(module.reference, plain)
    assert abs(float(trainer.callback_metrics["train/log_ratio"])) > 1e-3
    assert all(layer.requires_grad for layer in module.trained())
    assert record.gradients[0].abs().max() > 1e-3


def test_gradient_checkpointing_changes_no_gradient(policy, labeled):
    one, other = (
        run("marge", policy, labeled, lora=SMALL, gradient_checkpointing=on, data={"micro_batch_size": 8})[0]
        for on in (False, True)
    )
    for a, b in zip(one.gradients, other.gradients, strict=True):
        assert a.abs().max() > 1e-3
        assert (a - b).abs().max() < 1e-10


def test_adapters_are_keyed_by_the_seed_and_start_at_zero(policy):
    def first(seed):
        torch.rand(1)  # no matter what was drawn before
        return SFTModule(str(policy), optimizer=torch.optim.AdamW, random_seed=seed, lora=SMALL)

    assert torch.equal(first(1).trained()[0], first(1).trained()[0])
    assert not torch.equal(first(1).trained()[0], first(2).trained()[0])
    assert torch.equal(logits(first(1).policy), logits(load_policy(policy)[0]))


def test_what_reads_weights_itself_does_not_miss_an_adapter(policy):
    """Sampling's quick way goes by the weights of the linear layers, which know nothing of adapters."""
    module = SFTModule(str(policy), optimizer=torch.optim.AdamW, lora=SMALL)
    assert neox.is_foldable(load_policy(policy)[0])
    assert not neox.is_foldable(module.policy)
    assert neox.is_foldable(module.exported(whole_weights(module.policy)))


def test_targets_and_dropout(policy):
    lora = LoRA(rank=2, dropout=0.1, target_modules=["query_key_value", "dense"])
    module = SFTModule(str(policy), optimizer=torch.optim.AdamW, lora=lora)
    assert {key.split(".")[-4] for key, value in module.policy.named_parameters() if value.requires_grad} == {
        "query_key_value",
        "dense",
    }
    assert has_dropout(module.policy)


def test_the_export_knows_nothing_of_adapters(policy, tmp_path):
    module = SFTModule(str(policy), optimizer=torch.optim.AdamW, lora=SMALL)
    Nudge().on_train_start(None, module)
    save_policy(tmp_path / "model", module.exported(whole_weights(module.policy)), module.tokenizer, module.card)
    model, loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model", output_loading_info=True)
    assert not loaded["missing_keys"]
    assert not loaded["unexpected_keys"]
    assert (logits(model) - logits(module.policy)).abs().max() < 1e-5
    assert sorted(path.name for path in (tmp_path / "model").iterdir()) == sorted(
        path.name for path in policy.iterdir()
    )
    config, parents = ((path / "config.json").read_text() for path in (tmp_path / "model", policy))
    assert config == parents


def test_refusals(policy, monkeypatch):
    for settings, message in (
        ({"rank": 0}, r"lora\.rank is 0; choose at least 1"),
        ({"alpha": float("nan")}, r"lora\.alpha is nan"),
        ({"dropout": 1.0}, r"lora\.dropout is 1\.0"),
    ):
        with pytest.raises(ConfigError, match=message):
            SFTModule(str(policy), optimizer=torch.optim.AdamW, lora=LoRA(**settings))
    with pytest.raises(ConfigError, match=r"lora\.target_modules is \['nothing'\], which peft refuses"):
        SFTModule(str(policy), optimizer=torch.optim.AdamW, lora=LoRA(target_modules=["nothing"]))
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ConfigError, match=r"needs peft, .*pip install \"llome\[lora\]\""):
        SFTModule(str(policy), optimizer=torch.optim.AdamW, lora=SMALL)
