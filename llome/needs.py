"""What a stage's job asks of a machine: memory, minutes and GPUs, in words that any scheduler has.

The rules state these; a profile maps them to partitions, accounts and kinds of GPU, and may overrule them (set-resources). The number of
GPUs is what the stages' own YAMLs say: `trainer.devices` where training runs on GPUs, and one for refinement with a pretrained
policy. Memory is the host's, with room to spare; it doubles with each attempt. `llome plan` has the memory of a GPU. Imports
nothing heavy: the Snakefile stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llome import paths
from llome.experiment import Experiment
from llome.settings import read_yaml

_SMALL = {
    "train": (4_000, 240),
    "refine": (4_000, 240),
    "surrogate": (4_000, 120),
    "base": (3_000, 120),
    "seed": (3_000, 240),
}
"""MB of memory and minutes of the stages that work, with a small policy."""
_LARGE = {"train": (64_000, 1_440), "refine": (32_000, 1_440), "base": (64_000, 240)}
"""The same with a pretrained policy, whose weights pass through the host's memory."""
_LIGHT = (2_000, 60)
"""Of all other stages, which read and write tables."""


class Needs:
    """What the jobs of one experiment ask for."""

    def __init__(self, experiment: Experiment) -> None:
        """Read the YAMLs of the starting policy and of each objective's training."""
        self.pretrained = experiment.base is not None and _mapping(experiment.base).get("pretrained") is not None
        self._gpus = {name: _train_gpus(file, experiment.strategy) for name, file in experiment.train.items()}

    def memory(self, stage: str, attempt: int = 1) -> int:
        """Megabytes of host memory of one job, doubled with each attempt."""
        return self._of(stage)[0] * 2 ** (attempt - 1)

    def minutes(self, stage: str) -> int:
        """Minutes after which a job may be ended; what it had done is kept, so that the next attempt goes on from there."""
        return self._of(stage)[1]

    def gpus(self, stage: str, history: str | None = None) -> int:
        """GPUs of one job on one node; training's are those of the last objective of `history`."""
        if stage == "refine":
            return int(self.pretrained)
        return self._gpus[paths.objective(history)] if stage == "train" and history is not None else 0

    def _of(self, stage: str) -> tuple[int, int]:
        large = _LARGE.get(stage) if self.pretrained else None
        return large or _SMALL.get(stage, _LIGHT)


def _train_gpus(*files: str | None) -> int:
    """`trainer.devices` of a train YAML under what is laid over it; "auto" leaves it, and is 1 alone; 0 where it runs on a CPU."""
    trainer: dict[str, Any] = {}
    for file in files:
        said = (_mapping(file).get("trainer") or {}) if file is not None else {}
        trainer |= {key: value for key, value in said.items() if value != "auto"}
    if trainer.get("accelerator") not in ("gpu", "cuda"):
        return 0
    devices = trainer.get("devices", 1)
    return len(devices) if isinstance(devices, list) else int(devices) if str(devices).isdigit() else 1


def _mapping(file: str) -> Mapping[str, Any]:
    settings = read_yaml(file)
    return settings if isinstance(settings, Mapping) else {}
