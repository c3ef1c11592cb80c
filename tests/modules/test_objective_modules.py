"""DPO, MargE and REINFORCE on a real small policy: exact steps in any split, the reference column, metrics, refusals."""

import functools
import math

import pytest
import torch
from lightning.pytorch import Callback
from test_policy_module import _lightnings_own_warnings, fit  # noqa: F401
from torch.distributed.tensor import DTensor, distribute_tensor

from llome.errors import ConfigError, LlomeError
from llome.modules import DPOModule, MargEModule, REINFORCEModule, SFTModule
from llome.modules.base import ReferenceModule

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-2, weight_decay=0.01)
OBJECTIVES = {"dpo": DPOModule, "marge": MargEModule, "reinforce": REINFORCEModule}
ALL = {"sft": SFTModule, **OBJECTIVES}
SETTINGS = {"dpo": {"beta": 0.4}, "marge": {"lambda_": 2.0}, "reinforce": {"lambda_": 2.0}}
VARIANTS = [
    ("dpo", {}),
    *((name, {"weights": w}) for name in ("marge", "reinforce") for w in ("gradient", "detached", "degenerate")),
    ("marge", {"average": "mean"}),
    ("reinforce", {"average": "mean", "reward": "score"}),
]


class Nudge(Callback):
    """Moves the policy away from the reference before the first step, so that the weights differ."""

    def __init__(self, size=0.1):
        self.size = size

    def on_train_start(self, trainer, pl_module):
        generator = torch.Generator().manual_seed(3)
        with torch.no_grad():
            for parameter in pl_module.trained():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64).to(parameter.dtype)
                if isinstance(parameter, DTensor):
                    noise = distribute_tensor(noise, parameter.device_mesh, parameter.placements)
                parameter += self.size * noise


def run(name, parent, labeled, **options):
    options = {"objective": ALL[name], "optimizer": ADAMW, "callbacks": [Nudge()]} | SETTINGS.get(name, {}) | options
    return fit(parent, labeled, **options)


def assert_equal(got, want, within=1e-10):
    assert len(got.gradients) == len(want.gradients) == 3
    for one, other in zip(got.gradients, want.gradients, strict=True):
        assert other.abs().max() > 1e-3
        assert (one - other).abs().max() < within
    assert got.losses == pytest.approx(want.losses, abs=within)


