"""Both images, built by buildah on a Debian made on the spot, so that no registry is needed.

`make image` builds the Dockerfile as it is; the sections of the definition file are carried out one by one, side by side with that.
Needs root on Debian 12 (chroots); buildah and mmdebstrap, the faster debootstrap, are installed if they are not there.
"""

from __future__ import annotations

import ast
import hashlib
import os
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
from debian_packages import install

from .definition import ENVIRONMENT, RUNSCRIPT, TEST, read

GIGABYTE = 1e9
BASE = "localhost/llome-test-base"
DEBIAN = ["buildah", "mmdebstrap"]
CALLER = "12345:12345"  # a user that no image knows


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
        if policy := os.environ.get("OMP_WAIT_POLICY"):
            options = ("--env", f"OMP_WAIT_POLICY={policy}", *options)
        return sh("unshare", "--net", "buildah", "run", *options, self.name, "--", *inside)


@pytest.fixture(scope="session")
def tools() -> None:
    if os.geteuid() != 0:
        pytest.skip("building images takes chroots: not root")
    release = Path("/etc/os-release")
    if not release.is_file() or "VERSION_CODENAME=bookworm" not in release.read_text():
        pytest.skip("the base is made with the package manager of Debian 12: this is none")
    if not all(map(shutil.which, DEBIAN)):
        reason = install(*DEBIAN)
        assert reason is None, reason


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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


@pytest.fixture(scope="session")
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


def lock_hash(root: Path) -> str:
    return hashlib.sha256((root / "containers/requirements.lock").read_bytes()).hexdigest()[:16]


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
    given = {"BASE": BASE, "LOCK_HASH": lock_hash(root)} | ({"TORCH_INDEX": ""} if pip.torch else {})
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


@pytest.fixture(scope="session")
def images(root: Path, store: Path, base: str, pip: Pip) -> tuple[Container, Container]:
    """Docker's and Apptainer's, built at the same time."""
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.submit(docker_image, root, pip), pool.submit(apptainer_image, root, store, pip)
        return first.result(), second.result()


@pytest.fixture(scope="session")
def docker(images: tuple[Container, Container]) -> Container:
    return images[0]


@pytest.fixture(scope="session")
def apptainer(images: tuple[Container, Container]) -> Container:
    return images[1]
