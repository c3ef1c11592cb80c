"""Exact steps: gradients, losses, schedules and validation of a real small policy inside a real Trainer."""

import functools

import pytest
import torch
from lightning.pytorch import Callback, Trainer

from llome.data.datamodule import PropEnDataModule
from llome.errors import ConfigError, LlomeError
from llome.modules import SFTModule
from llome.modules.base.sharding import whole

ADAMW = functools.partial(torch.optim.AdamW, lr=1e-3, betas=(0.9, 0.999), weight_decay=0.01)


class Record(Callback):
    """Gradients and learning rates of every step."""

    def __init__(self):
        self.gradients, self.rates, self.losses = [], [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.gradients.append(torch.cat([whole(p.grad).flatten().clone() for p in pl_module.trained()]))
        self.rates.append(optimizer.param_groups[0]["lr"])
        self.losses.append(pl_module.step_loss)


def fit(parent, labeled, *, objective=SFTModule, steps=3, data=None, callbacks=(), trainer=None, **init):
    data = PropEnDataModule(
        str(parent),
        [str(labeled)],
        **{"batch_size": 64, "max_distance": 0.5, "random_seed": 1, "kind": objective.kind} | (data or {}),
    )
    module = objective(str(parent), **{"optimizer": ADAMW} | init)
    record = Record()
    options = {
        "devices": 1,
        "precision": "64-true",
        "max_epochs": 1,
        "limit_train_batches": steps,
        "log_every_n_steps": 1,
    }
    fitted = Trainer(
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        callbacks=[record, *callbacks],
        **options | (trainer or {}),
    )
    fitted.fit(module, datamodule=data)
    return record, module, fitted, data


@pytest.fixture(autouse=True)
def _lightnings_own_warnings():
    import warnings

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`isinstance\(treespec, LeafSpec\)` is deprecated")
        yield


@pytest.mark.parametrize("path", ["policy", "text_policy_path"])
def test_micro_batches_take_the_same_step(request, path, labeled):
    parent = request.getfixturevalue(path)
    whole = fit(parent, labeled)[0]
    assert len(whole.gradients) == 3
    assert whole.gradients[0].dtype == torch.float64
    for size in (8, 1):
        parts = fit(parent, labeled, data={"micro_batch_size": size})[0]
        for got, want in zip(parts.gradients, whole.gradients, strict=True):
            assert want.abs().max() > 1e-3
            assert (got - want).abs().max() < 1e-10
        assert parts.losses == pytest.approx(whole.losses, abs=1e-10)


def test_the_step_is_eq_1_over_the_tokens_of_the_effective_batch(text_policy_path, labeled):
    """Against one plain forward pass a row, without padding or masks."""
    record, _, _, data = fit(text_policy_path, labeled, steps=1)
    model = SFTModule(str(text_policy_path), optimizer=ADAMW).policy.double()
    step = next(iter(data.train_dataloader()))
    total, tokens = torch.zeros((), dtype=torch.float64), 0
    for micro in step:
        for ids, attended, completion in zip(
            micro["input_ids"][:, 0], micro["attention_mask"][:, 0], micro["completion_mask"][:, 0], strict=True
        ):
            length = int(completion.sum())
            logps = torch.log_softmax(model(input_ids=ids[attended][None]).logits[0], dim=1)
            total = total - sum(logps[-length - 1 + i, ids[completion][i]] for i in range(length))
            tokens += length
    (total / tokens).backward()
    expected = torch.cat([p.grad.flatten() for p in model.parameters()])
    assert record.losses[0] == pytest.approx(float(total.detach() / tokens), abs=1e-12)
    assert (record.gradients[0] - expected).abs().max() < 1e-12


def test_rates_warm_up_and_decay_to_zero(policy, labeled):
    rates = fit(policy, labeled, steps=6)[0].rates
    assert rates == pytest.approx([1e-3 * x / 6 for x in (6, 5, 4, 3, 2, 1)])
    rates = fit(policy, labeled, steps=6, warmup_steps=2)[0].rates
    assert rates == pytest.approx([1e-3 * x for x in (0.5, 1, 1, 0.75, 0.5, 0.25)])


def test_gradients_are_clipped_by_lightnings_flag(policy, labeled):
    norms = []

    class AfterClipping(Callback):
        def on_train_batch_end(self, trainer, pl_module, *args):
            norms.append(float(torch.nn.utils.get_total_norm([p.grad for p in pl_module.parameters()])))

    fit(policy, labeled, callbacks=[AfterClipping()], data={"micro_batch_size": 8}, trainer={"gradient_clip_val": 0.01})
    assert norms == pytest.approx([0.01] * 3, rel=1e-4)


def test_learns_and_validates(policy, labeled):
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
    record, module, trainer, data = fit(
        policy,
        labeled,
        optimizer=optimizer,
        trainer={"max_epochs": 8, "limit_train_batches": 1.0, "precision": "32-true"},
    )
    assert record.losses[-1] < record.losses[0] - 0.5
    metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"train/loss", "train/lr", "train/grad_norm", "train/tokens_per_second"} <= set(metrics)
    module.eval()
    nll = correct = tokens = 0.0
    with torch.no_grad():
        for step in data.val_dataloader():
            for micro in step:
                ids, mask = micro["input_ids"][:, 0], micro["completion_mask"][:, 0]
                logits = module.policy(input_ids=ids).logits[:, :-1]
                nll += float(
                    torch.nn.functional.cross_entropy(logits[mask[:, 1:]], ids[:, 1:][mask[:, 1:]], reduction="sum")
                )
                correct += int((logits.argmax(2) == ids[:, 1:])[mask[:, 1:]].sum())
                tokens += int(mask.sum())
    assert metrics["val/loss"] == pytest.approx(nll / tokens, rel=1e-5)
    assert metrics["val/perplexity"] == pytest.approx(torch.tensor(nll / tokens).exp().item(), rel=1e-5)
    assert metrics["val/token_accuracy"] == pytest.approx(correct / tokens, abs=1e-6)


