"""What an experiment file says, checked before anything runs.

The Snakefile and the report read an experiment through this module, so it imports nothing heavy. The shape of the file
is the JSON schema in llome/schema/experiment.json, its oracle's in oracle.json beside it; what a schema cannot say
(files that exist, objectives that have a YAML, a budget that pays for the seeds and one batch) is checked here, naming
the file, the key and the remedy. A file with variants (llome.variants) is several experiments, each checked as a whole.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from llome import paths
from llome.errors import ConfigError
from llome.provenance import derive_seed, read_json
from llome.search import Searches, read_grid
from llome.seconds import chain_seconds
from llome.settings import check_shape, describe, nearest, read_yaml
from llome.variants import expand_variants

POLICY = ("base", "train", "refine", "filter")
"""Keys of the policy's stages: a must where there are schedules, refused where there are none."""
FILES = ("oracle", "base", "refine", "filter", "surrogate", "strategy")
"""Keys that name one file."""
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
        given = {stage: _read_settings(getattr(self, stage)) for stage in ("refine", "filter")}
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


def load_experiment(path: str | Path) -> Experiment:
    """Read and check the file of one experiment, or of one variant. Raises ConfigError."""
    return check_experiment(read_yaml(path), str(path))


def load_experiments(path: str | Path) -> dict[str, Experiment]:
    """Read and check an experiment file: its variants, or the one experiment, by the folder of their results. Raises ConfigError."""
    return check_experiments(read_yaml(path), str(path))


def check_experiments(settings: Any, where: str) -> dict[str, Experiment]:
    """Check the mapping of an experiment file, with variants or without; see `load_experiments`. Raises ConfigError."""
    if isinstance(settings, Mapping) and "variants" in settings:
        variants = expand_variants(settings, where)
        found = [check_experiment(variant, f"{where}: variants.{name}") for name, variant in variants.items()]
    else:
        found = [check_experiment(settings, where)]
    return {experiment.run: experiment for experiment in found}


def check_experiment(settings: Any, where: str) -> Experiment:
    """Check the mapping of one experiment, which `where` names in messages. Raises ConfigError."""
    if isinstance(settings, Mapping) and "variants" in settings:
        raise ConfigError(
            f"{where}: variants: there are several experiments in this file, and one is asked for;"
            f" name the file of one: results/{settings.get('name')}/VARIANT/experiment.yaml, which its run writes"
        )
    check_shape(settings, "experiment", where)
    experiment = Experiment(**settings)
    if experiment.variant is not None and paths.is_own(experiment.variant):
        raise ConfigError(
            f"{where}: a run keeps files of its own under the name {experiment.variant!r}; give the variant another"
        )
    _check_policy(experiment, where)
    _check_schedules(experiment, where)
    Searches(experiment.tune, experiment.histories).check(where)
    for objective in experiment.values:
        if objective not in experiment.train:
            raise ConfigError(
                f"{where}: values: train has no YAML for {objective!r} to differ from{nearest(objective, experiment.train)}"
            )
        if objective in experiment.tune:
            raise ConfigError(f"{where}: values and tune both set {objective}; leave one of them out")
    for key, file in _files(experiment):
        if not Path(file).is_file():
            raise ConfigError(f"{where}: {key}: there is no file {file}{_nearest_file(file)}")
    _check_oracle(experiment, where)
    _check_surrogate(experiment, where)
    for objective, grid in experiment.searches.items():
        read_grid(grid, experiment.train[objective])
    _check_budget(experiment, where)
    return experiment


