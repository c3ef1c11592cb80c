"""A proposer of the user's own: any class with `name` and `propose`, for scripts and for models that speak no common protocol."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

from llome.errors import ConfigError
from llome.leon.proposing import Proposer


def find(name: str, where: str) -> Any:
    """What `package.module:Name` names; modules of the working folder are found too. Raises ConfigError where it cannot be had."""
    module, _, path = name.partition(":") if isinstance(name, str) else ("", "", "")
    if not all(part.isidentifier() for part in (*module.split("."), *path.split("."))):
        raise ConfigError(f"{where} is {name!r}; give package.module:Name")
    if (here := str(Path.cwd())) not in sys.path:
        sys.path.append(here)
    try:
        found = importlib.import_module(module)
        for part in path.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as err:
        raise ConfigError(f"{where}: {name} cannot be had: {err}; mend the name, or install what it is in") from err
    return found


def load(function: str, arguments: dict[str, Any] | None = None) -> Proposer:
    """The proposer that `function`, package.module:Name, makes of keyword `arguments`. Raises ConfigError where it is none."""
    if not isinstance(arguments or {}, dict):
        raise ConfigError(f"proposer: arguments is {arguments!r}; give a mapping")
    made = find(function, "proposer: function")(**(arguments or {}))
    if not callable(getattr(made, "propose", None)) or not isinstance(getattr(made, "name", None), str):
        raise ConfigError(f"proposer: {function} makes no proposer; it needs `name`, a text, and `propose(request)`")
    proposer: Proposer = made
    return proposer
