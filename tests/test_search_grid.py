"""Grids are read, numbered and laid over a training YAML; what cannot be searched is refused."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from llome.errors import ConfigError
from llome.search import flatten, overlay, read_grid

ROOT = Path(__file__).resolve().parents[1]
SMALL = {"sft": 12, "dpo": 16, "marge": 20}
"""Points of the shipped grids; the published ones have as many."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("train.yaml").write_text("model: {init_args: {lr: 1, reward: margin}}\ndata: {batch_size: 8}\n")


def test_points_vary_the_last_setting_fastest() -> None:
    Path("grid.yaml").write_text("grid: {data.batch_size: [8, 16], model.init_args.lr: [1e-4, 2.0, null]}\n")
    grid = read_grid("grid.yaml", "train.yaml")
    assert len(grid) == 6
    assert grid.min_valid == 0.9
    pairs = [tuple(point.values()) for point in grid.points()]
    assert pairs == [(8, 1e-4), (8, 2.0), (8, None), (16, 1e-4), (16, 2.0), (16, None)]
    assert overlay(grid.points()[1]) == {"data": {"batch_size": 8}, "model": {"init_args": {"lr": 2.0}}}
    assert flatten(overlay(grid.points()[4])) == grid.points()[4]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "grid: {data.batchsize: [8]}",
            "grid varies 'data.batchsize', which train.yaml does not set, did you mean 'data.batch_size'?",
        ),
        ("grid: {nowhere: [8]}", "grid varies 'nowhere', which train.yaml does not set; set it there first"),
        ("grid: {data.batch_size: [8, 16, 8]}", "grid.data.batch_size names 8 twice; drop one"),
        ("grid: {data.batch_size: 8}", "grid.data.batch_size: 8 is an integer, expected a list"),
        ("grid: {data.batch_size: []}", "grid.data.batch_size: an empty list"),
        ("grid: {}", "grid: an empty mapping, expected at least one entry (candidates of each setting"),
        ("min_valid: 0.9", "the key 'grid' is missing: candidates of each setting"),
        ("grid: {data.batch_size: [8]}\nmin_valid: 1", "min_valid: 1 is too large, expected less than 1"),
        ("grids: {data.batch_size: [8]}", "unknown key 'grids', did you mean 'grid'?"),
    ],
)
def test_refusals(text: str, message: str) -> None:
    Path("grid.yaml").write_text(text)
    with pytest.raises(ConfigError) as error:
        read_grid("grid.yaml", "train.yaml")
    assert f"grid.yaml: {message}" in str(error.value)


@pytest.mark.parametrize("suffix", ["", "_pythia"])
@pytest.mark.parametrize("objective", SMALL)
def test_shipped_grids_vary_what_the_shipped_training_sets(objective: str, suffix: str) -> None:
    grid = read_grid(
        str(ROOT / f"configs/tune/{objective}{suffix}.yaml"), str(ROOT / f"configs/train/{objective}{suffix}.yaml")
    )
    assert len(grid) == SMALL[objective]
    settings = flatten(yaml.safe_load((ROOT / f"configs/train/{objective}{suffix}.yaml").read_text()))
    if suffix:  # the released values are points of the published grids
        assert {key: settings[key] for key in grid.values} in grid.points()
