"""An experiment: what its file says, and what follows from that for the rounds, their budgets and their random seeds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from llome import paths
from llome.errors import ConfigError
from llome.provenance import derive_seed, read_json
from llome.search import Searches
from llome.seconds import chain_seconds
from llome.settings import read_yaml

POLICY = ("base", "train", "refine", "filter")
"""Keys of the policy's stages: a must where there are schedules, refused where there are none."""
FALLIBLE = ("python", "command", "poli", "manual")
"""Kinds of oracles that may fail, and whose every answer has a price."""
_LATER = (
    "variant",
    *POLICY,
    "values",
    "hours",
    "round_budget",
    "surrogate",
    "shards",
    "strategy",
    "threads",
    "analyze",
    "baseline",
    "rivals",
)
"""Keys that are written down only where they say something, so that an experiment without them is the same bytes as ever."""


@dataclass(frozen=True, kw_only=True)
class Experiment:
    """A valid experiment, or one variant of it. Paths are relative to the folder the experiment is run from."""

    name: str
    variant: str | None = None
    oracle: str
    seed: str | dict[str, str]
    base: str | None = None
    train: dict[str, str] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    refine: str | None = None
    filter: str | None = None
    surrogate: str | None = None
    schedules: list[list[dict[str, int]]]
    tune: dict[str, str] = field(default_factory=dict)
    replicates: int = 1
    random_seed: int = 0
    train_on: str = "last"
    budget: int | None = None
    round_budget: int | None = None
    hours: float | None = None
    shards: dict[str, int] = field(default_factory=dict)
    strategy: str | None = None
    threads: int | None = None
    analyze: bool = False
    baseline: int | None = None
    rivals: dict[str, str] = field(default_factory=dict)

    @property
    def run(self) -> str:
        """The folder of its results within the folder of all: `name`, or `name/variant`."""
        return self.name if self.variant is None else f"{self.name}/{self.variant}"

    @property
    def histories(self) -> list[str]:
        """The last round of each schedule, `sft1-marge9`, in the order of the file."""
        return [paths.schedule_history(schedule) for schedule in self.schedules]

    @property
    def seed_file(self) -> str:
        """The YAML of the genetic algorithm, or the table of labelled sequences that takes its place."""
        return self.seed if isinstance(self.seed, str) else self.seed["table"]

    @property
    def genetic(self) -> bool:
        """Whether the genetic algorithm makes the seed."""
        return isinstance(self.seed, str)

    @cached_property
    def judged(self) -> frozenset[str]:
        """The stages of a round that ask a surrogate: filter where it evolves, filter and refine where they rank by it, and an analysis."""
        given = {stage: read_settings(getattr(self, stage)) for stage in ("refine", "filter")}
        ranked = {stage for stage, settings in given.items() if settings.get("rank", "likelihood") != "likelihood"}
        compared = {"analyze"} if self.analyze and self.surrogate is not None else set()
        return frozenset(ranked | ({"filter"} if "evolve" in given["filter"] else set()) | compared)

    @property
    def carries_on(self) -> bool:
        """Whether the genetic algorithm is carried on: where it makes the seed, and its calls are asked for or have no price."""
        return self.genetic and (self.baseline is not None or read_yaml(self.oracle)["name"] not in FALLIBLE)

    @property
    def seed_rounds(self) -> int:
        """Rounds of the genetic algorithm that make the seed."""
        return _setting(self.seed_file, "rounds")

    @property
    def population(self) -> int:
        """Sequences of one round of the genetic algorithm."""
        return _setting(self.seed_file, "population")

    @property
    def repeats(self) -> int:
        """Measurements, and so counted evaluations, of each sequence."""
        return _setting(self.oracle, "repeats", 1)

    @property
    def batch(self) -> int:
        """Labels a round at most (k); 0 where there are no rounds."""
        return 0 if self.filter is None else _setting(self.filter, "k")

    @property
    def baseline_rounds(self) -> int:
        """GA rounds that count `baseline` evaluations, or as many as the longest schedule does, or as the budget allows."""
        if self.baseline is not None:
            return -(-self.baseline // (self.population * self.repeats))
        longest = max(paths.round_number(history) for history in self.histories)
        counted = self.seed_rounds * self.population + longest * self.batch
        rounds = -(-counted // self.population)
        return rounds if self.budget is None else min(rounds, self.budget // (self.population * self.repeats))

    def rival_rounds(self, name: str) -> int:
        """Rounds in which a rival counts what the baseline counts, or the part of a round more that its population makes."""
        return -(-self.baseline_rounds * self.population // _setting(self.rivals[name], "population"))

    def values_from(self, objective: str) -> str | None:
        """The objective whose search sets the values of `objective`: itself, another one, or none."""
        return self._tuned.values_from(objective)

    @property
    def searches(self) -> dict[str, str]:
        """The grid of each objective that is searched."""
        return self._tuned.grids

    def first_round(self, objective: str) -> str:
        """The first round of `objective` in the first schedule that has one: where its search starts."""
        return self._tuned.first_round(objective)

    @property
    def _tuned(self) -> Searches:
        return Searches(self.tune, self.histories)

    def stage_seed(self, replicate: int, history: str, stage: str) -> int:
        """The random seed of one stage of one round: a function of its name alone, whatever else the experiment holds.

        The variant has no part in it, so variants are paired: replicate by replicate they draw the same random numbers.
        """
        return derive_seed(self.random_seed, replicate, history, stage)

    def ends_with(self, summary: str | Path) -> bool:
        """Whether no round follows the one of this summary.

        The optimum is found, nothing was labelled, the budget has no batch left, or the hours are used up.
        """
        facts = read_json(summary)
        solved = facts["regret"] is not None and facts["regret"] <= 1e-9
        spent = self.budget is not None and facts["counted"] + self.batch * self.repeats > self.budget
        late = self.hours is not None and chain_seconds(Path(summary).parent) >= 3600 * self.hours
        return solved or not facts["labeled"] or spent or late

    def as_dict(self) -> dict[str, Any]:
        """The mapping of the file, or of its one variant, defaults filled in."""
        return {key: value for key, value in asdict(self).items() if value or key not in _LATER}


def read_settings(file: str | None) -> Mapping[str, Any]:
    """The settings that a stage's YAML gives; none where there is no such file, or where it gives null."""
    found = read_yaml(file) if file else {}
    return {key: value for key, value in found.items() if value is not None} if isinstance(found, Mapping) else {}


def _setting(file: str, key: str, default: int | None = None) -> int:
    settings = read_yaml(file)
    value = settings.get(key, default) if isinstance(settings, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{file}: {key} is {value!r}, expected an integer of at least 1")
    return value
