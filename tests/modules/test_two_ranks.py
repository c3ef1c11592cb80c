"""Two processes take the step of one, whatever holds the weights: DistributedDataParallel, FSDP2, and LoRA under both.

Every strategy trains all objectives in one pair of processes, in float64: whole, in micro-batches of 8, and on an epoch whose last step
is a single row, so that one of the two processes is idle.
"""

import os
import socket
import warnings

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.strategies import ModelParallelStrategy
from test_objective_modules import ADAMW, ALL, SETTINGS, VARIANTS, Nudge
from test_policy_module import _lightnings_own_warnings, fit  # noqa: F401

from llome.data.datamodule import PropEnDataModule
from llome.modules.base import LoRA
from llome.modules.base.sharding import is_sharded, whole_weights

STRATEGIES = {"ddp": lambda: "ddp", "fsdp2": ModelParallelStrategy}


class Double(Callback):
    """Lightning's 64-true, which its ModelParallelStrategy refuses, and only shares to nudge where the pass for the reference left more."""

    def setup(self, trainer, pl_module, stage):
        pl_module.double()

    def on_train_start(self, trainer, pl_module):
        if is_sharded(pl_module.policy):
            pl_module.policy.reshard()


def cases(strategy):
    """name -> objective, settings, settings of the data and of the trainer."""
    found = {}
    for objective, options in [("sft", {}), *VARIANTS] if strategy == "ddp" else [(name, {}) for name in ALL]:
        for size in (None, 8):
            found[f"{objective} {options} {size}"] = (objective, options, {"micro_batch_size": size}, {})
    for objective in ALL:
        found[f"{objective} uneven"] = (
            objective,
            {},
            {"batch_size": None, "micro_batch_size": 40},
            {"limit_train_batches": 1.0},
        )
    more = {"gradient_checkpointing": True, "lora": LoRA(rank=3)}
    clipped = {"gradient_clip_val": 0.01}
    found["dpo adapters"] = ("dpo", more, {"micro_batch_size": 8}, {})
    found["marge clipped"] = ("marge", {"gradient_checkpointing": True}, {"micro_batch_size": 8}, clipped)
    return found


def train(case, policy, labeled, **trainer):
    objective, options, data, more = case
    data = data | {"kind": ALL[objective].kind}
    if data.get("batch_size", 0) is None:
        rows = PropEnDataModule(policy, [labeled], max_distance=0.5, random_seed=1, kind=data["kind"])
        rows.setup("fit")
        data["batch_size"] = len(rows.train_rows) - 1
    weights = {}

    class Weights(Callback):
        def on_fit_end(self, trainer, pl_module):
            weights.update(whole_weights(pl_module.policy))

    record, _, trainer, _ = fit(
        policy,
        labeled,
        objective=ALL[objective],
        optimizer=ADAMW,
        callbacks=[Double(), Nudge(), Weights()],
        data=data,
        trainer={"precision": "32-true"} | more | trainer,
        **SETTINGS.get(objective, {}) | options,
    )
    metrics = {key: float(value) for key, value in trainer.callback_metrics.items()}
    return record.gradients, record.losses, metrics, weights


def _train_on_two_ranks(rank, port, folder, policy, labeled, strategy):
    """One of two processes; the first writes what both have agreed on."""
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "LOCAL_RANK": str(rank), "NODE_RANK": "0"}
    os.environ |= {"GLOO_SOCKET_IFNAME": "lo"}
    results = {}
    for name, case in cases(strategy).items():
        results[name] = train(case, policy, labeled, strategy=STRATEGIES[strategy](), devices=2)
    if rank == 0:
        torch.save(results, folder / "results.pt")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_two_ranks_take_the_same_step(policy, labeled, tmp_path, strategy):
    policy, labeled = str(policy), str(labeled)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(_train_on_two_ranks, (port, tmp_path, policy, labeled, strategy), nprocs=2)
    results = torch.load(tmp_path / "results.pt", weights_only=False)
    assert results.keys() == cases(strategy).keys()
    for name, (objective, options, data, more) in cases(strategy).items():
        gradients, losses, metrics, weights = train(
            (objective, options, data | {"micro_batch_size": None}, more), policy, labeled
        )
        assert len(gradients) == (2 if "uneven" in name else 3)
        for one, other in zip(results[name][0], gradients, strict=True):
            assert other.abs().max() > 1e-3, name
            assert (one - other).abs().max() < 1e-10, name
        assert results[name][1] == pytest.approx(losses, abs=1e-10), name
        assert results[name][3].keys() == weights.keys()
        for key, value in weights.items():
            assert (results[name][3][key] - value).abs().max() < 1e-10, (name, key)
        for key, value in metrics.items():
            if "second" not in key:
                assert results[name][2][key] == pytest.approx(value, rel=1e-5, abs=1e-8), (name, key)
