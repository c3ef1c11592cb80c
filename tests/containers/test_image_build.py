"""What the images hold, and the tiny experiment run in each with no network. conftest.py says how they are built."""

from __future__ import annotations

import json
import os
import re
import shlex
from pathlib import Path

import pytest
from workflow.conftest import Clone

from llome.provenance import hash_file

from .conftest import CALLER, GIGABYTE, Container, lock_hash, sh
from .definition import ENVIRONMENT, RUNSCRIPT, TEST

pytestmark = pytest.mark.slow
LARGEST = 2.2 * GIGABYTE
FOUND = """
import json, re
from importlib import metadata
print(json.dumps({re.sub("[-_.]+", "-", each.name).lower(): each.version for each in metadata.distributions()}))
"""


def test_the_image_says_what_it_is_and_how_it_is_checked(root: Path, docker: Container) -> None:
    image = json.loads(sh("buildah", "inspect", "--type", "image", "llome-cpu:0.1.0"))["Docker"]["config"]
    lock = lock_hash(root)
    assert f"LLOME_IMAGE=llome-cpu:0.1.0+{lock}" in image["Env"]
    assert image["Healthcheck"]["Test"] == ["CMD", "llome-check"]
    assert image["User"] == "llome"
    labels = image["Labels"]
    assert (labels["llome.lock"], labels["llome.variant"]) == (lock, "cpu")
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?|unknown", labels["org.opencontainers.image.revision"])


def test_the_image_is_no_larger_than_it_was(docker: Container) -> None:
    sizes = [
        each["size"] for each in json.loads(sh("buildah", "images", "--json")) if "llome-cpu" in str(each["names"])
    ]
    number, unit = sizes[0].split()
    assert float(number) * {"MB": 1e6, "GB": 1e9}[unit] < LARGEST, f"llome-cpu:0.1.0 takes {sizes[0]}"


def test_nothing_of_the_build_is_left(docker: Container, apptainer: Container) -> None:
    for container in (docker, apptainer):
        names = ("gcc", "cc", "g++", "make", "pip", "pip3")
        assert container.run("sh", "-c", f"for name in {' '.join(names)}; do command -v $name || true; done") == ""
        left = "for file in /build /root/.cache /run/secrets/* /etc/pip.conf; do [ ! -s $file ] || echo $file; done"
        assert container.run("sh", "-c", left, options=("--user", "0")) == ""
        assert container.run("find", "/opt/llome", "-name", "*.whl", "-o", "-perm", "-o+w", "-not", "-type", "l") == ""


def test_both_images_hold_the_lock_and_no_developers_tools(root: Path, docker: Container, apptainer: Container) -> None:
    found = json.loads(docker.run("python3", "-c", FOUND))
    assert found == json.loads(apptainer.run("python3", "-c", FOUND))
    lines = (root / "containers/requirements.lock").read_text().splitlines()
    pairs = (line.split("==") for line in lines if "==" in line)
    locked = {re.sub("[-_.]+", "-", name).lower(): version for name, version in pairs}
    assert found.pop("llome") == "0.1.0"
    assert found.pop("torch") == f"{locked['torch']}+cpu"
    assert {name: version for name, version in found.items() if locked.get(name) != version} == {}
    assert {"lightning", "snakemake", "peft", "snakemake-executor-plugin-slurm"} <= found.keys()
    assert not found.keys() & {"pip", "ruff", "mypy", "pytest", "black", "snakefmt"}


def test_a_container_has_no_root_and_no_network(docker: Container, apptainer: Container) -> None:
    reach = "import socket; print(socket.socket().connect_ex(('192.0.2.1', 80)) != 0)"
    assert docker.run("id", "-un").strip() == "llome"
    assert apptainer.run("id", "-u").strip() == CALLER.split(":")[0]
    for container in (docker, apptainer):
        assert container.run("python3", "-c", reach).strip() == "True"


def test_the_health_check_runs_the_tiny_experiment(root: Path, docker: Container) -> None:
    said = docker.run("llome-check")
    assert said.splitlines()[0] == "llome 0.1.0"
    assert said.splitlines()[-1] == f"ok: llome-cpu:0.1.0+{lock_hash(root)} runs the tiny experiment"


def test_the_definitions_test_runs_the_tiny_experiment(root: Path, apptainer: Container) -> None:
    said = apptainer.run("/bin/sh", TEST)
    assert said.splitlines()[-1] == f"ok: llome-cpu:0.1.0+{lock_hash(root)} runs the tiny experiment"


def test_the_definitions_other_sections(apptainer: Container) -> None:
    assert apptainer.run("/bin/sh", RUNSCRIPT, "llome", "--version") == "llome 0.1.0\n"
    assert "usage: llome" in apptainer.run("/bin/sh", RUNSCRIPT)
    assert apptainer.run("sh", "-c", "echo $PYTHONPATH", options=("--env", "PYTHONPATH=/elsewhere")) == "\n"


def test_any_user_works_in_a_mounted_folder(docker: Container, tmp_path: Path) -> None:
    """As the README says: the files come out of the image, and what is made belongs to the caller."""
    work = tmp_path / "work"
    work.mkdir()
    os.chown(work, *map(int, CALLER.split(":")))
    options = ("--user", CALLER, "--volume", f"{work}:/work")
    docker.run("cp", "-R", "/opt/llome/share/llome/.", ".", options=options)
    docker.run(
        *(
            "snakemake",
            "--cores",
            "1",
            "--configfile",
            "configs/experiments/tiny.yaml",
            "--",
            "results/tiny/oracle.json",
        ),
        options=options,
    )
    assert (work / "results/tiny/oracle.json").stat().st_uid == int(CALLER.split(":")[0])


def test_snakemake_runs_stages_in_the_definitions_image(
    root: Path, apptainer: Container, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a stand-in for the program `apptainer` that hands the commands to buildah; the bytes are those of a run without it."""
    clone = Clone.make(root, tmp_path / "clone")
    assert clone.snakemake("--", "results/tiny/oracle.json").returncode == 0
    oracle = clone.folder / "results/tiny/oracle.json"
    expected = hash_file(oracle)
    oracle.unlink()
    (clone.folder / "containers").mkdir()
    (clone.folder / "containers/llome.sif").touch()
    program = tmp_path / "bin/apptainer"
    program.parent.mkdir()
    inside = f'. {ENVIRONMENT}; cd "$0"; echo "$LLOME_IMAGE" > image; exec bash -c "$1"'
    program.write_text(
        "#!/bin/bash\nif [ $1 = --version ]; then echo apptainer version 1.3.0; exit; fi\n"
        f'exec buildah run --user 0 --volume "$PWD:$PWD" {apptainer.name} -- sh -c {shlex.quote(inside)} "$PWD" "${{@: -1}}"\n'
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    run = clone.snakemake("--software-deployment-method", "apptainer", "--", "results/tiny/oracle.json")
    assert run.returncode == 0, run.stdout + run.stderr
    assert (clone.folder / "image").read_text().startswith("llome-cpu:0.1.0+")
    assert hash_file(oracle) == expected