def test_validation_adds_up_in_float32_where_the_policy_is_bfloat16(policy, labeled):
    """Many small steps of validation: counts beyond 256 and means that bfloat16 would round."""
    module, trainer, data = fit(
        policy, labeled, steps=1, trainer={"precision": "bf16-true"}, data={"batch_size": 4, "val_fraction": 0.3}
    )[1:]
    assert next(module.parameters()).dtype == torch.bfloat16
    module.eval()
    nll = correct = tokens = 0.0
    with torch.no_grad():
        for step in data.val_dataloader():
            for micro in step:
                ids, mask = micro["input_ids"][:, 0], micro["completion_mask"][:, 0]
                logits = module.policy(input_ids=ids).logits[:, :-1].float()
                picked, targets = logits[mask[:, 1:]], ids[:, 1:][mask[:, 1:]]
                nll += float(torch.nn.functional.cross_entropy(picked, targets, reduction="sum"))
                correct += int((picked.argmax(1) == targets).sum())
                tokens += int(mask.sum())
    assert tokens > 2000
    assert float(trainer.callback_metrics["val/loss"]) == pytest.approx(nll / tokens, rel=1e-5)
    assert float(trainer.callback_metrics["val/token_accuracy"]) == pytest.approx(correct / tokens, rel=1e-5)


def test_not_finite_stops_before_the_step(policy, labeled):
    class Poison(Callback):
        def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
            if batch_idx == 1:
                self.rows = batch[0]["rows"].tolist()
                next(pl_module.policy.parameters()).data[:] = torch.nan

    poison = Poison()
    with pytest.raises(LlomeError, match="the loss is nan at step 2, examples ") as caught:
        fit(policy, labeled, callbacks=[poison])
    assert ", ".join(map(str, poison.rows[:16])) + ", ... (64 in all)" in str(caught.value)


def test_dropout_is_keyed_by_step_and_seed(text_policy_path, labeled):
    def losses(seed, disturb):
        class Dropout(Callback):
            def on_train_start(self, trainer, pl_module):
                for module in pl_module.policy.modules():
                    if isinstance(module, torch.nn.Dropout):
                        module.p = 0.3
                torch.manual_seed(disturb)

        return fit(text_policy_path, labeled, callbacks=[Dropout()], random_seed=seed)[0].losses

    assert losses(1, 0) == losses(1, 99)
    assert losses(1, 0) != losses(2, 0)


def test_refusals(policy, labeled):
    with pytest.raises(ConfigError, match="warmup_steps is -1"):
        SFTModule(str(policy), optimizer=ADAMW, warmup_steps=-1)
    for rate, message in (
        (-1.0, r"refuses its settings: Invalid learning rate: -1\.0"),
        (float("inf"), r"lr of AdamW is inf; set .*init_args\.lr to a finite number"),
    ):
        with pytest.raises(ConfigError, match=message):
            SFTModule(str(policy), optimizer=functools.partial(torch.optim.AdamW, lr=rate))
    with pytest.raises(ConfigError, match=r"trainer.max_epochs or trainer.max_steps"):
        fit(policy, labeled, trainer={"max_epochs": -1, "limit_train_batches": 1.0})
