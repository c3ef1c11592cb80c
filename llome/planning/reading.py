"""What an experiment's files say of its trainings and refinements, as `llome plan` needs it.

Settings that a file leaves out have the defaults of the stage. How many examples a round trains on is known only when it is labelled:
what is counted here is the most there can be, every label with as many neighbours as are asked for, all of them better.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from llome import paths
from llome.errors import ConfigError
from llome.exchange import read_columns
from llome.experiment import Experiment
from llome.planning.memory import Training, precision_of
from llome.planning.shapes import Shape
from llome.settings import nearest, read_yaml

_MOMENTS = {"AdamW": 2.0, "Adam": 2.0, "NAdam": 2.0, "RAdam": 2.0, "RMSprop": 1.0, "SGD": 0.0}
_DEFAULT_TOKENS = 1 << 19
"""Tokens a batch of refinement on a GPU: llome.policy.memory."""


@dataclass(frozen=True)
class TrainingPlan:
    """One objective's training."""

    objective: str
    file: str
    step: Training
    looks_ahead: bool
    reference: bool
    batch_size: int
    epochs: int
    steps: int | None
    """Most steps an epoch."""
    held_out: float
    neighbours: int
    """Examples of a label at most."""
    best: int | None
    """Labels that are matched at most."""

    def examples(self, labels: int) -> float:
        """Of a round that trains on so many labels, at most."""
        found = float((labels if self.best is None else min(labels, self.best)) * self.neighbours)
        if self.steps is None:
            return found
        return min(found, self.steps * self.batch_size / (1 - self.held_out))


@dataclass(frozen=True)
class RefiningPlan:
    """The refinement of a round."""

    size: int
    rows: int
    """Edits an iteration."""
    inputs: int
    """Different inputs of an iteration, at most."""
    iterations: int
    max_batch_tokens: int | None
    """None: the number for a GPU, and fewer where they do not fit."""

    @property
    def tokens(self) -> int:
        """Tokens of a batch where there is room for them."""
        return _DEFAULT_TOKENS if self.max_batch_tokens is None else self.max_batch_tokens