@pytest.mark.parametrize(("name", "options"), VARIANTS)
def test_micro_batches_take_the_same_step(policy, labeled, name, options):
    whole = run(name, policy, labeled, **options)[0]
    for size in (8, 1):
        assert_equal(run(name, policy, labeled, data={"micro_batch_size": size}, **options)[0], whole)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_of_a_text_tokenizer(text_policy_path, labeled, name):
    whole = run(name, text_policy_path, labeled)[0]
    assert_equal(run(name, text_policy_path, labeled, data={"micro_batch_size": 8})[0], whole)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_micro_batches_draw_the_same_dropout_ahead_and_in_training(text_policy_path, labeled, name):
    """A normaliser of other draws than the training passes' would make the weights of a step sum to something else."""

    class Dropout(Callback):
        def on_train_start(self, trainer, pl_module):
            for module in pl_module.policy.modules():
                if isinstance(module, torch.nn.Dropout):
                    module.p = 0.3

    class Weights(Callback):
        def __init__(self):
            self.sums = []

        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            self.sums.append(0.0)
            share = type(pl_module).share

            def watched(micro, logps, lengths, prepared):
                if pl_module.looks_ahead and pl_module.training:
                    ratios = logps[:, 0] - pl_module.reference_of(micro)[:, 0]
                    self.sums[-1] += float((ratios - prepared[0]).exp().sum().detach())
                return share(pl_module, micro, logps, lengths, prepared)

            pl_module.share = watched

    weights = Weights()
    run(name, text_policy_path, labeled, data={"micro_batch_size": 8}, callbacks=[Dropout(), Nudge(), weights])
    assert weights.sums == pytest.approx([1.0 if OBJECTIVES[name].looks_ahead else 0.0] * 3, abs=1e-10)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_the_step_is_the_equation(text_policy_path, labeled, name):
    """Eqs. 3, 32, 33 by autograd through one plain forward pass a row, without padding, masks or shares."""
    record, _, _, data = run(name, text_policy_path, labeled, steps=1)
    reference = SFTModule(str(text_policy_path), optimizer=ADAMW).policy.double()
    module = SFTModule(str(text_policy_path), optimizer=ADAMW)
    module.policy.double()
    Nudge().on_train_start(None, module)
    (micro,) = next(iter(data.train_dataloader()))

    def logp(model, row, column):
        ids, attended = micro["input_ids"][row, column], micro["attention_mask"][row, column]
        length = int(micro["completion_mask"][row, column].sum())
        logps = torch.log_softmax(model(input_ids=ids[attended][None]).logits[0], dim=1)
        tokens = ids[attended][-length:]
        return logps[-length - 1 : -1].gather(1, tokens[:, None]).sum(), length

    total = len(micro["rows"])
    columns = range(micro["input_ids"].shape[1])
    measured = [[logp(module.policy, row, column) for column in columns] for row in range(total)]
    logps = torch.stack([torch.stack([one[0] for one in row]) for row in measured])
    with torch.no_grad():
        ref = torch.stack([torch.stack([logp(reference, r, c)[0] for c in columns]) for r in range(total)])
    if name == "dpo":
        ratios = logps - ref
        loss = torch.log1p(torch.exp(-0.4 * (ratios[:, 0] - ratios[:, 1]))).mean()
    else:
        lengths = torch.tensor([row[0][1] for row in measured])
        scores = torch.from_numpy(data.scores).clamp(min=0.0)  # of this table: -inf or 0 to 1
        source = scores[data.examples.sources[micro["rows"]]]
        rewards = (scores[data.examples.targets[micro["rows"], 0]] - source).clamp(min=0.0)
        logps, ref = logps[:, 0], ref[:, 0]
        terms = logps / lengths - rewards if name == "marge" else -rewards * logps
        weights = torch.softmax(logps - ref, dim=0)
        assert weights.max() > 2 / total
        loss = (weights * terms).sum() - 2.0 * (logps / lengths).mean()
    loss.backward()
    expected = torch.cat([p.grad.flatten() for p in module.policy.parameters()])
    assert record.losses[0] == pytest.approx(loss.item(), abs=1e-10)
    assert (record.gradients[0] - expected).abs().max() < 1e-10


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("precision", ["bf16-mixed", "bf16-true", "32-true"])
def test_precisions(policy, labeled, name, precision):
    """In half precision the gradient is near the exact one, with passes ahead or without; the reference is not rounded."""
    trainer = {"precision": precision}
    whole, module, _, _ = run(name, policy, labeled, trainer=trainer)
    parts = run(name, policy, labeled, trainer=trainer, data={"micro_batch_size": 8})[0]
    assert module.reference.dtype == torch.float32
    exact = run(name, policy, labeled)[0].gradients[0].float()
    for got in (whole.gradients[0], parts.gradients[0]):
        assert torch.nn.functional.cosine_similarity(got.float(), exact, dim=0) > 0.97
        assert 0.8 < got.float().norm() / exact.norm() < 1.25


@pytest.mark.parametrize("name", OBJECTIVES)
def test_starts_at_the_reference_and_logs(policy, labeled, name):
    """ln 2, uniform weights, ratio 1; and after some steps the metrics are those of the data."""
    record, module, trainer, data = run(name, policy, labeled, steps=1, callbacks=[])
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    assert metrics["train/log_ratio"] == pytest.approx(0, abs=1e-12)
    assert module.reference.shape == data.examples.targets.shape
    assert module.reference.max() < 0
    if name == "dpo":
        assert record.losses[0] == pytest.approx(math.log(2), abs=1e-12)
        assert metrics["train/reward_margin"] == pytest.approx(0, abs=1e-12)
        assert metrics["train/chosen_logps"] < 0
        assert 0 <= metrics["val/reward_accuracy"] <= 1
        assert metrics["val/chosen_logps"] != metrics["val/rejected_logps"]
    else:
        assert metrics["train/effective_sample_size"] == pytest.approx(64, abs=1e-9)
        assert metrics["train/target_term"] + metrics["train/reference_term"] == pytest.approx(record.losses[0])
        assert metrics["val/target_term"] + metrics["val/reference_term"] == pytest.approx(metrics["val/loss"])
        assert 0 < metrics["train/rewards"] < metrics["train/rewards_max"] <= 1
        assert metrics["val/effective_sample_size"] <= 64


