"""The objectives through `llome train`: outputs, resuming to the byte, precisions, losses that are not finite, refusals."""

import math

import pytest
import torch
from safetensors.torch import load_file
from test_train import Killed, hashes, kill_at
from training_fixtures import labeled, policy  # noqa: F401

from llome.cli import main
from llome.policy.causal_lm import load_card, load_policy
from llome.provenance import read_json

OBJECTIVES = ("dpo", "marge", "reinforce")
ALL = ("sft", *OBJECTIVES)
CHECKPOINTING = ("--model.init_args.gradient_checkpointing", "true")


@pytest.fixture
def run(root, policy, labeled):  # noqa: F811
    def run(objective, out, *more):
        args = ["train", "fit", "--config", str(root / f"configs/train/{objective}_tiny.yaml"), "--parent", str(policy)]
        return main([*args, "--labeled", str(labeled), "--out", str(out), "--random_seed", "5", *more])

    return run


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("step", [1, 7])
def test_interrupted_is_uninterrupted(run, tmp_path, monkeypatch, objective, step):
    """Killed before the first checkpoint and after it: the reference stays that of the start, whatever the weights are by then."""
    assert run(objective, tmp_path / "whole" / "model") == 0
    with monkeypatch.context() as patch:
        kill_at(patch, step)
        with pytest.raises(Killed):
            run(objective, tmp_path / "killed" / "model")
    assert len(list((tmp_path / "killed").glob(".scratch/*/reference-*.pt"))) == 1
    assert bool(list((tmp_path / "killed").glob(".scratch/*/last.ckpt"))) == (step > 4)
    from llome.modules.base import ReferenceModule

    monkeypatch.setattr(ReferenceModule, "_compute", lambda self, data: pytest.fail("computed again"))
    assert run(objective, tmp_path / "killed" / "model") == 0
    for name in ("model", "model-best"):
        assert hashes(tmp_path / "killed" / name) == hashes(tmp_path / "whole" / name)
    assert not (tmp_path / "killed" / ".scratch").exists()
    card = load_card(tmp_path / "whole" / "model")
    assert card.objective == objective
    assert card.facts["steps"] == 12
    assert card.facts["kind"] == ("triples" if objective == "dpo" else "pairs")


@pytest.mark.parametrize("objective", ALL)
def test_precisions(run, tmp_path, objective):
    """Half precision ends near float32: every number within one rounding to bfloat16, whose rounding error is 2^-8 of a number.

    Mixed precision keeps float32 weights, so those are what is exported; a bfloat16 policy is exported as it was trained.
    """
    unit_roundoff = torch.finfo(torch.bfloat16).eps / 2
    facts = {}
    for precision in ("32-true", "bf16-mixed", "bf16-true"):
        out = tmp_path / precision / "model"
        assert run(objective, out, "--trainer.precision", precision) == 0
        facts[precision] = load_card(out).facts
        dtype = torch.bfloat16 if precision == "bf16-true" else torch.float32
        assert {tensor.dtype for tensor in load_file(out / "model.safetensors").values()} == {dtype}
        assert read_json(out / "config.json")["dtype"] == str(dtype).removeprefix("torch.")
        assert (
            next(load_policy(out)[0].parameters()).dtype == torch.float32
        )  # the next round starts in its own precision
    for precision in ("bf16-mixed", "bf16-true"):
        for name in ("train_loss", "val_loss", "best_val_loss"):
            value, exact = facts[precision][name], facts["32-true"][name]
            assert math.isfinite(value)
            assert value != exact
            assert value == pytest.approx(exact, rel=unit_roundoff)


@pytest.mark.parametrize("objective", ALL)
def test_gradient_checkpointing_exports_the_same_policy(run, tmp_path, monkeypatch, objective):
    """To the byte, killed and resumed too; the card alone says how it was trained."""
    assert run(objective, tmp_path / "plain" / "model") == 0
    with monkeypatch.context() as patch:
        kill_at(patch, 7)
        with pytest.raises(Killed):
            run(objective, tmp_path / "again" / "model", *CHECKPOINTING)
    assert run(objective, tmp_path / "again" / "model", *CHECKPOINTING) == 0
    plain, again = (hashes(tmp_path / name / "model") for name in ("plain", "again"))
    assert {name for name in plain if plain[name] != again[name]} == {"llome.json"}
    cards = [load_card(tmp_path / name / "model") for name in ("plain", "again")]
    assert [card.settings["model"]["init_args"].pop("gradient_checkpointing") for card in cards] == [False, True]
    assert cards[0] == cards[1]


