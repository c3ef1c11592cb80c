"""Stages side by side on one machine: each GPU is one process's, as long as there are enough."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from llome.errors import ConfigError, PolicyError
from llome.policy import devices


@pytest.fixture(autouse=True)
def four_gpus(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(
        torch.cuda, "device_count", lambda: len(os.environ.get("CUDA_VISIBLE_DEVICES", "0,1,2,3").split(","))
    )
    monkeypatch.setattr(devices.tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")  # so that it is put back afterwards
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    monkeypatch.setenv("LLOME_GPUS", "1")
    yield
    release()


def release() -> None:
    """What the end of this process does."""
    for file in devices._claimed:
        file.close()
    devices._claimed.clear()


@contextmanager
def held(folder: Path, *names: str) -> Iterator[None]:
    """GPUs that other processes have."""
    files = [(folder / f"llome-{os.getuid()}-gpu-{name}.lock").open("w") for name in names]
    for file in files:
        fcntl.flock(file, fcntl.LOCK_EX)
    yield
    for file in files:
        file.close()


def test_free_gpus_are_claimed_until_the_process_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLOME_GPUS", "2")
    with held(tmp_path, "0", "2"):
        assert devices.claim_gpus() == [1, 3]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1,3"
    assert devices.claim_gpus() == []  # those it starts share what it has
    release()
    monkeypatch.setenv("LLOME_GPUS", "2")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    assert devices.claim_gpus() == [0, 1]


def test_only_what_is_visible_is_claimed_by_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5,7,6")
    with held(tmp_path, "5"):
        assert devices.claim_gpus() == [1]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"


@pytest.mark.parametrize(("wanted", "visible"), [("0", "0,1,2,3"), ("", "0,1,2,3"), ("2", "3,4"), ("4", "1")])
def test_nothing_is_claimed_where_there_is_no_choice(
    monkeypatch: pytest.MonkeyPatch, wanted: str, visible: str
) -> None:
    monkeypatch.setenv("LLOME_GPUS", wanted)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert devices.claim_gpus() == []
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_where_too_few_are_free_jobs_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLOME_GPUS", "2")
    with held(tmp_path, "0", "1", "3"):
        assert devices.claim_gpus() == [2, 0]


def test_what_is_no_number_or_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLOME_GPUS", "all")
    with pytest.raises(ConfigError, match="LLOME_GPUS is 'all'"):
        devices.claim_gpus()
    assert devices.pick_device("cpu") == "cpu"
    with pytest.raises(PolicyError, match="nonsense"):
        devices.pick_device("nonsense")