@pytest.mark.parametrize(("name", "how"), [("dpo", "up"), ("marge", "down"), ("reinforce", "down")])
def test_learns(policy, labeled, name, how):
    record, _, trainer, _ = run(
        name, policy, labeled, callbacks=[], steps=1.0, trainer={"max_epochs": 6, "precision": "32-true"}
    )
    assert sum(record.losses[-5:]) < sum(record.losses[:5])
    if how == "up":
        assert trainer.callback_metrics["train/reward_accuracy"] > 0.8


CURVES = {
    "sft": [2.7876696806466987, 2.4479129541100235, 2.1775058029517402, 2.1670729724252378],
    "dpo": [0.6931471805599453, 0.6253646559813123, 0.47513973046990116, 0.6389721277492236],
    "marge": [2.256419680646698, 2.142286846088746, 1.9982700795734305, 2.0090206787330898],
    "reinforce": [18.89684935123289, 16.077372527336905, 12.065243306449322, 12.20179701752303],
}


@pytest.mark.parametrize("name", ALL)
def test_pinned_curve(policy, labeled, name):
    """Twenty steps in float64: the 1st, 7th, 14th and 20th loss."""
    losses = run(name, policy, labeled, steps=20, data={"batch_size": 16}, callbacks=[])[0].losses
    assert len(losses) == 20
    assert [losses[i] for i in (0, 6, 13, 19)] == pytest.approx(CURVES[name], rel=1e-6)


def test_reference_column_is_kept_for_a_resumed_run(policy, labeled, tmp_path, monkeypatch):
    passes = []
    original = ReferenceModule._compute
    monkeypatch.setattr(ReferenceModule, "_compute", lambda self, data: passes.append(1) or original(self, data))

    class Scratch(Callback):
        def setup(self, trainer, pl_module, stage):
            pl_module.scratch = tmp_path

    columns = [run("marge", policy, labeled, callbacks=[Scratch()])[1].reference for _ in range(2)]
    assert torch.equal(*columns)
    assert len(passes) == 1
    assert len(list(tmp_path.glob("reference-*.pt"))) == 1
    run("marge", policy, labeled, callbacks=[Scratch()], data={"num_neighbours": 5})
    assert len(passes) == 2
    for path in tmp_path.glob("reference-*.pt"):
        path.write_bytes(path.read_bytes()[:100])
    assert torch.equal(run("marge", policy, labeled, callbacks=[Scratch()])[1].reference, columns[0])
    assert len(passes) == 3


def test_a_resumed_run_without_its_reference_is_refused(policy, labeled, tmp_path):
    run("marge", policy, labeled, callbacks=[])[2].save_checkpoint(tmp_path / "last.ckpt")
    from lightning.pytorch import Trainer

    fitting = Trainer.fit

    def resumed(self, *args, **kwargs):
        return fitting(self, *args, **kwargs, ckpt_path=tmp_path / "last.ckpt", weights_only=True)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Trainer, "fit", resumed)
        with pytest.raises(LlomeError, match="reference log-probabilities of its start"):
            run("marge", policy, labeled, callbacks=[])


def test_refusals(policy, labeled):
    with pytest.raises(ConfigError, match=r"beta is -0\.1"):
        DPOModule(str(policy), optimizer=ADAMW, beta=-0.1)
    for module in (MargEModule, REINFORCEModule):
        with pytest.raises(ConfigError, match=r"lambda_ is -1\.0"):
            module(str(policy), optimizer=ADAMW, lambda_=-1.0)
    with pytest.raises(ConfigError, match=r"DPOModule learns from triples, but data\.kind is pairs"):
        run("dpo", policy, labeled, data={"kind": "pairs"})
    with pytest.raises(ConfigError, match=r"MargEModule learns from pairs, but data\.kind is triples"):
        run("marge", policy, labeled, data={"kind": "triples"})
