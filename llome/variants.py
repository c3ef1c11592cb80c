"""The variants of an experiment: the same settings but for what each one changes, such as several functions in one file.

    name: functions
    oracle: configs/oracles/ehr_v32_l32_c4_k4_q4.yaml
    ...
    variants:
      short: {}
      long: {oracle: configs/oracles/ehr_v32_l128_c4_k4_q4.yaml, train: {sft: configs/train/sft_long.yaml}}
      uncapped: {budget: null}

A variant names keys of the file and gives them other values. Where both hold a mapping (train, tune, rivals) the entries are
merged, and null takes away a key or an entry that the file has; any other value replaces the file's. What comes of it is an
experiment like any other, and llome.experiment checks it as one. Imports nothing heavy: the Snakefile stands on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llome.errors import ConfigError
from llome.settings import check_shape

SHARED = ("name", "shards", "threads")
"""Keys that all variants have in common: the folder, and how the plan is drawn."""


def expand_variants(settings: Mapping[str, Any], where: str) -> dict[str, dict[str, Any]]:
    """The settings of each variant, by its name and in the order of the file, which `where` names in messages.

    Each is a whole experiment that says which `variant` it is. Faults of what the variants share are told here, as the file's;
    the caller checks what comes of each. Raises ConfigError.
    """
    check_shape(settings, "experiment", where, partial="name" in settings)
    if settings.get("variant") is not None:
        raise ConfigError(
            f"{where}: variant: {settings['variant']!r} says which one variant a file is, and this one has several;"
            " leave variant out"
        )
    shared = {key: value for key, value in settings.items() if key not in ("variant", "variants")}
    found = {}
    for name, changes in settings["variants"].items():
        for key in (*SHARED, "variant", "variants"):
            if key in changes:
                raise ConfigError(f"{where}: variants.{name}: a variant cannot change {key!r}; leave it out")
        found[name] = {"name": shared["name"], "variant": name, **_override(shared, changes)}
    return found


def _override(shared: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`shared` with the values of `changes`: mappings merged entry by entry, null for what is taken away."""
    merged = dict(shared)
    for key, value in changes.items():
        if value is None and key in shared:
            del merged[key]
        elif isinstance(value, Mapping) and isinstance(shared.get(key), Mapping):
            merged[key] = _override(shared[key], value)
        else:
            merged[key] = value
    return merged
