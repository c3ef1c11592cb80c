"""What a language model is asked, and what is made of its answer.

The prompt holds the task, the context, what is known beforehand, the fields of a design, and the best designs so far with their scores. The
answer is one JSON list. Nothing in it is evaluated: it is decoded strictly, and each design in it is checked against the space.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from llome.errors import DesignError
from llome.leon.space import Space

_TRIES = 1000
"""Brackets of an answer that may turn out to begin no list: a bound on the work of reading nonsense."""


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a proposer is asked for once."""

    task: str
    """What is to be achieved, in words."""
    space: Space
    """What a design is."""
    context: Mapping[str, Any]
    """For whom or what: the features of a patient, a target."""
    knowledge: str = ""
    """What is known beforehand, in words; empty: nothing."""
    history: Sequence[tuple[Mapping[str, Any], float]] = ()
    """Designs proposed before and their scores, higher is better, in any order."""
    count: int = 1
    """Designs wanted."""
    seed: int = 0
    """Of what is drawn for the answer."""
    shown: int = 20
    """Most designs of the history in a prompt, the best."""
    faults: Sequence[str] = ()
    """What was wrong with the answer before, where this is asked again."""

    def best(self) -> list[tuple[Mapping[str, Any], float]]:
        """The best `shown` designs of the history, each once (the score said last), the best first, ties in their order."""
        once = {json.dumps(design, sort_keys=True): (design, score) for design, score in self.history}
        return sorted(once.values(), key=lambda scored: -scored[1])[: self.shown]

    def messages(self) -> list[dict[str, str]]:
        """The prompt, as messages of a chat: role and content."""
        parts = [f"# Task\n{self.task.strip()}"]
        if self.context:
            parts.append("# Context\n" + "\n".join(f"- {name}: {value}" for name, value in self.context.items()))
        if self.knowledge.strip():
            parts.append(f"# Prior knowledge\n{self.knowledge.strip()}")
        parts.append(f"# Fields of a design\n{self.space.describe()}")
        if best := self.best():
            lines = [f"{score:.4g}: {json.dumps(design, ensure_ascii=False)}" for design, score in best]
            parts.append("# Designs scored so far, best first (higher is better)\n" + "\n".join(lines))
        wanted = (
            f"a JSON list of {self.count} design{'s' * (self.count > 1)}, each an object with exactly the fields above"
        )
        better = " Propose designs that you expect to score higher than those so far." if best else ""
        parts.append(f"# Answer\nWrite {wanted}, and nothing else.{better}")
        if self.faults:
            said = "\n".join(f"- {fault}" for fault in self.faults)
            parts.append(f"Your last answer could not be used:\n{said}\nAnswer again, {wanted}.")
        return [{"role": "system", "content": _ROLE}, {"role": "user", "content": "\n\n".join(parts)}]


_ROLE = "You are an optimiser of designs. You propose designs for a task, learn from their scores, and answer in JSON alone."


@dataclass(frozen=True)
class Answer:
    """What a proposer said, and what it took."""

    text: str
    tokens_in: int = 0
    """Tokens of the prompt; 0 where nobody counts."""
    tokens_out: int = 0
    """Tokens of the answer."""


class Proposer(Protocol):
    """Whoever proposes designs: a model behind a server, one in memory, a script."""

    @property
    def name(self) -> str:
        """What facts and figures call it."""

    def propose(self, request: Request) -> Answer:
        """An answer to `request.messages()`. The same request gives the same answer where the proposer can see to it.

        Raises ProposerError where no answer is to be had, after all attempts.
        """


def read_designs(text: str, space: Space) -> tuple[list[dict[str, Any]], list[str]]:
    """The designs of an answer, repeats kept, and what is wrong with it, each in a sentence for the model.

    The answer is the last JSON list of objects in the text, bare or within a fence. A list that is cut short is no list.
    """
    found = _last_list(text)
    if found is None:
        return [], ["it holds no complete JSON list of objects" if text.strip() else "it is empty"]
    designs, faults = [], []
    for number, raw in enumerate(found, start=1):
        try:
            designs.append(space.check(raw))
        except DesignError as err:
            faults.append(f"design {number}: {err}")
    return designs, faults


def _last_list(text: str) -> list[Any] | None:
    """The last list in a text that holds an object and is in no other list."""
    decoder = json.JSONDecoder()
    last, at, tries = None, text.find("["), 0
    while at >= 0 and tries < _TRIES:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end, tries = at + 1, tries + 1
        else:
            if any(isinstance(item, dict) for item in value):
                last = value
        at = text.find("[", end)
    return last
