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