def _check_policy(experiment: Experiment, where: str) -> None:
    """The policy's stages have their settings, or there is no policy at all: the genetic algorithm alone."""
    for key in POLICY:
        if experiment.schedules and not getattr(experiment, key):
            raise ConfigError(f"{where}: the key {key!r} is missing: {describe('experiment', key)}")
    if experiment.schedules:
        return
    for key in (*POLICY, "surrogate", "budget", "hours"):
        if getattr(experiment, key):
            raise ConfigError(
                f"{where}: {key}: schedules is empty, so the genetic algorithm runs alone and no policy is trained;"
                f" leave {key} out (in a variant: {key}: null)"
            )
    if not experiment.genetic:
        raise ConfigError(
            f"{where}: schedules is empty and the seed is a table, so nothing would be run; name a schedule"
        )
    if experiment.baseline is None:
        raise ConfigError(
            f"{where}: the key 'baseline' is missing: schedules is empty, so nothing else says how far the genetic"
            " algorithm is carried on; give it in counted evaluations"
        )


def _check_oracle(experiment: Experiment, where: str) -> None:
    """The oracle's settings, and that it can do what the experiment asks of it: sooner known than after hours of training."""
    settings = read_yaml(experiment.oracle)
    check_shape(settings, "oracle", experiment.oracle)
    kind, table = settings["name"], settings.get("path")
    if kind == "table" and not Path(table).is_file():
        raise ConfigError(
            f"{experiment.oracle}: path: there is no table {table}; paths start from the folder a run is started in"
        )
    if kind == "manual" and experiment.shards.get("label", 1) > 1:
        raise ConfigError(
            f"{where}: shards: label is {experiment.shards['label']}, but {experiment.oracle} is manual and a plate is measured as a"
            " whole; leave label out"
        )
    if experiment.analyze and kind in FALLIBLE:
        raise ConfigError(
            f"{where}: analyze: it scores what was never labelled, and each score of {experiment.oracle} ({kind}) has its price and"
            " may fail; leave analyze out"
        )
    if not experiment.genetic:
        return
    if kind == "manual":
        raise ConfigError(
            f"{where}: seed: the genetic algorithm asks for more than anybody measures by hand ({experiment.oracle} is manual);"
            " begin with labels of your own: seed: {table: mine.csv}"
        )
    if kind not in ("ehrlich", "rough_mt_fuji") and settings.get("start") is None and settings.get("wild_type") is None:
        raise ConfigError(
            f"{where}: seed: the genetic algorithm starts from a sequence, and {experiment.oracle} names none; give it start: or"
            " wild_type:, or begin with labels of your own: seed: {table: mine.csv}"
        )
    for key in ("length", "protected", "max_edits"):
        if settings.get(key) and (key != "length" or isinstance(settings[key], list)):
            raise ConfigError(
                f"{where}: seed: {experiment.oracle} has {key}: {settings[key]}, but the genetic algorithm knows sequences of one length"
                " and no limits; begin with labels of your own: seed: {table: mine.csv}"
            )


def _check_surrogate(experiment: Experiment, where: str) -> None:
    """A surrogate is asked by filter or refine, and what asks one has one."""
    if experiment.filter is None:
        return
    if experiment.judged and experiment.surrogate is None:
        stage = max(experiment.judged)  # refine before filter
        raise ConfigError(
            f"{where}: the key 'surrogate' is missing, but {getattr(experiment, stage)} has evolve or a rank that asks one;"
            " add surrogate: configs/surrogate/small.yaml (configs/surrogate/ranking.yaml for a rank), or take another file"
        )
    evolves = "evolve" in _read_settings(experiment.filter)
    if evolves and experiment.analyze:
        raise ConfigError(
            f"{where}: analyze: what an analysis compares is drawn or ranked, but {experiment.filter} evolves others;"
            " leave analyze out, or take a filter without evolve"
        )
    if experiment.surrogate is not None and not experiment.judged:
        raise ConfigError(
            f"{where}: surrogate: {experiment.surrogate} would be fitted and never used, since {experiment.filter} has no"
            " evolve and no rank; leave surrogate out, or take a filter with evolve, such as configs/filter/laptop.yaml"
        )
    if experiment.shards.get("refine", 1) > 1 and _read_settings(experiment.refine).get("rank") == "leon":
        raise ConfigError(
            f"{where}: shards: refine is {experiment.shards['refine']}, but {experiment.refine} has rank: leon, which looks at"
            " all seeds at once; leave it out, or take rank: surrogate"
        )


