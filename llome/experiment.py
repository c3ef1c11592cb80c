"""What an experiment file says, checked before anything runs.

The Snakefile and the report read an experiment through this module, so it imports nothing heavy. The shape of the file
is the JSON schema in configs/schema/experiment.json, its oracle's in oracle.json beside it; what a schema cannot say
(files that exist, objectives that have a YAML, a budget that pays for the seeds and one batch) is checked here, naming
the file, the key and the remedy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError

from llome import paths
from llome.errors import ConfigError
from llome.provenance import derive_seed, read_json

SCHEMAS = Path(__file__).resolve().parent.parent / "configs" / "schema"
_KINDS = {
    "object": "a mapping",
    "array": "a list",
    "string": "text",
    "integer": "an integer",
    "number": "a number",
    "null": "null",
}
_OF = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "an integer",
    float: "a number",
    type(None): "null",
}


@dataclass(frozen=True)
class Experiment:
    """A valid experiment. Paths are relative to the folder the experiment is run from."""

    name: str
    oracle: str
    seed: str
    base: str
    train: dict[str, str]
    refine: str
    filter: str
    schedules: list[list[dict[str, int]]]
    replicates: int = 1
    random_seed: int = 0
    train_on: str = "last"
    budget: int | None = None

    @property
    def histories(self) -> list[str]:
        """The last round of each schedule, `sft1-marge9`, in the order of the file."""
        return [paths.schedule_history(schedule) for schedule in self.schedules]

    @property
    def seed_rounds(self) -> int:
        """Rounds of the genetic algorithm that make the seed."""
        return _setting(self.seed, "rounds")

    @property
    def population(self) -> int:
        """Evaluations of one round of the genetic algorithm."""
        return _setting(self.seed, "population")

    @property
    def batch(self) -> int:
        """Labels a round at most (k)."""
        return _setting(self.filter, "k")

    @property
    def baseline_rounds(self) -> int:
        """GA rounds that count as many evaluations as the longest schedule does, or as the budget allows."""
        longest = max(paths.round_number(history) for history in self.histories)
        counted = self.seed_rounds * self.population + longest * self.batch
        rounds = -(-counted // self.population)
        return rounds if self.budget is None else min(rounds, self.budget // self.population)

    def stage_seed(self, replicate: int, history: str, stage: str) -> int:
        """The random seed of one stage of one round: a function of its name alone, whatever else the experiment holds."""
        return derive_seed(self.random_seed, replicate, history, stage)

    def ends_with(self, summary: str | Path) -> bool:
        """Whether no round follows the one of this summary: the optimum is found, or the budget has no batch left."""
        facts = read_json(summary)
        solved = facts["regret"] is not None and facts["regret"] <= 1e-9
        return solved or (self.budget is not None and facts["counted"] + self.batch > self.budget)

    def as_dict(self) -> dict[str, Any]:
        """The mapping of the file, defaults filled in."""
        return asdict(self)


def load_experiment(path: str | Path) -> Experiment:
    """Read and check an experiment file. Raises ConfigError."""
    return check_experiment(read_yaml(path), str(path))


def check_experiment(settings: Any, where: str) -> Experiment:
    """Check the mapping of an experiment file, which `where` names in messages. Raises ConfigError."""
    _check_shape(settings, "experiment", where)
    experiment = Experiment(**settings)
    _check_schedules(experiment, where)
    for key, file in _files(experiment):
        if not Path(file).is_file():
            raise ConfigError(f"{where}: {key}: there is no file {file}{_nearest_file(file)}")
    _check_shape(read_yaml(experiment.oracle), "oracle", experiment.oracle)
    _check_budget(experiment, where)
    return experiment


def _check_shape(settings: Any, schema: str, where: str) -> None:
    """Check settings against configs/schema/{schema}.json. Raises ConfigError on the first fault."""
    errors = list(Draft202012Validator(read_json(SCHEMAS / f"{schema}.json")).iter_errors(settings))
    if errors:
        # an unknown key before all else: a misspelt key is also a missing one
        first = min(
            errors, key=lambda error: (error.validator != "additionalProperties", [str(p) for p in error.absolute_path])
        )
        raise ConfigError(f"{where}: {_explain(first)}")


def read_yaml(path: str | Path) -> Any:
    """Read a YAML file. Raises ConfigError, naming the file and the line, where it is missing or no YAML."""
    try:
        return yaml.safe_load(Path(path).read_text())
    except OSError as err:
        raise ConfigError(f"cannot read {path}: {err.strerror}") from err
    except (UnicodeDecodeError, yaml.YAMLError) as err:
        raise ConfigError(f"{path} is no valid YAML: {' '.join(str(err).split())}") from err


def nearest(name: str, known: Iterable[str]) -> str:
    """`", did you mean 'x'?"` for the known name most like `name`, or nothing."""
    close = difflib.get_close_matches(name, list(known), n=1)
    return f", did you mean {close[0]!r}?" if close else ""


def _explain(error: ValidationError) -> str:
    place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in error.absolute_path).lstrip(".")
    lead = f"{place}: " if place else ""
    value, rule = error.instance, error.validator_value
    about = f" ({error.schema['description']})" if "description" in error.schema else ""
    match error.validator:
        case "additionalProperties":
            known = error.schema["properties"]
            unknown = next(key for key in value if key not in known)
            hint = nearest(str(unknown), known) or f"; the keys are {', '.join(known)}"
            return f"{lead}unknown key {unknown!r}{hint}"
        case "required":
            missing = next(key for key in rule if key not in value)
            described = error.schema["properties"][missing].get("description", "")
            return f"{lead}the key {missing!r} is missing: {described}"
        case "type":
            wanted = " or ".join(_KINDS[kind] for kind in ([rule] if isinstance(rule, str) else rule))
            return f"{lead}{value!r} is {_OF.get(type(value), 'of another type')}, expected {wanted}{about}"
        case "enum":
            return f"{lead}{value!r} is none of {', '.join(map(str, rule))}{about}"
        case "minItems":
            return f"{lead}an empty schedule: name at least one round, such as [sft: 5]"
        case "minProperties" | "maxProperties":
            return f"{lead}{value!r}: expected one objective with its value, such as sft: 5{about}"
        case "minimum":
            return f"{lead}{value!r} is too small, expected at least {rule}{about}"
        case "pattern":
            return f"{lead}{value!r} is no name that can be used here{about or ': lower-case letters only'}"
    return f"{lead}{error.message}"


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
    named = [(key, str(getattr(experiment, key))) for key in ("oracle", "seed", "base", "refine", "filter")]
    return named + [(f"train.{objective}", file) for objective, file in experiment.train.items()]


def _nearest_file(file: str) -> str:
    folder = Path(file).parent
    return nearest(Path(file).name, (p.name for p in folder.glob("*.yaml"))) if folder.is_dir() else ""


def _check_budget(experiment: Experiment, where: str) -> None:
    seeds, batch = experiment.seed_rounds * experiment.population, experiment.batch
    if experiment.budget is not None and experiment.budget < seeds + batch:
        raise ConfigError(
            f"{where}: budget: {experiment.budget} counted evaluations do not pay for the seeds ({seeds}: rounds x"
            f" population in {experiment.seed}) and one batch ({batch}: k in {experiment.filter});"
            f" give at least {seeds + batch}, or null"
        )


def _setting(file: str, key: str) -> int:
    settings = read_yaml(file)
    value = settings.get(key) if isinstance(settings, Mapping) else None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ConfigError(f"{file}: {key} is {value!r}, expected an integer of at least 1")
    return value
