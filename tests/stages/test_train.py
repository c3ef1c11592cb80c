"""`llome train` through the command line: outputs, resuming to the byte, refusals."""

import hashlib
import json
import os
import signal
import subprocess
import sys

import pytest
import torch
import yaml
from training_fixtures import draw_table, labeled, policy  # noqa: F401

from llome.cli import main
from llome.policy.causal_lm import load_card, load_policy

CONFIG = "configs/train/sft_tiny.yaml"
FILES = ("model.safetensors", "llome.json", "config.json", "tokenizer.json", "tokenizer_config.json")


@pytest.fixture
def run(root, policy, labeled):  # noqa: F811
    def run(out, *more, parent=policy, tables=(labeled,), seed=5):
        tables = [str(table) for table in tables]
        args = ["train", "fit", "--config", str(root / CONFIG), "--parent", str(parent), "--labeled", *tables]
        return main([*args, "--out", str(out), "--random_seed", str(seed), *more])

    return run


def hashes(directory):
    return {name: hashlib.sha256((directory / name).read_bytes()).hexdigest() for name in FILES}


class Killed(Exception):
    pass


def kill_at(monkeypatch, step):
    """Let training die in its `step`-th step, before the optimiser moves."""
    from llome.modules.base import PolicyModule

    original = PolicyModule.on_before_optimizer_step

    def die(self, optimizer):
        if self.global_step + 1 == step:
            raise Killed
        original(self, optimizer)

    monkeypatch.setattr(PolicyModule, "on_before_optimizer_step", die)


def test_trains_and_exports(run, tmp_path, policy, labeled, capsys):  # noqa: F811
    assert run(tmp_path / "r" / "model") == 0
    model, tokenizer, card = load_policy(tmp_path / "r" / "model")
    before = load_policy(policy)[0]
    assert any(not torch.equal(a, b) for a, b in zip(model.parameters(), before.parameters(), strict=True))
    assert tokenizer.eos_token == "<end>"
    assert (card.objective, card.domain) == ("sft", draw_table(10).meta.domain)
    assert card.facts["steps"] == 12
    assert card.facts["labeled"] == 150
    assert card.facts["train_examples"] > 100
    assert card.facts["val_examples"] > 5
    assert 0 < card.facts["val_loss"] < 3
    assert card.facts["perplexity"] == pytest.approx(torch.tensor(card.facts["val_loss"]).exp().item(), rel=1e-5)
    assert 0 <= card.facts["token_accuracy"] <= 1
    assert all(0 <= card.facts[name] <= 1 for name in ("parsed", "right_length", "in_range", "novel"))
    assert card.settings["trainer"]["limit_train_batches"] == 12
    text = (tmp_path / "r" / "model" / "llome.json").read_text()
    assert str(tmp_path) not in text
    assert str(policy) not in text
    assert load_card(tmp_path / "r" / "model-best").facts["exported"] == "best"
    assert not (tmp_path / "r" / ".scratch").exists()
    assert list((tmp_path / "r" / "logs" / "train").glob("events*"))
    assert yaml.safe_load((tmp_path / "r" / "logs" / "train" / "config.yaml").read_text())["random_seed"] == 5
    assert capsys.readouterr().err == ""


def test_same_settings_same_bytes_and_seeds_differ(run, tmp_path):
    assert run(tmp_path / "a" / "model") == 0
    assert run(tmp_path / "b" / "model") == 0
    assert hashes(tmp_path / "a" / "model") == hashes(tmp_path / "b" / "model")
    assert run(tmp_path / "c" / "model", seed=2**63 - 1) == 0
    assert (
        hashes(tmp_path / "a" / "model")["model.safetensors"] != hashes(tmp_path / "c" / "model")["model.safetensors"]
    )


