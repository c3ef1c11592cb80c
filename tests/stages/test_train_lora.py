"""`llome train` with configs/train/strategy/lora.yaml: an ordinary policy, killed and resumed to the byte."""

import pytest
import torch
from safetensors.torch import load_file
from test_train import Killed, hashes, kill_at
from training_fixtures import labeled, policy  # noqa: F401

from llome.cli import main
from llome.policy.causal_lm import load_card


@pytest.fixture
def run(root, policy, labeled):  # noqa: F811
    def run(objective, out, *more):
        configs = (f"configs/train/{objective}_tiny.yaml", "configs/train/strategy/lora.yaml")
        args = ["train", "fit", *(word for path in configs for word in ("--config", str(root / path)))]
        args += ["--parent", str(policy), "--labeled", str(labeled), "--out", str(out), "--random_seed", "5"]
        return main([*args, "--trainer.val_check_interval", "3", *more])

    return run


@pytest.mark.parametrize("objective", ["sft", "marge"])
def test_killed_and_resumed(run, tmp_path, monkeypatch, policy, objective):  # noqa: F811
    """Without the reference's file too: the parent is the policy with its adapters off, whenever that is asked."""
    assert run(objective, tmp_path / "whole" / "model") == 0
    for forget in (False, True) if objective == "marge" else (False,):
        with monkeypatch.context() as patch:
            kill_at(patch, 9)
            with pytest.raises(Killed):
                run(objective, tmp_path / "killed" / "model")
        (scratch,) = (tmp_path / "killed" / ".scratch").iterdir()
        assert (scratch / "last.ckpt").is_file()
        for path in scratch.glob("reference-*.pt") if forget else ():
            path.unlink()
        assert run(objective, tmp_path / "killed" / "model") == 0
        for name in ("model", "model-best"):
            assert hashes(tmp_path / "killed" / name) == hashes(tmp_path / "whole" / name)
    trained, before = (load_file(path / "model.safetensors") for path in (tmp_path / "whole" / "model", policy))
    assert trained.keys() == before.keys()
    changed = {name for name in before if not torch.equal(trained[name], before[name])}
    layers = ("attention.query_key_value", "attention.dense", "mlp.dense_h_to_4h", "mlp.dense_4h_to_h")
    assert changed == {f"gpt_neox.layers.0.{name}.weight" for name in layers}
    settings = load_card(tmp_path / "whole" / "model").settings
    assert settings["model"]["init_args"]["lora"] == {"rank": 16, "alpha": 32.0, "dropout": 0.0, "target_modules": None}


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (("rank", "0"), "lora.rank is 0; choose at least 1"),
        (("rank", "x"), "--model.init_args.lora.rank: Expected a int. Got value: x"),
        (("rnk", "4"), "LoRA has no setting 'rnk'; `llome train fit --model.help SFTModule` lists its settings"),
        (("target_modules", "[nothing]"), "lora.target_modules is ['nothing'], which peft refuses"),
    ],
)
def test_mistakes_are_one_line(run, tmp_path, capsys, setting, message):
    assert run("sft", tmp_path / "model", f"--model.init_args.lora.{setting[0]}", setting[1]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
