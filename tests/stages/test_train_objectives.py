"""DPO, MargE and REINFORCE through `llome train`: outputs, resuming to the byte, refusals."""

import pytest
from test_train import Killed, hashes, kill_at
from training_fixtures import labeled, policy  # noqa: F401

from llome.cli import main
from llome.policy.causal_lm import load_card

OBJECTIVES = ("dpo", "marge", "reinforce")


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


REFUSED = {
    "pairs": ("dpo", ["--data.kind", "pairs"], "DPOModule learns from triples, but data.kind is pairs"),
    "triples": ("marge", ["--data.kind", "triples"], "MargEModule learns from pairs, but data.kind is triples"),
    "no triples": ("dpo", ["--data.max_distance", "0.01"], "no training triples"),
    "beta": ("dpo", ["--model.init_args.beta", "-0.5"], "beta is -0.5; choose 0 or more"),
    "lambda": ("marge", ["--model.init_args.lambda_", "-2"], "lambda_ is -2.0; choose 0 or more"),
    "reward": ("reinforce", ["--model.init_args.reward", "gain"], "gain"),
    "weights": ("marge", ["--model.init_args.weights", "raw"], "raw"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_mistakes_are_one_line_and_write_nothing(run, tmp_path, capsys, what):
    objective, more, message = REFUSED[what]
    assert run(objective, tmp_path / "r" / "model", *more) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [p for p in tmp_path.rglob("*") if p.is_file() and p.name != ".lock" and "logs" not in p.parts] == []
