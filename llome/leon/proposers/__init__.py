"""Who can propose: a model behind a server, one in memory, a script. Each is imported when it is asked for."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from typing import Any

from llome.errors import ConfigError
from llome.leon.proposing import Proposer
from llome.settings import nearest

KINDS: dict[str, tuple[str, str]] = {
    "server": ("llome.leon.proposers.server", "Server"),
    "hf": ("llome.leon.proposers.hf", "Local"),
    "python": ("llome.leon.proposers.python", "load"),
}
"""Module and constructor of each kind of proposer."""
_PATIENCE = ("key", "timeout", "retries", "backoff", "longest_wait", "per_minute", "device")
"""Settings that change no answer: a run may go on with others."""


def make_proposer(settings: Mapping[str, Any], where: str = "the proposer") -> Proposer:
    """From `{"name": kind, argument: value, ...}`. Raises ConfigError on a kind or key that is unknown or missing."""
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where} is {settings!r}; give a mapping with `name`, one of {', '.join(KINDS)}")
    arguments = dict(settings)
    name = arguments.pop("name", None)
    if name not in KINDS:
        said = "is missing" if name is None else f"{name!r} is unknown{nearest(str(name), KINDS)}"
        raise ConfigError(f"{where}: name {said}; there is {', '.join(KINDS)}")
    module, constructor = KINDS[name]
    make = getattr(importlib.import_module(module), constructor)
    known = inspect.signature(make).parameters
    for key in arguments:
        if key not in known:
            hint = nearest(str(key), known)
            raise ConfigError(f"{where}: unknown key {key!r}{hint}; a proposer of this kind has {', '.join(known)}")
    for key, parameter in known.items():
        if key not in arguments and parameter.default is inspect.Parameter.empty:
            raise ConfigError(f"{where}: the key {key!r} is missing; a proposer of this kind has {', '.join(known)}")
    proposer: Proposer = make(**arguments)
    return proposer


def identity(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that answers depend on."""
    return {key: value for key, value in settings.items() if key not in _PATIENCE}