def read_training(objective: str, experiment: Experiment, shape: Shape) -> TrainingPlan:
    """The settings of an objective, and what the experiment lays over them: values, and a strategy. Raises ConfigError."""
    file = experiment.train[objective]
    settings = _mapping(read_yaml(file), file)
    for overlay in (experiment.values.get(objective), experiment.strategy):
        if overlay is not None:
            settings = _overlaid(settings, _without_auto(_mapping(read_yaml(overlay), overlay)))
    model, data, trainer = (_mapping(settings.get(key) or {}, f"{file}: {key}") for key in ("model", "data", "trainer"))
    module, given = str(model.get("class_path", "")).rsplit(".", 1)[-1], _mapping(model.get("init_args") or {}, file)
    devices, sharded = _devices(trainer, file)
    triples = data.get("kind") == "triples"
    batch = int(data.get("batch_size", 128))
    local = -(-batch // devices)
    micro = min(int(data.get("micro_batch_size") or local), local)
    moments, foreach = _optimiser(given, file)
    lora = given.get("lora")
    step = Training(
        precision=precision_of(trainer.get("precision", "32-true"), file),
        moments=moments,
        examples=micro,
        micro_batches=-(-local // micro),
        completions=2 if triples else 1,
        checkpointing=bool(given.get("gradient_checkpointing", False)),
        devices=devices,
        sharded=sharded,
        trainable=None if not lora else _adapters(lora, shape, file),
        foreach=foreach,
    )
    steps = trainer.get("limit_train_batches")
    return TrainingPlan(
        objective=objective,
        file=file,
        step=step,
        looks_ahead=module in ("MargEModule", "REINFORCEModule"),
        reference=module != "SFTModule",
        batch_size=batch,
        epochs=int(trainer.get("max_epochs") or 1),
        steps=steps if isinstance(steps, int) else None,
        held_out=float(data.get("val_fraction", 0.05)),
        neighbours=int(data.get("max_triples_per_source", 10) if triples else data.get("num_neighbours", 30)),
        best=data.get("num_best"),
    )


def read_refining(file: str) -> RefiningPlan:
    """The settings of a refinement. Raises ConfigError."""
    given = _mapping(read_yaml(file) or {}, file)
    temperatures = given.get("temperatures", [0.6, 0.8, 1.0, 1.2, 1.4, 1.6])
    seeds, samples = int(given.get("num_seeds", 200)), int(given.get("num_samples", 10))
    sizes = {"fp32": 4, "bf16": 2, "fp64": 8}
    precision = str(given.get("precision", "fp32"))
    if precision not in sizes:
        raise ConfigError(f"{file}: precision is {precision!r}; choose one of {', '.join(sizes)}")
    most = given.get("max_batch_tokens")
    rows, inputs = seeds * (1 + len(temperatures) * samples), seeds * (1 + len(temperatures))
    return RefiningPlan(
        sizes[precision], rows, inputs, int(given.get("iterations", 10)), None if most is None else int(most)
    )


def labels_of_rounds(experiment: Experiment) -> dict[str, int]:
    """Labels that each round of the experiment trains on, at most, by its history; rounds that schedules share are one."""
    seeds, found = _seeds(experiment), {}
    for schedule in experiment.histories:
        for number, history in enumerate(paths.lineage(schedule)):
            last = seeds if number == 0 else experiment.batch
            found[history] = seeds + number * experiment.batch if experiment.train_on == "all" else last
    return found


def _seeds(experiment: Experiment) -> int:
    """Labels before the first round."""
    if experiment.genetic:
        return experiment.seed_rounds * experiment.population
    return len(read_columns(experiment.seed_file, [])[0])


def _devices(trainer: Mapping[str, Any], file: str) -> tuple[int, bool]:
    """Devices in all, and whether weights are split over them."""
    devices, nodes = trainer.get("devices", 1), trainer.get("num_nodes", 1)
    count = len(devices) if isinstance(devices, list) else 1 if devices in ("auto", None) else int(devices)
    if count < 1 or int(nodes) < 1:
        raise ConfigError(f"{file}: trainer.devices is {devices!r} and num_nodes {nodes!r}; give the number of GPUs")
    strategy = trainer.get("strategy", "auto")
    name = str(strategy.get("class_path", "") if isinstance(strategy, Mapping) else strategy).lower()
    return count * int(nodes), "fsdp" in name or "modelparallel" in name


def _optimiser(given: Mapping[str, Any], file: str) -> tuple[float, bool]:
    """Numbers of state a parameter, and whether the step takes all tensors at once, through a temporary of their size."""
    optimizer = _mapping(given.get("optimizer") or {"class_path": "AdamW"}, file)
    name = str(optimizer.get("class_path", "")).rsplit(".", 1)[-1]
    args = _mapping(optimizer.get("init_args") or {}, file)
    if name not in _MOMENTS:
        raise ConfigError(
            f"{file}: what {name!r} keeps of a parameter is not known{nearest(name, _MOMENTS)}; choose one of {', '.join(_MOMENTS)}"
        )
    more = bool(args.get("momentum", 0)) + bool(args.get("centered")) + bool(args.get("amsgrad"))
    return _MOMENTS[name] + more, name != "SGD" and not args.get("fused") and args.get("foreach") is not False


def _adapters(lora: Any, shape: Shape, file: str) -> int:
    """Parameters of the adapters: `rank`, and the names of the linear maps that have one."""
    lora = _mapping(lora, f"{file}: lora")
    rank = lora.get("rank", 16)
    if not isinstance(rank, int) or rank < 1:
        raise ConfigError(f"{file}: lora.rank is {rank!r}; give a whole number, such as 16")
    return shape.adapters(rank, tuple(lora.get("target_modules") or ()))


def _without_auto(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings but for a number of devices that is whatever a machine has: a job asks for what the objective's YAML says."""
    trainer = settings.get("trainer")
    if not isinstance(trainer, Mapping) or trainer.get("devices") != "auto":
        return dict(settings)
    return {**settings, "trainer": {key: value for key, value in trainer.items() if key != "devices"}}


def _overlaid(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of `above` in their place, mapping by mapping."""
    merged = dict(below)
    for key, value in above.items():
        old = merged.get(key)
        merged[key] = _overlaid(old, value) if isinstance(old, Mapping) and isinstance(value, Mapping) else value
    return merged


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where} is {value!r}, expected a mapping of settings")
    return value
