"""A script that stands in for a language model in the table that ships, named as what it is wherever its numbers are shown.

It answers like a model that has read a table of doses by genotype and looks at the scored history: it reads the request and nothing
else, as a model would, and its answers are text that has to be parsed, now and then malformed. What it is not: a model. What a real one
knows, overlooks and gets wrong is not in its numbers; put a server in its place to see that.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import dropwhile

import numpy as np

from llome.errors import ConfigError
from llome.leon.fields import Number
from llome.leon.proposing import Answer, Request
from llome.leon.warfarin.patients import UNKNOWN
from llome.provenance import derive_seed

FIELD = "dose"
"""The field of a design that it knows about."""


@dataclass(frozen=True, kw_only=True)
class ScriptedProposer:
    """Doses around what a table of the prior knowledge says of the patient's genotypes, and around the best of the history.

    The same request gives the same answer. Where the knowledge holds no table, it proposes within all bounds: it knows nothing by heart.
    """

    follow: float = 0.4
    """Share of the proposals that follow the scored history, once there is one; the others follow the table."""
    near: float = 0.5
    """Standard deviation of a proposal around the design of the history that it follows, mg a day."""
    malformed: float = 0.02
    """Share of the answers that cannot be parsed, and of the designs of the others that are outside of the bounds or no number."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        for name in ("follow", "malformed"):
            if not 0 <= getattr(self, name) <= 1:
                raise ConfigError(
                    f"the scripted proposer's {name} is {getattr(self, name)}; it is a share, from 0 to 1"
                )
        if not self.near > 0:
            raise ConfigError(f"the scripted proposer's near is {self.near}; it must be above 0")

    @property
    def name(self) -> str:
        """What facts and figures call it."""
        return "scripted, no language model"

    def propose(self, request: Request) -> Answer:
        """An answer to the request, keyed by its seed, its context and its faults. Raises ConfigError where a design is no dose."""
        field = request.space.fields[0]
        if request.space.names != (FIELD,) or not isinstance(field, Number):
            raise ConfigError(
                f"the scripted proposer knows of one number, {FIELD!r}; the space has {', '.join(request.space.names)}"
            )
        low, high = field.low, field.high
        context = json.dumps({name: str(value) for name, value in request.context.items()}, sort_keys=True)
        rng = np.random.default_rng(derive_seed(request.seed, context, len(request.faults)))
        known = expected(request.knowledge, request.context)
        best = [float(design[FIELD]) for design, _ in request.best()[:5]]
        doses = []
        for _ in range(request.count):
            if best and rng.random() < self.follow:
                dose = rng.normal(best[rng.integers(len(best))], self.near)
            elif known is None:
                dose = rng.uniform(low, high)
            else:
                dose = rng.normal((known[0] + known[1]) / 2, (known[1] - known[0]) / 2)
            doses.append(round(float(np.clip(dose, low, high)), 1))
        designs: list[dict[str, object]] = [{FIELD: dose} for dose in doses]
        for design in designs:
            if rng.random() < self.malformed:
                design[FIELD] = "5 mg" if rng.random() < 0.5 else 10 * high
        text = json.dumps(designs)
        if rng.random() < self.malformed:
            text = f"Here are some doses:\n{text[: len(text) // 2]}"
        return Answer(f"{text}\n")


def expected(knowledge: str, context: Mapping[str, object]) -> tuple[float, float] | None:
    """The range of doses, mg a day, that a table in `knowledge` gives for the genotypes of a context; None where there is no table.

    The table is CSV: a row whose first cell is VKORC1 names CYP2C9 genotypes, and each row after it a VKORC1 genotype and ranges such as
    5-7. Of a genotype that is unknown all rows or columns count, and their ends are averaged.
    """
    lines = dropwhile(lambda line: not line.startswith("VKORC1,"), knowledge.splitlines())
    header, *rows = [row for row in csv.reader(lines) if row] or [[]]
    vkorc1, cyp2c9 = (str(context.get(name, UNKNOWN)) for name in ("vkorc1", "cyp2c9"))
    ends = []
    for row in rows:
        for column, cell in zip(header[1:], row[1:], strict=False):
            match = re.fullmatch(r"\s*([0-9.]+)-([0-9.]+)\s*", cell)
            if match and vkorc1 in (row[0], UNKNOWN) and cyp2c9 in (column, UNKNOWN):
                ends.append((float(match[1]), float(match[2])))
    if not ends:
        return None
    low, high = np.mean(ends, axis=0).tolist()
    return low, high