@pytest.mark.parametrize("objective", ALL)
@pytest.mark.parametrize("what", ["loss", "gradient norm"])
def test_what_is_not_finite_leaves_the_last_good_state(run, tmp_path, monkeypatch, capsys, objective, what):
    """Step, examples and remedy in one line; the same command goes on from the step before, to the same bytes."""
    from llome.modules.base import PolicyModule

    every = ("--checkpoint.every_n_steps", "1")
    assert run(objective, tmp_path / "whole" / "model", *every) == 0
    original, rows = PolicyModule._loss, []

    def poisoned(self, micro, prepared):
        loss = original(self, micro, prepared)
        if self.training and self.global_step == 6:
            rows.extend(micro["rows"].tolist())
            return loss * torch.nan
        return loss

    def huge(self, optimizer):
        if self.global_step == 6:
            next(self.policy.parameters()).grad.fill_(torch.inf)
        return checked(self, optimizer)

    checked = PolicyModule.on_before_optimizer_step
    with monkeypatch.context() as patch:
        if what == "loss":
            patch.setattr(PolicyModule, "_loss", poisoned)
        else:
            patch.setattr(PolicyModule, "on_before_optimizer_step", huge)
        capsys.readouterr()
        assert run(objective, tmp_path / "stopped" / "model", *every) == 2
    error = capsys.readouterr().err
    value = "nan" if what == "loss" else "inf"
    assert error.startswith(f"llome train: error: the {what} is {value} at step 7, examples ")
    assert ", ".join(map(str, rows)) in error
    assert (
        "; lower the learning rate, clip gradients (--trainer.gradient_clip_val 1) or train in higher precision"
        in error
    )
    assert error.count("\n") == 1
    assert not (tmp_path / "stopped" / "model").exists()
    (last,) = (tmp_path / "stopped").glob(".scratch/*/last.ckpt")
    state = torch.load(last, weights_only=True)
    assert state["global_step"] == 6
    assert all(value.isfinite().all() for value in state["state_dict"].values())
    assert run(objective, tmp_path / "stopped" / "model", *every) == 0
    assert f"going on from {last}" in capsys.readouterr().err
    assert hashes(tmp_path / "stopped" / "model") == hashes(tmp_path / "whole" / "model")


REFUSED = {
    "pairs": ("dpo", ["--data.kind", "pairs"], "DPOModule learns from triples, but data.kind is pairs"),
    "triples": ("marge", ["--data.kind", "triples"], "MargEModule learns from pairs, but data.kind is triples"),
    "no triples": ("dpo", ["--data.max_distance", "0.01"], "no training triples"),
    "beta": ("dpo", ["--model.init_args.beta", "-0.5"], "beta is -0.5; choose 0 or more"),
    "lambda": ("marge", ["--model.init_args.lambda_", "-2"], "lambda_ is -2.0; choose 0 or more"),
    "beta nan": ("dpo", ["--model.init_args.beta", ".nan"], "beta is nan; choose 0 or more"),
    "beta inf": ("dpo", ["--model.init_args.beta", ".inf"], "beta is inf; choose 0 or more"),
    "beta word": ("dpo", ["--model.init_args.beta", "nan"], "--model.init_args.beta: Expected a float. Got value: nan"),
    "beta -inf": ("dpo", ["--model.init_args.beta=-.inf"], "beta is -inf; choose 0 or more"),
    "beta dash": (
        "dpo",
        ["--model.init_args.beta", "-inf"],
        "lacks a value; one that begins with a dash is written --o",
    ),
    "lambda nan": ("marge", ["--model.init_args.lambda_", ".nan"], "lambda_ is nan; choose 0 or more"),
    "lambda inf": ("reinforce", ["--model.init_args.lambda_", ".inf"], "lambda_ is inf; choose 0 or more"),
    "reward": (
        "reinforce",
        ["--model.init_args.reward", "gain"],
        "--model.init_args.reward is gain; choose one of margin, score, difference",
    ),
    "weights": (
        "marge",
        ["--model.init_args.weights", "raw"],
        "--model.init_args.weights is raw; choose one of gradient, detached, degenerate",
    ),
    "average": (
        "marge",
        ["--model.init_args.average", "median"],
        "--model.init_args.average is median; choose one of sum, mean",
    ),
    "another's setting": ("dpo", ["--model.init_args.reward", "margin"], "DPOModule has no setting 'reward'"),
    "learning rate": (
        "marge",
        ["--model.init_args.optimizer.init_args.lr", "-1"],
        "the optimizer refuses its settings: Invalid learning rate: -1.0",
    ),
    "infinite rate": (
        "marge",
        ["--model.init_args.optimizer.init_args.lr", ".inf"],
        "set model.init_args.optimizer.init_args.lr to a finite number",
    ),
    "clipping": ("marge", ["--trainer.gradient_clip_val", ".nan"], "trainer.gradient_clip_val is nan; choose a finite"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, capsys, what):
    objective, more, message = REFUSED[what]
    assert run(objective, tmp_path / "r" / "model", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock"] == []
