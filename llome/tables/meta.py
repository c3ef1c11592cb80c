"""Where a table comes from, and whether several come from one problem."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from llome import __version__
from llome.domain import Domain
from llome.errors import TableError


@dataclass(frozen=True)
class Meta:
    """The provenance of a table."""

    domain: Domain
    inputs: dict[str, str] = field(default_factory=dict)
    """Content hash of each input, by its role."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Resolved settings of the stage that wrote the table."""
    spent: int = 0
    """Oracle calls counted up to and including this table, repeats included."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Small results of the stage that cannot be read off the rows (counts per GA round, for example)."""
    version: str = __version__


def same_problem(tables: Sequence[tuple[str, Meta]]) -> Domain:
    """The domain that all tables share. Raises TableError naming the two files whose oracles differ."""
    (first, meta), *rest = tables
    for path, other in rest:
        if other.domain != meta.domain:
            raise TableError(
                f"{path} was made with oracle {other.domain.fingerprint} ({other.domain.describe()}), but"
                f" {first} with {meta.domain.fingerprint} ({meta.domain.describe()}); use files of one oracle"
            )
    return meta.domain
