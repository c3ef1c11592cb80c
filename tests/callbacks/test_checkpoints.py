"""Checkpoints that are folders: put in place whole, found after a kill at any moment, and refused where something is missing."""

import os

import pytest
import torch
from torch.distributed import checkpoint as dcp

from llome.callbacks import ResumeCallback
from llome.callbacks.checkpoints import found, put, read_checkpoint
from llome.errors import LlomeError
from llome.modules.base.sharding import read_weights


def write(path, text):
    path.mkdir()
    (path / "share").write_text(text)
    return path


def test_a_folder_replaces_a_folder(tmp_path):
    path = tmp_path / "last.ckpt"
    for text in ("first", "second"):
        put(write(tmp_path / "last.ckpt.part", text), path)
        assert (found(path) / "share").read_text() == text
        assert [entry.name for entry in tmp_path.iterdir()] == ["last.ckpt"]


@pytest.mark.parametrize(("dies_at", "left"), [(1, "first"), (2, "first"), (3, "second")])
def test_one_of_both_is_found_whatever_happens(tmp_path, monkeypatch, dies_at, left):
    """Killed before the first rename, between the two, and before the old folder is removed; and then the next one is put."""
    path = tmp_path / "last.ckpt"
    put(write(tmp_path / "last.ckpt.part", "first"), path)
    calls = []

    def dying(do):
        def step(*args, **kwargs):
            if "old" in str(args[0]) and not os.path.exists(args[0]):
                return None  # nothing is left of an earlier one
            calls.append(1)
            if len(calls) == dies_at:
                raise KeyboardInterrupt
            return do(*args, **kwargs)

        return step

    with monkeypatch.context() as patch:
        patch.setattr("llome.callbacks.checkpoints.os.replace", dying(os.replace))
        patch.setattr("llome.callbacks.checkpoints.shutil.rmtree", dying(__import__("shutil").rmtree))
        with pytest.raises(KeyboardInterrupt):
            put(write(tmp_path / "last.ckpt.part", "second"), path)
    assert (found(path) / "share").read_text() == left
    (tmp_path / "last.ckpt.part").exists() or write(tmp_path / "last.ckpt.part", "third")
    (tmp_path / "last.ckpt.part" / "share").write_text("third")
    put(tmp_path / "last.ckpt.part", path)
    assert (found(path) / "share").read_text() == "third"


@pytest.fixture
def spread(tmp_path):
    """A run's folder with a checkpoint of a module of one weight."""
    module = torch.nn.Module()
    module.policy = torch.nn.Linear(64, 32, bias=False)
    folder = tmp_path / "run"
    with pytest.warns(UserWarning, match="torch.distributed is disabled"):
        dcp.save({"state_dict": module.state_dict()}, checkpoint_id=folder / "last.ckpt", no_dist=True)
    callback = ResumeCallback()
    callback.folder = folder
    torch.save({"callbacks": {callback.state_key: callback.state_dict()}}, folder / "last.ckpt" / "meta.pt")
    return callback, module


def test_a_spread_checkpoint_is_read_without_its_processes(spread):
    callback, module = spread
    assert callback.last == callback.folder / "last.ckpt"
    callback.check(module)
    assert read_checkpoint(callback.last)[1] == {"policy.weight": (32, 64)}
    weights = read_weights(callback.last, {"weight": torch.zeros(32, 64)})
    assert torch.equal(weights["weight"], module.policy.weight)


@pytest.mark.parametrize(
    ("name", "tamper", "reason"),
    [
        ("*.distcp", lambda file: file.write_bytes(file.read_bytes()[:-100]), "it is cut short or no checkpoint"),
        ("*.distcp", lambda file: file.unlink(), "it is missing"),
        (".metadata", lambda file: file.write_bytes(file.read_bytes()[:-100]), "it is cut short or no checkpoint"),
        ("meta.pt", lambda file: file.write_bytes(b""), "it is cut short or no checkpoint"),
        ("meta.pt", lambda file: torch.save({"callbacks": {}}, file), "it was not written by this run"),
    ],
)
def test_a_spread_checkpoint_that_cannot_be_gone_on_from(spread, name, tamper, reason):
    callback, module = spread
    (file,) = callback.last.glob(name)
    tamper(file)
    with pytest.raises(LlomeError, match=f"last.ckpt: {reason}; delete the folder"):
        callback.check(module)


def test_another_policy_is_refused(spread):
    callback, module = spread
    module.policy = torch.nn.Linear(64, 33, bias=False)
    with pytest.raises(LlomeError, match="its weights are those of another policy"):
        callback.check(module)
