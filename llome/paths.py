"""Names of files, and of rounds by the history that led to them.

A round is named by its history: `sft1`, `sft1-marge1`, `sft1-marge9`. Its parent is computed from the name, so schedules that begin
alike share those rounds. A run is one experiment, or one of its variants, and has a folder of its own. Standard library only: the
Snakefile imports this module and must start fast.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from llome.errors import ConfigError

SEED = "seed"
_STEP = re.compile(r"([a-z]+)([1-9][0-9]*)")
_OWN = re.compile(r"report|tune|logs|made_by|oracle\.json|counts\.json|experiment\.yaml|r[0-9]+")


def parse_history(history: str) -> list[tuple[str, int]]:
    """`"sft1-marge2"` -> `[("sft", 1), ("marge", 2)]`. Raises ConfigError on anything else."""
    steps: list[tuple[str, int]] = []
    for part in history.split("-"):
        match = _STEP.fullmatch(part)
        if match is None:
            raise ConfigError(f"history {history!r}: {part!r} is not an objective and a count, such as 'sft1'")
        objective, count = match[1], int(match[2])
        if steps and steps[-1][0] == objective:
            raise ConfigError(f"history {history!r} names {objective!r} twice in a row; write one part, {objective}N")
        steps.append((objective, count))
    return steps


def format_history(steps: Iterable[tuple[str, int]]) -> str:
    """`[("sft", 1), ("marge", 2)]` -> `"sft1-marge2"`."""
    return "-".join(f"{objective}{count}" for objective, count in steps)


def parent(history: str) -> str:
    """The history one round shorter; `"seed"` for a first round."""
    *head, (objective, count) = parse_history(history)
    if count > 1:
        return format_history([*head, (objective, count - 1)])
    return format_history(head) if head else SEED


def objective(history: str) -> str:
    """The objective of the last round of `history`."""
    return parse_history(history)[-1][0]


def round_number(history: str) -> int:
    """How many rounds `history` holds; 0 for the seed."""
    return 0 if history == SEED else sum(count for _, count in parse_history(history))


def lineage(history: str) -> list[str]:
    """All rounds from the first to `history` itself, the seed left out: `sft1`, `sft1-marge1`, ..."""
    rounds: list[str] = []
    while history != SEED:
        rounds.append(history)
        history = parent(history)
    return rounds[::-1]


def schedule_history(schedule: Sequence[Mapping[str, int]]) -> str:
    """The name of a schedule's last round: `[{"sft": 1}, {"marge": 9}]` -> `"sft1-marge9"`; equal neighbours are merged."""
    steps: list[tuple[str, int]] = []
    for entry in schedule:
        for name, count in entry.items():
            if steps and steps[-1][0] == name:
                steps[-1] = (name, steps[-1][1] + count)
            else:
                steps.append((name, count))
    if not steps:
        raise ConfigError("an empty schedule: name at least one round, such as [sft: 5]")
    history = format_history(steps)
    parse_history(history)
    return history


def rival(name: str) -> str:
    """The folder of another genetic algorithm in a replicate, beside the baseline's `ga`."""
    return f"ga-{name}"


def is_own(name: str) -> bool:
    """Whether a run keeps files of its own under `name`, so that no variant can have it."""
    return _OWN.fullmatch(name) is not None


class Layout:
    """Where everything of one run lies: `results/{experiment}/r{replicate}/{history}/...`, or below `results/{experiment}/{variant}`."""

    def __init__(self, results: str | Path, experiment: str, variant: str | None = None) -> None:
        self.root = Path(results, experiment) if variant is None else Path(results, experiment, variant)

    @property
    def oracle(self) -> Path:
        """The oracle's spec with its drawn arrays."""
        return self.root / "oracle.json"

    @property
    def counts(self) -> Path:
        """How many sequences of the oracle's function are feasible and optimal, where that was counted."""
        return self.root / "counts.json"

    @property
    def report(self) -> Path:
        """The folder of the report."""
        return self.root / "report"

    def replicate(self, replicate: int | str) -> Path:
        """The folder of one replicate (an integer, or a Snakemake wildcard in braces)."""
        return self.root / f"r{replicate}"

    def round(self, replicate: int | str, history: str) -> Path:
        """The folder of one round, or of the seed."""
        return self.replicate(replicate) / history

    def analysis(self, replicate: int | str, history: str) -> Path:
        """The folder of what was found out about a round after the fact, for figures alone."""
        return self.round(replicate, history) / "analysis"

    def search(self, objective: str) -> Path:
        """The folder of the search for an objective's settings."""
        return self.root / "tune" / objective

    def search_points(self, objective: str, count: int) -> list[Path]:
        """What the points 1 to `count` of a search measured: directories that hold a policy's card alone."""
        return [self.search(objective) / f"p{number:03d}" / "model" for number in range(1, count + 1)]

    def parent_labels(self, replicate: int | str, history: str) -> list[Path]:
        """Labelled tables that precede `history`, the seed's first: what must not be labelled again."""
        folder = self.replicate(replicate)
        return [folder / h / "labeled.parquet" for h in (SEED, *lineage(history)[:-1])]
