"""What the shape of an experiment file cannot say: that its files exist, and that its parts fit together and its budget pays for them."""

from __future__ import annotations

import math
from pathlib import Path

from llome import paths
from llome.errors import ConfigError
from llome.experiment.experiment import FALLIBLE, POLICY, Experiment, read_settings
from llome.search import Searches, read_grid
from llome.settings import check_shape, describe, nearest, read_yaml

FILES = ("oracle", "base", "refine", "filter", "surrogate", "strategy")
"""Keys that name one file."""


def check(experiment: Experiment, where: str) -> None:
    """Check what an experiment says against its files and itself; `where` names it in messages. Raises ConfigError."""
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
    evolves = "evolve" in read_settings(experiment.filter)
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
    if experiment.shards.get("refine", 1) > 1 and read_settings(experiment.refine).get("rank") == "leon":
        raise ConfigError(
            f"{where}: shards: refine is {experiment.shards['refine']}, but {experiment.refine} has rank: leon, which looks at"
            " all seeds at once; leave it out, or take rank: surrogate"
        )


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
