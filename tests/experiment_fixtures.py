"""A good experiment, and the files that it names."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest

GOOD: dict[str, Any] = {
    "name": "demo",
    "oracle": "oracle.yaml",
    "seed": "seed.yaml",
    "base": "base.yaml",
    "train": {"sft": "sft.yaml", "marge": "marge.yaml"},
    "refine": "refine.yaml",
    "filter": "filter.yaml",
    "schedules": [[{"sft": 5}], [{"sft": 1}, {"marge": 9}]],
    "tune": {"marge": "grid.yaml"},
    "replicates": 2,
    "random_seed": 7,
    "train_on": "last",
    "budget": None,
}


@pytest.fixture(autouse=True)
def stage_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("oracle", "base", "refine", "sft", "marge"):
        (tmp_path / f"{name}.yaml").write_text("{}\n")
    (tmp_path / "oracle.yaml").write_text("name: ehrlich\n")
    (tmp_path / "marge.yaml").write_text("model: {lr: 1}\n")
    (tmp_path / "grid.yaml").write_text("grid: {model.lr: [1, 2]}\n")
    (tmp_path / "seed.yaml").write_text("rounds: 10\npopulation: 1000\n")
    (tmp_path / "filter.yaml").write_text("k: 2000\n")


def changed(**changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(GOOD), **changes}


def without(key: str) -> dict[str, Any]:
    return {k: v for k, v in GOOD.items() if k != key}
