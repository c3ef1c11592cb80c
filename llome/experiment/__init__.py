"""What an experiment file says, checked before anything runs.

The Snakefile and the report read an experiment through this package, so it imports nothing heavy. The shape of the file
is the JSON schema in llome/schema/experiment.json, its oracle's in oracle.json beside it; what a schema cannot say
(files that exist, objectives that have a YAML, a budget that pays for the seeds and one batch) is checked in `checks`, naming
the file, the key and the remedy. A file with variants (llome.variants) is several experiments, each checked as a whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from llome.errors import ConfigError
from llome.experiment.checks import check
from llome.experiment.experiment import Experiment
from llome.settings import check_shape, read_yaml
from llome.variants import expand_variants

__all__ = ["Experiment", "check_experiment", "check_experiments", "load_experiment", "load_experiments"]


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
    check(experiment, where)
    return experiment
