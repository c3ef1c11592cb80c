"""Experiments to be planned, and what their plans would run."""

from __future__ import annotations

import re

import yaml

from .conftest import Clone

HISTORIES = ["sft10", "sft1-marge9", "sft1-dpo9", "sft2-marge8", "sft5-dpo5"]
POLICY = ("base", "train", "refine", "filter")
ROUND = ("train", "refine", "filter", "label", "summarize")
FACTS = {"regret": 0.5, "counted": 10, "labeled": 5}


def write_experiment(clone: Clone, *, without: tuple[str, ...] = (), **changes: object) -> str:
    settings = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())
    kept = {key: value for key, value in settings.items() if key not in without}
    (clone.folder / "experiment.yaml").write_text(yaml.safe_dump({**kept, **changes}))
    return "experiment.yaml"


def write_big_experiment(clone: Clone) -> str:
    train = yaml.safe_load((clone.folder / "configs/experiments/tiny.yaml").read_text())["train"]["sft"]
    return write_experiment(
        clone,
        name="big",
        replicates=5,
        train={"sft": train, "marge": train, "dpo": train},
        schedules=[
            [{"sft": 10}],
            [{"sft": 1}, {"marge": 9}],
            [{"sft": 1}, {"dpo": 9}],
            [{"sft": 2}, {"marge": 8}],
            [{"sft": 5}, {"dpo": 5}],
        ],
    )


def commands(clone: Clone, *targets: str, config: str) -> list[str]:
    """The shell commands that a run would start, sorted; each ends with its log."""
    run = clone.snakemake("--dry-run", "--printshellcmds", "--", *targets, config=config)
    assert run.returncode == 0, run.stdout + run.stderr
    found = re.findall(r"^Shell command: (.*?(?:2>&1|\.log))$", run.stdout + run.stderr, re.MULTILINE | re.DOTALL)
    return sorted(line.lstrip() for line in found)
