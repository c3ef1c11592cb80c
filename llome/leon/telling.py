"""Prior knowledge as a task's YAML has it: which files, and whether a model reads them or has them in its prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from llome.errors import ConfigError
from llome.leon.knowledge import Knowledge
from llome.leon.space import Space
from llome.leon.statement import Converser, Statement, synthesise
from llome.leon.task import keys, names_of
from llome.provenance import replacing


class Telling:
    """What is known beforehand, and how it is to be told."""

    def __init__(self, given: dict[str, Any]) -> None:
        """From `{files[, tools, calls, characters]}`. Raises ConfigError on a wrong key, or a file that cannot be read."""
        checked = keys(given, "knowledge", ("files",), ("tools", "calls", "characters"))
        self.knowledge = Knowledge([Path(name) for name in names_of(checked["files"], "knowledge: files")])
        self.tools, self.calls = checked.get("tools", True), checked.get("calls", 12)
        self.characters = checked.get("characters", 12_000)
        for name in ("calls", "characters"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ConfigError(f"knowledge: {name} is {value!r}; it must be a whole number of at least 1")
        if not isinstance(self.tools, bool):
            raise ConfigError(f"knowledge: tools is {self.tools!r}, expected true or false")

    def state(self, task: str, space: Space, author: Any, out: Path, who: str, random_seed: int) -> Statement:
        """The statement of a run, kept as knowledge.md in `out`; `who` names the author in the journal's name.

        Raises ProposerError where a model that looks things up gives no answer.
        """
        statement = Statement(self.knowledge.as_text(self.characters))
        if self.tools and isinstance(author, Converser):
            statement = synthesise(
                task=task,
                space=space,
                knowledge=self.knowledge,
                author=author,
                most_calls=self.calls,
                characters=self.characters,
                random_seed=random_seed,
                journal=out / "calls" / f"knowledge-{who}.jsonl",
            )
        with replacing(out / "knowledge.md") as temporary:
            temporary.write_text(statement.text + "\n")
        return statement