def _read_settings(file: str | None) -> Mapping[str, Any]:
    """The settings that a stage's YAML gives; none where there is no such file, or where it gives null."""
    found = read_yaml(file) if file else {}
    return {key: value for key, value in found.items() if value is not None} if isinstance(found, Mapping) else {}


def _check_schedules(experiment: Experiment, where: str) -> None:
    seen: dict[str, int] = {}
    for i, (schedule, history) in enumerate(zip(experiment.schedules, experiment.histories, strict=True)):
        for step in schedule:
            (objective,) = step
            if objective not in experiment.train:
                raise ConfigError(
                    f"{where}: schedules[{i}] has the objective {objective!r}, but train names no YAML for it"
                    f"{nearest(objective, experiment.train)}; add train: {{{objective}: FILE}}"
                )
        if history in seen:
            raise ConfigError(f"{where}: schedules[{i}] and schedules[{seen[history]}] are both {history}; drop one")
        seen[history] = i


def _files(experiment: Experiment) -> list[tuple[str, str]]:
    named = [("seed" if experiment.genetic else "seed.table", experiment.seed_file)]
    named += [(key, getattr(experiment, key)) for key in FILES]
    for key, entries in (
        ("train", experiment.train),
        ("values", experiment.values),
        ("tune", experiment.searches),
        ("rivals", experiment.rivals),
    ):
        named += [(f"{key}.{entry}", file) for entry, file in entries.items()]
    return [(key, file) for key, file in named if file is not None]


def _nearest_file(file: str) -> str:
    folder = Path(file).parent
    return nearest(Path(file).name, (p.name for p in folder.glob("*.yaml"))) if folder.is_dir() else ""


def _check_budget(experiment: Experiment, where: str) -> None:
    if experiment.hours is not None and not math.isfinite(experiment.hours):
        raise ConfigError(f"{where}: hours: {experiment.hours} is no length of time; give a number of hours, or null")
    repeats = experiment.repeats
    batch, often = experiment.batch * repeats, f", each measured {repeats} times" if repeats > 1 else ""
    if experiment.round_budget is not None and experiment.round_budget < batch:
        raise ConfigError(
            f"{where}: round_budget: {experiment.round_budget} oracle calls do not pay for one batch ({batch}: k in"
            f" {experiment.filter}){often}; give at least {batch}, or null"
        )
    if not experiment.genetic:
        for key in ("baseline", "rivals"):
            if getattr(experiment, key):
                raise ConfigError(
                    f"{where}: {key}: the seed is a table of labels, so no genetic algorithm is run; leave {key} out"
                )
        return
    seeds = experiment.seed_rounds * experiment.population * repeats
    if experiment.budget is not None and experiment.budget < seeds + batch:
        raise ConfigError(
            f"{where}: budget: {experiment.budget} counted evaluations do not pay for the seeds ({seeds}: rounds x"
            f" population in {experiment.seed}) and one batch ({batch}: k in {experiment.filter}){often};"
            f" give at least {seeds + batch}, or null"
        )
    if experiment.baseline is not None and experiment.baseline < seeds:
        raise ConfigError(
            f"{where}: baseline: {experiment.baseline} counted evaluations are fewer than the seeds that it carries on"
            f" ({seeds}: rounds x population in {experiment.seed}); give at least {seeds}"
        )
    for name in experiment.rivals:
        experiment.rival_rounds(name)  # reads the population


def _setting(file: str, key: str, default: int | None = None) -> int:
    settings = read_yaml(file)
    value = settings.get(key, default) if isinstance(settings, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{file}: {key} is {value!r}, expected an integer of at least 1")
    return value