EVERY = ["--checkpoint.every_n_steps", "1"]
SCHEDULES = {
    "one epoch": [],
    "epochs": ["--trainer.max_epochs", "3", "--trainer.limit_train_batches", "4", *EVERY],
    "steps": ["--trainer.max_steps", "12", "--trainer.max_epochs", "-1", "--trainer.limit_train_batches", "5", *EVERY],
    "validations": ["--trainer.val_check_interval", "3", *EVERY],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("step", [1, 6, 7, 8, 12])
def test_interrupted_is_uninterrupted(run, tmp_path, monkeypatch, schedule, step):
    more = SCHEDULES[schedule]
    assert run(tmp_path / "whole" / "model", *more) == 0
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            run(tmp_path / "killed" / "model", *more)
    assert not (tmp_path / "killed" / "model").exists()
    assert bool(list((tmp_path / "killed").glob(".scratch/*/last.ckpt"))) == (
        step > 5 or (step > 1 and "epoch" not in schedule)
    )
    steps = []
    from llome.modules.base import PolicyModule

    original = PolicyModule.training_step
    monkeypatch.setattr(
        PolicyModule, "training_step", lambda self, *a: steps.append(self.global_step) or original(self, *a)
    )
    assert run(tmp_path / "killed" / "model", *more) == 0
    assert steps[0] >= step - 5
    for name in ("model", "model-best"):
        assert hashes(tmp_path / "killed" / name) == hashes(tmp_path / "whole" / name)


@pytest.mark.parametrize(
    "changed",
    [("--data.num_neighbours", "5"), ("--model.init_args.gradient_checkpointing", "true")],
    ids=lambda c: c[0],
)
def test_a_changed_setting_resumes_nothing(run, tmp_path, monkeypatch, changed):
    with monkeypatch.context() as patch:
        kill_at(patch, 9)
        with pytest.raises(Killed):
            run(tmp_path / "model")
    steps = []
    from llome.modules.base import PolicyModule

    original = PolicyModule.training_step
    monkeypatch.setattr(
        PolicyModule, "training_step", lambda self, *a: steps.append(self.global_step) or original(self, *a)
    )
    assert run(tmp_path / "model", *changed) == 0
    assert steps == list(range(12))
    assert not (tmp_path / ".scratch").exists()


@pytest.mark.slow
def test_sigkill(root, policy, labeled, tmp_path, run):  # noqa: F811
    code = (
        "import os, signal, sys\n"
        "from llome.modules.base import PolicyModule\n"
        "original = PolicyModule.training_step\n"
        "def step(self, *a):\n"
        "    if self.global_step == 9: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return original(self, *a)\n"
        "PolicyModule.training_step = step\n"
        "from llome.cli import main\n"
        "main(sys.argv[1:])\n"
    )
    args = [
        "train",
        "fit",
        "--config",
        CONFIG,
        "--parent",
        str(policy),
        "--labeled",
        str(labeled),
        "--random_seed",
        "5",
    ]
    done = subprocess.run(
        [sys.executable, "-c", code, *args, "--out", str(tmp_path / "killed" / "model")], cwd=root, env=os.environ
    )
    assert done.returncode == -signal.SIGKILL
    assert run(tmp_path / "killed" / "model") == 0
    assert run(tmp_path / "whole" / "model") == 0
    assert hashes(tmp_path / "killed" / "model") == hashes(tmp_path / "whole" / "model")


def test_the_best_policy_can_be_chosen(run, tmp_path):
    more = ["--model.init_args.optimizer.init_args.lr", "0.3", "--trainer.val_check_interval", "3"]
    assert run(tmp_path / "a" / "model", *more) == 0
    last, best = (load_card(tmp_path / "a" / name) for name in ("model", "model-best"))
    assert last.facts["best_step"] < last.facts["steps"]
    assert last.facts["best_val_loss"] < last.facts["val_loss"]
    weights = [load_policy(tmp_path / "a" / name)[0].state_dict() for name in ("model", "model-best")]
    assert any(not torch.equal(a, b) for a, b in zip(*(w.values() for w in weights), strict=True))
    assert run(tmp_path / "b" / "model", "--export", "best", *more) == 0
    one, other = ((tmp_path / path / "model.safetensors").read_bytes() for path in ("a/model-best", "b/model"))
    assert one == other
    assert load_card(tmp_path / "b" / "model-last").facts["exported"] == "last"
    assert best.facts["exported"] == "best"


def test_without_validation(run, tmp_path):
    assert run(tmp_path / "model", "--data.val_fraction", "0") == 0
    facts = load_card(tmp_path / "model").facts
    assert facts["val_examples"] == 0
    assert facts["val_loss"] is None
    assert facts["train_loss"] > 0
    assert not (tmp_path / "model-best").exists()


REFUSED = {
    "a setting": (
        ["--data.num_neighbors", "5"],
        "unknown setting 'data.num_neighbors'; did you mean 'data.num_neighbours'?",
    ),
    "a device": (["--trainer.accelerator", "cuda"], "accelerator is not available"),
    "a GPU": (
        ["--trainer.accelerator", "gpu"],
        "No supported gpu backend found; use --trainer.accelerator auto, or cpu",
    ),
    "a precision": (["--trainer.precision", "13"], "--trainer.precision: "),
    "a value": (["--data.batch_size", "many"], "--data.batch_size: Expected a int. Got value: many"),
    "a range": (["--data.max_distance", "2"], "max_distance is 2.0"),
    "a class": (["--model", "MFTModule"], "--model: "),
    "accumulation": (["--trainer.accumulate_grad_batches", "2"], "data.micro_batch_size"),
    "no pairs": (["--data.max_distance", "0.01"], "raise max_distance"),
    "a missing table": (["--labeled", "nowhere.parquet"], "nowhere.parquet"),
    "a missing policy": (["--parent", "nowhere"], "nowhere"),
    "steps without end": (["--trainer.max_epochs", "-1"], "max_epochs"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, capsys, what):
    more, message = REFUSED[what]
    assert run(tmp_path / "r" / "model", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock" and "logs" not in p.parts] == []


def test_missing_files_are_named(root, tmp_path, capsys):
    line = [
        "train",
        "fit",
        "--config",
        str(root / CONFIG),
        "--labeled",
        "a",
        "--out",
        str(tmp_path / "m"),
        "--random_seed",
        "1",
    ]
    assert main(line) == 2
    assert "--parent is missing" in capsys.readouterr().err
    assert main(["train", "fit", "--parent", "p", *line[4:]]) == 2
    assert "--model is missing" in capsys.readouterr().err
    (tmp_path / "bad.yaml").write_text((root / CONFIG).read_text().replace("max_distance", "max_distances"))
    assert main(["train", "fit", "--config", str(tmp_path / "bad.yaml"), "--parent", "p", *line[4:]]) == 2
    assert "unknown setting 'data.max_distances'; did you mean 'data.max_distance'?" in capsys.readouterr().err


def test_an_infinite_loss_stops_the_run_with_step_and_rows(run, tmp_path, capsys):
    more = [
        "--model.init_args.optimizer.init_args.lr",
        "1e30",
        "--trainer.gradient_clip_val",
        "null",
        "--checkpoint.every_n_steps",
        "1",
    ]
    assert run(tmp_path / "model", *more) == 2
    error = capsys.readouterr().err
    assert "at step " in error
    assert "examples " in error
    assert "lower the learning rate" in error
    assert not (tmp_path / "model").exists()


def test_another_problem_is_refused(run, tmp_path, capsys):
    import dataclasses

    table = draw_table(60)
    other = dataclasses.replace(
        table, meta=dataclasses.replace(table.meta, domain=dataclasses.replace(table.meta.domain, fingerprint="0" * 16))
    )
    other.write(tmp_path / "other.parquet")
    assert run(tmp_path / "r" / "model", tables=[tmp_path / "other.parquet"]) == 2
    assert "other.parquet was made with oracle 0000000000000000" in capsys.readouterr().err


def test_help(capsys):
    assert main(["train", "--help"]) == 0
    assert "llome train fit --config" in capsys.readouterr().out
    assert main(["train"]) == 0
    assert main(["train", "fit", "--help"]) == 0
    shown = capsys.readouterr().out
    for option in (
        "--parent",
        "--labeled",
        "--random_seed",
        "--checkpoint.every_n_steps",
        "--validity.num_prompts",
        "--data.max_distance",
    ):
        assert option in shown
    assert main(["train", "test"]) == 2
    assert "llome train fit" in capsys.readouterr().err


def test_print_config(run, tmp_path, capsys):
    assert run(tmp_path / "model", "--print_config") == 0
    config = yaml.safe_load(capsys.readouterr().out)
    assert config["data"]["num_neighbours"] == 10
    assert config["model"]["class_path"] == "llome.modules.SFTModule"


def test_help_is_fast(root):
    code = (
        "import sys; from llome.cli import main; main(['train', '--help'])\n"
        "assert not {'torch', 'lightning'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=root, check=True, capture_output=True)


def test_facts_are_json(run, tmp_path):
    assert run(tmp_path / "model") == 0
    card = json.loads((tmp_path / "model" / "llome.json").read_text())
    assert set(card["facts"]) >= {
        "train_examples",
        "val_examples",
        "steps",
        "train_loss",
        "val_loss",
        "perplexity",
        "token_accuracy",
    }
