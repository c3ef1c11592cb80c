"""`llome plan`: what it reads from an experiment's files, what it prints, and the page that shows it."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from llome.cli import main
from llome.errors import ConfigError
from llome.experiment import load_experiment
from llome.planning.hours import CARDS
from llome.planning.reading import labels_of_rounds, read_refining, read_training
from llome.planning.shapes import PYTHIA
from llome.stages.plan import plan, read_sizes

MAIN = "configs/experiments/paper/main.yaml"
PAGE = "configs/profiles/README.md"
SHAPE = PYTHIA["pythia-2.8b"]


def test_the_page_shows_what_the_command_prints(at_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path(PAGE).read_text()
    (command,) = re.findall(r"```sh\nllome (plan .*)\n```", text)
    (shown,) = re.findall(r"```text\n(.*?)```", text, re.DOTALL)
    assert main(command.split()) == 0
    assert capsys.readouterr().out == shown


def test_settings_of_the_papers_trainings(at_root: Path) -> None:
    experiment = load_experiment(MAIN)
    sft, dpo, marge = (read_training(name, experiment, SHAPE) for name in ("sft", "dpo", "marge"))
    # 128 examples a step on two devices, 8 at a time; RMSprop keeps one number, AdamW two
    assert (sft.step.examples, sft.step.micro_batches, sft.step.moments, sft.step.devices) == (8, 8, 2, 2)
    assert (dpo.step.examples, dpo.step.micro_batches, dpo.step.moments, dpo.step.completions) == (4, 8, 1, 2)
    assert (dpo.step.precision.weights, dpo.step.precision.compute) == (4, 2)
    assert (sft.looks_ahead, sft.reference) == (False, False)
    assert (dpo.looks_ahead, dpo.reference) == (False, True)
    assert (marge.looks_ahead, marge.reference) == (True, True)
    assert [plan.examples(2000) for plan in (sft, dpo)] == [60_000, 20_000]
    refine = read_refining("configs/refine/paper.yaml")
    assert (refine.rows, refine.inputs, refine.iterations, refine.size) == (12_200, 1_400, 10, 4)


def test_labels_of_rounds(at_root: Path) -> None:
    found = labels_of_rounds(load_experiment(MAIN))
    assert len(found) == 10 + 9 + 9  # the schedules share sft1
    assert (found["sft1"], found["sft2"], found["sft1-marge9"]) == (10_000, 2_000, 2_000)
    assert labels_of_rounds(replace(load_experiment(MAIN), train_on="all"))["sft3"] == 14_000


def test_values_overlay_a_training(at_root: Path, tmp_path: Path) -> None:
    values = tmp_path / "values.yaml"
    overlay = {
        "model": {"init_args": {"gradient_checkpointing": True, "lora": {"rank": 8}}},
        "trainer": {
            "devices": 4,
            "num_nodes": 2,
            "precision": "bf16-true",
            "strategy": {"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"},
        },
    }
    values.write_text(yaml.safe_dump(overlay))
    step = read_training("sft", replace(load_experiment(MAIN), values={"sft": str(values)}), SHAPE).step
    assert (step.devices, step.sharded, step.checkpointing, step.precision.weights) == (8, True, True, 2)
    assert (step.examples, step.micro_batches) == (8, 2)  # 128 over eight devices
    assert step.trainable == 32 * 8 * (4 + 2 + 5 + 5) * 2560  # all linear maps of a layer
    strategy = "configs/train/strategy/fsdp2.yaml"
    step = read_training("sft", replace(load_experiment(MAIN), strategy=strategy), SHAPE).step
    assert (step.devices, step.sharded, step.checkpointing) == (2, True, True)  # as many as the objective's YAML has
    assert step.precision.compute == 2


def write_experiment(tmp_path: Path, **changes: object) -> str:
    settings = yaml.safe_load(Path("configs/experiments/tiny.yaml").read_text()) | changes
    (tmp_path / "experiment.yaml").write_text(yaml.safe_dump(settings))
    return str(tmp_path / "experiment.yaml")


def test_a_small_policy_and_its_json(at_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "plan.json"
    line = ["plan", "--experiment", "configs/experiments/tiny.yaml", "--gpu", "h200", "--json", str(file)]
    assert main(line) == 0
    out = capsys.readouterr().out
    assert "prompts of 14 tokens, completions of 13 (one an element)" in out
    assert "warning" not in out
    assert "an estimate at 40% of the published peak rate" in out
    stages = json.loads(file.read_text())
    assert [stage["stage"] for stage in stages] == ["sft", "refine"]
    assert {stage["fits"]["h200"] for stage in stages} == {"fits"}
    assert list(stages[0]["fits"]) == ["h200"]


def test_a_card_that_is_too_small_is_warned_of(at_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--experiment", MAIN, "--model", "pythia-6.9b", "--gpu", "a100-40", "h200"]) == 0
    out = capsys.readouterr().out
    assert "warning: pythia-6.9b: a100-40 cannot hold sft, dpo, marge as set" in out
    assert "warning: pythia-6.9b: h200 cannot hold sft, marge as set" in out


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--gpu", "a100-8"], "--gpu: Expected a typing.Literal['a100-40', 'a100-80', 'h200']. Got value: a100-8"),
        (["--model", "pythia-3b"], "the shape of model 'pythia-3b' is not known"),
        (["--experiment", "configs/experiments/paper/difficulty.yaml"], "there are several experiments in this file"),
    ],
)
def test_mistakes(args: list[str], message: str, at_root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "--experiment", MAIN, *args]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_every_card_can_be_asked_for() -> None:
    assert inspect.signature(plan).parameters["gpu"].default == list(CARDS)


def test_an_oracle_that_does_not_say_how_long_rows_are(
    at_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "oracle.yaml").write_text("name: ehrlich\nnum_states: 8\n")
    assert main(["plan", "--experiment", write_experiment(tmp_path, oracle=str(tmp_path / "oracle.yaml"))]) == 2
    assert "oracle.yaml: dim is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"model": {"init_args": {"optimizer": {"class_path": "torch.optim.LBFGS"}}}},
            "what 'LBFGS' keeps of a parameter",
        ),
        ({"trainer": {"precision": "transformer-engine"}}, "trainer.precision 'transformer-engine' has no formula"),
        ({"model": {"init_args": {"lora": {"rank": 0}}}}, "lora.rank is 0"),
        ({"trainer": {"devices": 0}}, "trainer.devices is 0"),
    ],
)
def test_settings_without_a_formula(
    change: dict, message: str, at_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "values.yaml").write_text(yaml.safe_dump(change))
    file = write_experiment(tmp_path, values={"sft": str(tmp_path / "values.yaml")})
    assert main(["plan", "--experiment", file]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("oracle", "expected"),
    [
        ({"num_states": 32, "dim": 16}, (32, 16, 16)),
        ({"alphabet": "protein", "length": 12}, (20, 12, 12)),
        ({"alphabet": ["Ala", "Cys", "Gly"], "length": [8, 12]}, (3, 8, 12)),
        ({"alphabet": 7, "length": [8, 8]}, (7, 8, 8)),
    ],
)
def test_sizes_that_an_oracles_yaml_gives(oracle: dict[str, Any], expected: tuple[int, int, int]) -> None:
    assert read_sizes(oracle, "oracle.yaml") == expected


@pytest.mark.parametrize(
    ("oracle", "said"),
    [
        ({"alphabet": "protein"}, "oracle.yaml: length is missing"),
        ({"num_states": 4}, "oracle.yaml: dim is missing"),
        (
            {"alphabet": "dna", "length": [1, 2, 3]},
            r"length is \[1, 2, 3\]; give a number of elements, or \[shortest, longest\]",
        ),
        ({"alphabet": "dna", "length": "12"}, "length is '12'"),
    ],
)
def test_sizes_that_are_missing(oracle: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        read_sizes(oracle, "oracle.yaml")
