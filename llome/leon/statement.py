"""The prior knowledge of a run: a model reads what the user named, with tools, and writes down what helps; or the files as they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from llome.leon.journal import Calls
from llome.leon.knowledge import Knowledge
from llome.leon.space import Space
from llome.provenance import derive_seed

_AT_ONCE = 8
"""Tool calls of one message that are answered."""
_LAST_WORD = "You may call no more tools. Write the statement now."


@runtime_checkable
class Converser(Protocol):
    """A proposer whose model can call tools."""

    @property
    def name(self) -> str:
        """See `Proposer`."""

    def converse(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], seed: int
    ) -> dict[str, Any]:
        """The next message: `content`, `tool_calls` (id, name, arguments), `tokens_in`, `tokens_out`."""


@dataclass(frozen=True)
class Statement:
    """What is told to a proposer in every prompt, and what it took."""

    text: str
    calls: int = 0
    tools: int = 0
    """Tool calls that were answered."""
    tokens_in: int = 0
    tokens_out: int = 0
    note: str = ""
    """What was done in place of what could not be done."""


def synthesise(
    *,
    task: str,
    space: Space,
    knowledge: Knowledge,
    author: Converser,
    most_calls: int,
    characters: int,
    random_seed: int,
    journal: Path | None,
) -> Statement:
    """Let `author` look things up, and write down what helps to propose designs.

    Args:
        task: what is to be achieved.
        space: what a design is.
        knowledge: what there is to read.
        author: a model that can call tools.
        most_calls: calls of the model; with the last one it may call no tool.
        characters: most of the files that stand in for a statement that stays empty.
        random_seed: of the calls, keyed by their number.
        journal: file of calls and answers; None: nothing is kept.

    Raises:
        ProposerError: no answer is to be had; what was answered before is in the journal.
    """
    asked = f"# Task\n{task.strip()}\n\n# Fields of a design\n{space.describe()}\n\n# Files\n{knowledge.describe()}"
    messages: list[dict[str, Any]] = [{"role": "system", "content": _ROLE}, {"role": "user", "content": asked}]
    key = {
        "task": task,
        "space": space.describe(),
        "files": knowledge.hashes,
        "author": author.name,
        "most": most_calls,
    }
    text, used, tokens_in, tokens_out = "", 0, 0, 0
    number = 0
    with Calls(journal, key | {"random_seed": random_seed}) as calls:
        for number in range(1, most_calls + 1):
            last = number == most_calls
            if last and number > 1:
                messages.append({"role": "user", "content": _LAST_WORD})
            tools = [] if last else knowledge.tools()
            question: dict[str, Any] = {
                "messages": messages,
                "tools": tools,
                "seed": derive_seed(random_seed, "knowledge", number),
            }
            said = calls.ask(question, partial(author.converse, **question))
            tokens_in, tokens_out = tokens_in + said["tokens_in"], tokens_out + said["tokens_out"]
            if last or not said["tool_calls"]:
                text = said["content"].strip()
                break
            messages = [*messages, _called(said)]
            for place, call in enumerate(said["tool_calls"]):
                few = place < _AT_ONCE
                found = (
                    knowledge.call(call["name"], call["arguments"])
                    if few
                    else f"error: more than {_AT_ONCE} calls at once"
                )
                used += few
                messages.append({"role": "tool", "tool_call_id": call["id"], "content": found})
    if text:
        return Statement(text, number, used, tokens_in, tokens_out)
    return Statement(
        knowledge.as_text(characters),
        number,
        used,
        tokens_in,
        tokens_out,
        "the model wrote no statement; it gets the files as they are",
    )


_ROLE = (
    "You prepare prior knowledge for the optimisation of designs. Look up in the files what helps to choose good designs for the"
    " task, with the tools. Then write a statement of at most 300 words: rules, quantities, exceptions, each with the file it is from."
    " State nothing as found that you did not find."
)


def _called(said: Mapping[str, Any]) -> dict[str, Any]:
    """The model's own message, as it goes back to it."""
    calls = [
        {"id": c["id"], "type": "function", "function": {"name": c["name"], "arguments": c["arguments"]}}
        for c in said["tool_calls"]
    ]
    return {"role": "assistant", "content": said["content"], "tool_calls": calls}
