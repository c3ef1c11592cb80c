"""The container files against each other and against the repository; no engine is needed. test_image_build.py builds them."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from .definition import DefinitionError, read


@pytest.fixture
def dockerfile(root: Path) -> list[list[str]]:
    """Its instructions, each split into words."""
    text = re.sub(r"^\s*#.*\n", "", (root / "containers/Dockerfile").read_text(), flags=re.MULTILINE)
    return [shlex.split(line) for line in text.replace("\\\n", " ").splitlines() if line.strip()]


@pytest.fixture
def definition(root: Path) -> str:
    return (root / "containers/llome.def").read_text()


def defaults(dockerfile: list[list[str]]) -> dict[str, str]:
    pairs = (words[1].partition("=") for words in dockerfile if words[0] == "ARG")
    return {name: value for name, equals, value in pairs if equals}


def copied(dockerfile: list[list[str]]) -> set[tuple[str, str]]:
    """Sources and targets of what is copied from the repository."""
    pairs = set()
    for words in dockerfile:
        if words[0] == "COPY" and not words[1].startswith("--from"):
            *sources, target = words[1:]
            for source in sources:
                pairs.add(
                    (source, os.path.normpath(f"/build/{target}/{Path(source).name if target[-1] == '/' else ''}"))
                )
    return pairs


def test_both_images_are_made_of_the_same_files(root: Path, dockerfile: list[list[str]], definition: str) -> None:
    files = copied(dockerfile)
    assert files == set(read(definition).files())
    assert ("containers/requirements.lock", "/build/containers/requirements.lock") in files
    missing = [source for source, _ in files if not (root / source).exists()]
    assert not missing


def test_docker_is_handed_all_that_is_copied(root: Path, dockerfile: list[list[str]]) -> None:
    *lines, images, caches = (
        line for line in (root / ".dockerignore").read_text().splitlines() if not line.startswith("#")
    )
    assert lines[0] == "*"
    kept = {line.removeprefix("!") for line in lines[1:]}
    assert kept == {Path(source).parts[0] for source, _ in copied(dockerfile)}
    assert (images, caches) == ("containers/*.sif", "**/__pycache__")


def test_both_images_have_the_same_arguments_and_version(
    root: Path, dockerfile: list[list[str]], definition: str
) -> None:
    arguments = read(definition).sections["arguments"].split()
    assert defaults(dockerfile) == dict(line.split("=", 1) for line in arguments)
    version = tomllib.loads((root / "pyproject.toml").read_text())["project"]["version"]
    assert defaults(dockerfile)["VERSION"] == version


def test_both_images_have_the_same_steps_and_labels(dockerfile: list[list[str]], definition: str) -> None:
    post = read(definition, VARIANT="cuda").sections["post"]
    steps = [
        words[words.index("containers/install.sh") + 1]
        for words in dockerfile
        if "containers/install.sh" in words[1:-1] and words[0] == "RUN"
    ]
    assert steps == re.findall(r"containers/install\.sh (\w+)", post) == ["packages", "llome"]
    assert 'install.sh packages "cuda"' in post
    (labels,) = (dict(word.split("=", 1) for word in words[1:]) for words in dockerfile if words[0] == "LABEL")
    written = {
        name: re.sub(r"\${(\w+)}", lambda match: defaults(dockerfile)[match[1]], value)
        for name, value in labels.items()
    }
    assert read(definition).labels() == written


def test_both_images_check_themselves_and_say_what_they_are(dockerfile: list[list[str]], definition: str) -> None:
    (check,) = (words for words in dockerfile if words[0] == "HEALTHCHECK")
    assert check[-1] == "[llome-check]"
    assert read(definition).sections["test"].split() == ["llome-check"]
    (environment,) = (dict(word.split("=", 1) for word in words[1:]) for words in dockerfile if words[0] == "ENV")
    named = environment["LLOME_IMAGE"].replace("${", "{{ ").replace("}", " }}")
    assert f'LLOME_IMAGE="{named}"' in definition
    assert environment["PATH"].startswith("/opt/llome/bin:")


def test_the_image_does_not_run_as_root(dockerfile: list[list[str]]) -> None:
    assert [words[1] for words in dockerfile if words[0] == "USER"] == ["llome"]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("%help", "%helo", "unknown section %helo"),
        ("%help", "%post", "%post is there twice"),
        ("Bootstrap", "Bootstrp", "the header has"),
        ("{{ BASE }}", "{{ BASIS }}", "no value for BASIS"),
        ("{{ BASE }}", "debian", "nothing uses BASE"),
        ("    LICENSE /build/LICENSE", "    LICENSE", "a source and a target"),
    ],
)
def test_a_definition_that_apptainer_would_refuse_is_refused(definition: str, old: str, new: str, message: str) -> None:
    assert old in definition
    with pytest.raises(DefinitionError, match=message):
        read(definition.replace(old, new)).files()


def test_scripts_are_sound(root: Path) -> None:
    for script in (root / "containers").glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert os.access(script, os.X_OK)


def test_an_unknown_variant_is_refused(root: Path) -> None:
    done = subprocess.run([root / "containers/install.sh", "packages", "rocm"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, "error: VARIANT is 'rocm', expected cpu or cuda\n")


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder that is all of PATH: what make needs, and no engine."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "sed", "git", "sha256sum", "cut"):
        found = shutil.which(name)
        assert found, name
        (folder / name).symlink_to(found)
    return folder


def add(programs: Path, name: str, lines: str = "exit 0") -> None:
    (programs / name).write_text(f"#!/bin/sh\n{lines}\n")
    (programs / name).chmod(0o755)


def make(root: Path, programs: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [shutil.which("make") or "make", *words]
    return subprocess.run(command, cwd=root, env={"PATH": str(programs)}, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("there", "picked"),
    [
        (["docker", "podman", "buildah"], "docker"),
        (["podman", "buildah"], "podman"),
        (["buildah"], "buildah"),
        (["docker-without-engine", "buildah"], "buildah"),
    ],
)
def test_make_picks_the_engine_that_is_there(root: Path, programs: Path, there: list[str], picked: str) -> None:
    for name in there:
        add(programs, name.removesuffix("-without-engine"), "exit 1" if name.endswith("engine") else "exit 0")
    done = make(root, programs, "-n", "image", "VARIANT=cuda")
    assert done.returncode == 0, done.stderr
    command = next(line for line in done.stdout.splitlines() if line.startswith(f"{picked} build "))
    assert ("--format docker" in command) == (picked != "docker")  # without it the health check is lost
    lock = hashlib.sha256((root / "containers/requirements.lock").read_bytes()).hexdigest()
    for argument in ("BASE=python:3.11-slim-bookworm", "VARIANT=cuda", "VERSION=0.1.0", f"LOCK_HASH={lock[:16]}"):
        assert f"--build-arg {argument} " in command
    assert re.search(r"--build-arg COMMIT=([0-9a-f]{40}(-dirty)?|unknown) ", command)
    assert "--tag llome-cuda:0.1.0 " in done.stdout


def test_make_says_what_is_missing(root: Path, programs: Path) -> None:
    add(programs, "docker", "exit 1")
    for target, message in {"image": "no docker that answers, no podman", "sif": "no apptainer found"}.items():
        done = make(root, programs, target)
        assert done.returncode == 2
        assert f"error: {message}" in done.stderr


def test_make_sif_gives_the_definition_what_it_asks_for(root: Path, programs: Path, definition: str) -> None:
    add(programs, "apptainer")
    said = make(root, programs, "-n", "sif", "TORCH_INDEX=file:///wheels", "BASE=python@sha256:1").stdout
    (command,) = (line for line in said.splitlines() if line.startswith("apptainer build "))
    given = dict(word.split("=", 1) for word in shlex.split(command) if re.match("[A-Z_]+=", word))
    assert given["TORCH_INDEX"] == "file:///wheels"
    assert read(definition, **given).header == {"bootstrap": "docker", "from": "python@sha256:1"}
    assert command.endswith(" containers/llome.sif containers/llome.def")


def test_all_files_of_the_package_are_installed_with_it(root: Path) -> None:
    """What a checkout has and an installed package lacks is missed in an image first."""
    package_data = tomllib.loads((root / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["llome"]
    files = [path.relative_to(root / "llome") for path in (root / "llome").rglob("*") if path.is_file()]
    others = [path for path in files if path.suffix not in (".py", ".pyc")]
    assert others
    assert [path for path in others if not any(path.match(pattern) for pattern in package_data)] == []


def test_the_lock_holds_whatever_its_packages_need(root: Path) -> None:
    """An image refuses a package that is not in it. What torch asks for CUDA is left out."""
    lines = (root / "containers/requirements.lock").read_text().splitlines()
    locked = {canonicalize_name(line.split("==")[0]) for line in lines if "==" in line}
    needed = set()
    for name in locked:
        for requirement in map(Requirement, metadata.requires(name) or ()):
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                needed.add(canonicalize_name(requirement.name))
    assert {name for name in needed - locked if not re.match("nvidia-|cuda-|triton$", name)} == set()
