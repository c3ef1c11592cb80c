"""Every command and every line of Python in the README, as a reader would type them."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from llome.experiment import check_experiments
from llome.scoring.oracle import make_oracle


def blocks(root: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (root / "README.md").read_text(), re.DOTALL)


@pytest.fixture
def clone(root, tmp_path):
    """What git would give a reader, in a folder with a space in its name."""
    target = tmp_path / "a clone"
    files = subprocess.run(
        ["git", "ls-files"], cwd=root, check=True, capture_output=True, text=True
    ).stdout.splitlines()
    for name in files:
        if (root / name).is_file() and not name.startswith("tests/golden"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(root / name, target / name)
    return target


def test_python_lines_print_what_they_say(root, capsys):
    code, _ = blocks(root, "python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out.splitlines()[0] == "[1.]"


@pytest.mark.slow
def test_a_loop_of_ones_own_finds_better(root, clone, monkeypatch, capsys):
    """As it stands in the README: six labels to start from, the best of them right in ten of fourteen places."""
    monkeypatch.chdir(clone)
    _, code = blocks(root, "python")
    exec(compile(code, "README.md", "exec"), {})
    found, score = ast.literal_eval(capsys.readouterr().out.splitlines()[-1])
    assert score == pytest.approx(sum(a == b for a, b in zip(found, "GATTACAGATTACA", strict=True)) / 14)
    assert score > 11 / 14


def test_the_lines_of_yaml_make_an_experiment(root, at_root):
    text, _ = blocks(root, "yaml")
    demo = yaml.safe_load((root / "configs/experiments/demo.yaml").read_text())
    experiments = check_experiments(demo | yaml.safe_load(text), "README.md")
    assert list(experiments) == ["demo/short", "demo/long"]
    assert [experiment.rivals for experiment in experiments.values()] == [{"tuned": "configs/seed/ga_tuned.yaml"}] * 2


def test_the_lines_of_an_oracle_make_one(root):
    _, text = blocks(root, "yaml")
    domain = make_oracle(yaml.safe_load(text)).domain
    assert (domain.num_states, domain.length, domain.maximize) == (20, 120, False)


def test_every_command_is_known(root):
    lines = [line for block in blocks(root, "sh") for line in block.splitlines()]
    first = {line.split()[0] for line in lines}
    assert first <= {"git", "make", "source", "snakemake", "llome", "mkdir", "docker", "apptainer"}
    assert {line for line in lines if line.startswith("make")} == {"make demo", "make test", "make image", "make sif"}


def test_the_image_is_called_what_make_calls_it(root):
    lines = [line for block in blocks(root, "sh") for line in block.splitlines()]
    said = subprocess.run(["make", "-n", "image"], cwd=root, check=True, capture_output=True, text=True).stdout
    (image,) = re.findall(r"--tag (\S+)", said)
    assert [line.count(image) for line in lines if line.startswith("docker")] == [1, 1]
    assert f"docker run --gpus all {image.replace('cpu', 'cuda')}" in (root / "README.md").read_text()


def test_make_runs_the_demo_and_the_tests(root):
    """What `make demo` and `make test` start; the run itself takes minutes and is the tiny experiment's in other tests."""
    said = subprocess.run(["make", "-n", "demo", "test"], cwd=root, check=True, capture_output=True, text=True).stdout
    assert "snakemake --cores all --configfile configs/experiments/demo.yaml" in said
    assert re.search(r"-m pytest --numprocesses \d+ --dist loadfile --no-loadscope-reorder", said)
    plan = [
        sys.executable,
        "-m",
        "snakemake",
        "--dry-run",
        "--cores",
        "2",
        "--configfile",
        "configs/experiments/demo.yaml",
    ]
    done = subprocess.run(plan, cwd=root, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_commands_run(root, clone):
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(clone)}
    commands = [line for block in blocks(root, "sh") for line in block.splitlines()]
    for command in commands:
        # The clone and the environment that this test stands for; the images are built and run in tests/containers.
        if command.split()[0] in ("git", "make", "source", "docker") or "apptainer" in command:
            continue
        # Minutes, of which the workflow's tests run a small search; a cluster, which tests/cluster has.
        if "objectives.yaml" in command or "profiles/slurm" in command:
            command += " --dry-run"
        done = subprocess.run(
            command, shell=True, cwd=clone, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    for name in ("by-hand/sft1/labeled.parquet", "tiny/report/report.html", "enzyme/designs.csv"):
        assert (clone / "results" / name).is_file()
