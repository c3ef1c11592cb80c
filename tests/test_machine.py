"""What made a file: told of the code, the lock file, the image and the machine, beside the file, and in no hash."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from llome import machine, provenance
from llome.cli import main


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of one commit with a lock file, which stands for the package's."""
    (tmp_path / "containers").mkdir()
    (tmp_path / "containers" / "requirements.lock").write_text("numpy==2\n")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True)
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    return tmp_path


def test_commit_and_changes(checkout: Path) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=checkout, check=True, capture_output=True, text=True)
    lock = checkout / "containers" / "requirements.lock"
    made = machine.made_by()
    assert (made["commit"], made["dirty"]) == (head.stdout.strip(), False)
    assert made["lock"] == provenance.hash_file(lock)
    (checkout / "notes.txt").write_text("not tracked, so no part of the code")
    assert machine.made_by()["dirty"] is False
    lock.write_text("numpy==3\n")
    assert machine.made_by()["dirty"] is True


def test_an_installed_wheel_has_neither(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_ROOT", tmp_path)
    made = machine.made_by()
    assert [made[key] for key in ("commit", "dirty", "lock")] == [None, None, None]


def test_a_checkout_that_git_cannot_read_is_no_failure(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))
    assert machine.made_by()["commit"] is None


@pytest.mark.parametrize(
    ("name", "value", "image"),
    [
        ("LLOME_IMAGE", "sha256:12", "sha256:12"),
        ("APPTAINER_CONTAINER", "/a/home/llome.sif", "llome.sif"),
        ("SINGULARITY_CONTAINER", "/llome.sif", "llome.sif"),
    ],
)
def test_the_image_is_named_without_its_folder(
    name: str, value: str, image: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in machine._IMAGES:
        monkeypatch.delenv(variable, raising=False)
    assert machine.made_by()["image"] is None
    monkeypatch.setenv(name, value)
    assert machine.made_by()["image"] == image


def test_torch_is_not_imported_to_ask_for_gpus() -> None:
    code = "import sys; from llome.machine import made_by; made = made_by(); print(made['gpu'], 'torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "False"]


def test_a_stage_leaves_its_record(at_root: Path, tmp_path: Path) -> None:
    out = tmp_path / "oracle.json"
    assert main(["oracle", "--spec", "configs/oracles/tiny.yaml", "--out", str(out)]) == 0
    assert (
        main(["seed", "--config", "configs/seed/tiny.yaml", "--oracle", str(out), "--out", str(tmp_path / "seed")]) == 0
    )
    assert list(machine.records(tmp_path)) == ["oracle"]
    (record,) = machine.records(tmp_path / "seed").values()
    assert record["python"] == ".".join(map(str, sys.version_info[:3]))
    assert record["packages"]["numpy"] == provenance.versions()["numpy"]
    assert provenance.hash_file(tmp_path / "made_by" / "oracle.json") == provenance.hash_json({})  # in no hash


def test_a_stage_that_failed_leaves_none(tmp_path: Path) -> None:
    assert main(["oracle", "--spec", str(tmp_path / "no.yaml"), "--out", str(tmp_path / "oracle.json")]) == 2
    assert machine.records(tmp_path) == {}
