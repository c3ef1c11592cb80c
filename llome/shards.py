"""A stage's rows split over several jobs: which of them a job takes, and what its part says of itself.

`llome refine --shard 2/4` edits the second quarter of the seeds, `llome label --shard 2/4` scores the second quarter of the
candidates, and `llome gather` makes of all parts the table that one job would have written: draws and query numbers go by the row's
number among all rows. Imports nothing heavy: tables and stages stand on it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llome.errors import ConfigError, TableError

KEY = "shard"
"""The entry of a part's settings that a whole table lacks."""


@dataclass(frozen=True)
class Shard:
    """Part `number` (from 1) of `count`; the whole, where no parts were asked for."""

    number: int = 1
    count: int = 1
    whole: bool = True

    @classmethod
    def parse(cls, text: str | None) -> Shard:
        """`"2/4"` -> the second of four; None -> the whole. Raises ConfigError on anything else."""
        if text is None:
            return cls()
        match = re.fullmatch(r"([1-9]\d*)/([1-9]\d*)", text)
        if match is None or int(match[1]) > int(match[2]):
            raise ConfigError(f"shard is {text!r}; give a part and how many there are, such as 2/4")
        return cls(int(match[1]), int(match[2]), whole=False)

    def slice(self, rows: int) -> slice:
        """This part's share of `rows` rows, in their order; sizes differ by one at most, and may be zero."""
        return slice(rows * (self.number - 1) // self.count, rows * self.number // self.count)

    def settings(self) -> dict[str, Any]:
        """What the settings of a part say more than those of the whole."""
        return {} if self.whole else {KEY: f"{self.number}/{self.count}"}

    def lock(self, out: Path) -> str:
        """The lock of a stage that writes `out`: the folder's, or a part's own, as parts are made side by side."""
        return ".lock" if self.whole else f".{out.stem}.lock"


def whole_settings(parts: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, Any]:
    """The settings of the whole, from the name and the settings of each part.

    Raises TableError where a part is no part, is missing, stands twice or was made with other settings.
    """
    numbers: dict[str, str] = {}
    (first, expected), *_ = parts
    for name, settings in parts:
        if KEY not in settings:
            raise TableError(f"{name} is no part of a table but a whole one; give the parts, or use it as it is")
        if {**settings, KEY: None} != {**expected, KEY: None}:
            changed = sorted(k for k in {*settings, *expected} - {KEY} if settings.get(k) != expected.get(k))
            raise TableError(f"{name} and {first} were made with different {', '.join(changed)}; make all parts anew")
        if settings[KEY] in numbers:
            raise TableError(f"{name} and {numbers[settings[KEY]]} are both part {settings[KEY]}; give each part once")
        numbers[settings[KEY]] = name
    count = max(int(text.partition("/")[2]) for text in numbers)
    missing = [f"{number}/{count}" for number in range(1, count + 1) if f"{number}/{count}" not in numbers]
    if missing or len(numbers) != count:
        shown = ", ".join(missing) or f"one of the {len(numbers)} given is of another number of parts"
        raise TableError(
            f"the parts are not whole: {shown} is missing beside {', '.join(numbers)}; make it, then gather again"
        )
    return {key: value for key, value in expected.items() if key != KEY}
