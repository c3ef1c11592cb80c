"""What jobs ask for is what the stages' YAMLs say: GPUs by their devices, memory by the policy and the attempt."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from llome.experiment import load_experiments
from llome.needs import Needs


def test_a_small_policy_asks_for_no_gpu(at_root: Path) -> None:
    (experiment,) = load_experiments("configs/experiments/tiny.yaml").values()
    needs = Needs(experiment)
    assert [needs.gpus(stage, "sft2") for stage in ("train", "refine", "label")] == [0, 0, 0]
    assert [needs.memory("train", attempt) for attempt in (1, 2, 3)] == [4_000, 8_000, 16_000]
    assert needs.memory("label") < needs.memory("train")


def test_a_pretrained_policy_asks_for_the_devices_of_its_train_yaml(at_root: Path) -> None:
    experiment = next(iter(load_experiments("configs/experiments/paper/main.yaml").values()))
    devices = yaml.safe_load(Path(experiment.train["marge"]).read_text())["trainer"]["devices"]
    needs = Needs(experiment)
    assert needs.gpus("train", "sft1-marge3") == devices == 2
    assert (needs.gpus("refine", "sft1"), needs.gpus("filter", "sft1")) == (1, 0)
    assert needs.memory("refine") == 32_000
    assert needs.minutes("train") == 1_440


@pytest.mark.parametrize(
    ("trainer", "expected"),
    [
        ({"devices": 4}, 4),
        ({"devices": [0, 3, 5]}, 3),
        ({"devices": "auto"}, 2),
        ({"accelerator": "cpu", "devices": 4}, 0),
    ],
)
def test_what_is_laid_over_the_train_yaml_counts(at_root: Path, tmp_path: Path, trainer: dict, expected: int) -> None:
    experiment = next(iter(load_experiments("configs/experiments/paper/main.yaml").values()))
    strategy = tmp_path / "strategy.yaml"
    strategy.write_text(yaml.safe_dump({"trainer": trainer}))
    assert Needs(replace(experiment, strategy=str(strategy))).gpus("train", "sft1") == expected


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "lora"])
def test_the_shipped_strategies_leave_the_number_of_devices(at_root: Path, name: str) -> None:
    experiment = next(iter(load_experiments("configs/experiments/paper/main.yaml").values()))
    strategy = f"configs/train/strategy/{name}.yaml"
    assert Needs(replace(experiment, strategy=strategy)).gpus("train", "sft1") == 2
