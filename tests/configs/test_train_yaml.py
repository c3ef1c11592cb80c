"""Every shipped training YAML is complete: it parses with nothing but files and the seed added."""

from pathlib import Path

import pytest
import yaml

from llome.cli import main

CONFIGS = sorted((Path(__file__).resolve().parents[2] / "configs" / "train").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_parses(path, capsys):
    line = [
        "train",
        "fit",
        "--config",
        str(path),
        "--parent",
        "p",
        "--labeled",
        "a",
        "b",
        "--out",
        "o",
        "--random_seed",
        "1",
    ]
    assert main([*line, "--print_config"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    written = yaml.safe_load(path.read_text())
    assert shown["labeled"] == ["a", "b"]
    for section in ("data", "checkpoint", "validity"):
        assert written[section].items() <= shown[section].items()
    assert (
        shown["model"]["init_args"]["optimizer"]["init_args"].items()
        >= written["model"]["init_args"]["optimizer"]["init_args"].items()
    )
    assert written["trainer"].items() <= shown["trainer"].items()


@pytest.mark.parametrize("name", ["ddp", "fsdp2", "lora"])
def test_strategies_are_laid_over_an_objective(name, capsys):
    """What the second YAML says holds, and everything else is the first one's."""
    objective = CONFIGS[0].with_name("marge_pythia.yaml")
    overlay = objective.parent / "strategy" / f"{name}.yaml"
    files = ["--parent", "p", "--labeled", "a", "--out", "o", "--random_seed", "1", "--print_config"]
    shown = []
    for configs in (("--config", str(objective)), ("--config", str(objective), "--config", str(overlay))):
        assert main(["train", "fit", *configs, *files]) == 0
        shown.append(flat(yaml.safe_load(capsys.readouterr().out)))
    before, after = shown
    said = flat(yaml.safe_load(overlay.read_text()))
    assert said.items() <= after.items()
    assert {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)} <= {
        key
        for key in before.keys() | after.keys()
        if key.startswith(("trainer.strategy", *said, "model.init_args.lora"))
    }


def flat(settings, name=""):
    """{"a.b": value} of nested settings."""
    if not isinstance(settings, dict):
        return {name: settings}
    return {k: v for key, inner in settings.items() for k, v in flat(inner, f"{name}.{key}".strip(".")).items()}
