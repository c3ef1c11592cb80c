"""Builds both images and runs the tiny experiment in each, with no network: buildah on a Debian made on the spot, so no registry is needed.

`make image` builds the Dockerfile as it is; the sections of the definition file are carried out one by one, side by side with that.
Needs root on Debian 12 (chroots); buildah and mmdebstrap, the faster debootstrap, are installed if they are not there.
"""

from __future__ import annotations

import ast
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from workflow.conftest import Clone

from llome.provenance import hash_file

from .definition import ENVIRONMENT, RUNSCRIPT, TEST, read

pytestmark = pytest.mark.slow
GIGABYTE = 1e9
LARGEST = 2.2 * GIGABYTE
BASE = "localhost/llome-test-base"
DEBIAN = ["buildah", "mmdebstrap"]
CALLER = "12345:12345"  # a user that no image knows
FOUND = """
import json, re
from importlib import metadata
print(json.dumps({re.sub("[-_.]+", "-", each.name).lower(): each.version for each in metadata.distributions()}))
"""


def sh(*words: str | Path, **options: Any) -> str:
    """What the command prints; an error says what it said."""
    done = subprocess.run(list(map(str, words)), capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{shlex.join(map(str, words))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@dataclass(frozen=True)
class Container:
    """A container of one of the two images, run as its engine would run it."""

    name: str
    environment: str = ""  # a file that Apptainer would source first

    def run(self, *words: str, options: tuple[str, ...] = ()) -> str:
        """What the command prints, run with no network."""
        command = f". {self.environment}; exec {shlex.join(words)}"
        inside = ("sh", "-c", command) if self.environment else words
        return sh("unshare", "--net", "buildah", "run", *options, self.name, "--", *inside)


@pytest.fixture(scope="module")
def tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("building images takes chroots: not root")
    release = Path("/etc/os-release")
    if not release.is_file() or "VERSION_CODENAME=bookworm" not in release.read_text():
        pytest.skip("the base is made with the package manager of Debian 12: this is none")
    if not all(map(shutil.which, DEBIAN)):
        quietly = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        sh("apt-get", "update", env=quietly)
        sh("apt-get", "install", "--yes", "--no-install-recommends", *DEBIAN, env=quietly)


@pytest.fixture(scope="module")
def store(tools: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Images and containers in a folder of their own, which goes when the tests end."""
    folder = tmp_path_factory.mktemp("images")
    settings = f'[storage]\ndriver = "overlay"\ngraphroot = "{folder}/store"\nrunroot = "{folder}/run"\n'
    (folder / "storage.conf").write_text(settings)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CONTAINERS_STORAGE_CONF", str(folder / "storage.conf"))
        patch.setenv("BUILDAH_ISOLATION", "chroot")
        try:
            yield folder
        finally:
            sh("buildah", "rm", "--all")
            sh("buildah", "rmi", "--all", "--force")
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def base(store: Path) -> str:
    """A Debian with Python, as an image: in memory where there is room, since unpacking packages is writing small files."""
    memory = Path("/dev/shm")
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 2 * GIGABYTE
    options = ("--variant=minbase", "--dpkgopt=force-unsafe-io", "--include=ca-certificates,python3-venv")
    environment = {**os.environ, "TMPDIR": str(memory if roomy else store)}
    sh("mmdebstrap", *options, "bookworm", store / "base.tar", env=environment)
    container = sh("buildah", "from", "scratch").strip()
    sh("buildah", "add", container, store / "base.tar", "/")
    sh("buildah", "commit", "--rm", container, BASE)
    (store / "base.tar").unlink()
    return BASE


@dataclass(frozen=True)
class Pip:
    """How pip is configured on this machine, for pip in a container: files and folders to be mounted there."""

    configuration: Path
    certificates: str | None
    folders: list[str]
    torch: bool  # whether one of the folders has torch for CPUs

    @property
    def mounts(self) -> list[str]:
        return [f"--volume={folder}:{folder}:ro" for folder in self.folders]


@pytest.fixture(scope="module")
def pip(store: Path) -> Pip:
    lines = sh(sys.executable, "-m", "pip", "config", "list").splitlines()
    pairs = [line.split("=", 1) for line in sorted(lines, reverse=True)]  # the environment's, ":env:", last: it wins
    settings = {key.split(".")[-1]: ast.literal_eval(value) for key, value in pairs}
    kept = {
        key: settings[key] for key in ("index-url", "extra-index-url", "find-links", "trusted-host") if key in settings
    }
    (store / "pip.conf").write_text("[global]\n" + "".join(f"{k} = {' '.join(v.split())}\n" for k, v in kept.items()))
    folders = [Path(word) for word in kept.get("find-links", "").replace("file://", "").split() if word[0] == "/"]
    wheels = [wheel for folder in folders for wheel in folder.glob("torch-*+cpu-*.whl")]
    for word in f"{kept.get('index-url', '')} {kept.get('extra-index-url', '')}".split():
        if word.startswith("file://"):  # its pages name files beside it
            folders.append(Path(word.removeprefix("file://")).parent)
    return Pip(store / "pip.conf", settings.get("cert"), list(map(str, folders)), bool(wheels))


def facts(root: Path) -> dict[str, str]:
    lock = hashlib.sha256((root / "containers/requirements.lock").read_bytes()).hexdigest()[:12]
    return {"BASE": BASE, "VARIANT": "cpu", "LOCK_HASH": lock}


def docker_image(root: Path, pip: Pip) -> Container:
    """`make image`, and a container of what it made."""
    arguments = [f"--secret=id=pip.conf,src={pip.configuration}", *pip.mounts]
    if pip.certificates:
        arguments.append(f"--secret=id=ca.crt,src={pip.certificates}")
    if pip.torch:
        arguments.append("--build-arg=TORCH_INDEX=")
    sh("make", "image", "ENGINE=buildah", f"BASE={BASE}", f"IMAGE_ARGS={shlex.join(arguments)}", cwd=root)
    return Container(sh("buildah", "from", "llome-cpu:0.1.0").strip())


def apptainer_image(root: Path, folder: Path, pip: Pip) -> Container:
    """The sections of the definition file, in the order and the way in which Apptainer carries them out."""
    given = facts(root) | ({"TORCH_INDEX": ""} if pip.torch else {})
    definition = read((root / "containers/llome.def").read_text(), **given)
    container = sh("buildah", "from", definition.header["from"]).strip()
    for source, target in definition.files():
        sh("buildah", "copy", container, root / source, target)
    mounts = [f"--volume={pip.configuration}:/run/secrets/pip.conf:ro", *pip.mounts]
    if pip.certificates:
        mounts.append(f"--volume={pip.certificates}:/run/secrets/ca.crt:ro")
    sh("buildah", "run", *mounts, container, "--", "/bin/sh", "-cex", definition.sections["post"])
    for section, target in {"environment": ENVIRONMENT, "runscript": RUNSCRIPT, "test": TEST}.items():
        (folder / section).write_text(definition.sections[section])
        sh("buildah", "copy", container, folder / section, target)
    caller = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/tmp", "USER": "caller"}  # as Apptainer hands them on
    variables = [f"--env={name}={value}" for name, value in caller.items()]
    sh("buildah", "config", *variables, "--user", CALLER, container)
    return Container(container, ENVIRONMENT)


@pytest.fixture(scope="module")
def images(root: Path, store: Path, base: str, pip: Pip) -> tuple[Container, Container]:
    """Docker's and Apptainer's, built at the same time."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(docker_image, root, pip), pool.submit(apptainer_image, root, store, pip)
        return first.result(), second.result()


@pytest.fixture(scope="module")
def docker(images: tuple[Container, Container]) -> Container:
    return images[0]


@pytest.fixture(scope="module")
def apptainer(images: tuple[Container, Container]) -> Container:
    return images[1]


def test_the_image_says_what_it_is_and_how_it_is_checked(root: Path, docker: Container) -> None:
    image = json.loads(sh("buildah", "inspect", "--type", "image", "llome-cpu:0.1.0"))["Docker"]["config"]
    lock = facts(root)["LOCK_HASH"]
    assert f"LLOME_IMAGE=llome-cpu:0.1.0+{lock}" in image["Env"]
    assert image["Healthcheck"]["Test"] == ["CMD", "llome-check"]
    assert image["User"] == "llome"
    labels = image["Labels"]
    assert (labels["llome.lock"], labels["llome.variant"]) == (lock, "cpu")
    assert labels["org.opencontainers.image.version"] == "0.1.0"
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?|unknown", labels["org.opencontainers.image.revision"])


def test_the_image_is_no_larger_than_it_was(docker: Container, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = [
        each["size"] for each in json.loads(sh("buildah", "images", "--json")) if "llome-cpu" in str(each["names"])
    ]
    with capsys.disabled():
        print(f"\nllome-cpu:0.1.0 takes {sizes[0]}")
    number, unit = sizes[0].split()
    assert float(number) * {"MB": 1e6, "GB": 1e9}[unit] < LARGEST


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
    assert said.splitlines()[-1] == f"ok: llome-cpu:0.1.0+{facts(root)['LOCK_HASH']} runs the tiny experiment"


def test_the_definitions_test_runs_the_tiny_experiment(root: Path, apptainer: Container) -> None:
    said = apptainer.run("/bin/sh", TEST)
    assert said.splitlines()[-1] == f"ok: llome-cpu:0.1.0+{facts(root)['LOCK_HASH']} runs the tiny experiment"


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
