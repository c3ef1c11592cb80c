"""Prior knowledge: what tools find, what they refuse, and the statement that a model writes with them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from chat_server import Chat, call_tools, fail, say

from llome.errors import ConfigError, ProposerError
from llome.leon.knowledge import Knowledge
from llome.leon.proposers.server import Server
from llome.leon.space import Space
from llome.leon.statement import Converser, Statement, synthesise

SPACE = Space.of({"dose": {"low": 0, "high": 50}}, "here")


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "guide.md").write_text(
        "# Doses\n\nOlder people need a lower dose.\n\nThe dose of carriers of A/A is half the dose of G/G.\n\nDrink water.\n"
    )
    (folder / "genes.csv").write_text("gene,factor\nA/A,0.5\nA/G,0.75\nG/G,1\n")
    pq.write_table(pa.table({"drug": ["amiodarone", "aspirin"], "percent": [-30, 0]}), folder / "drugs.parquet")
    (tmp_path / "secret.txt").write_text("the key of the house")
    return [folder / name for name in ("guide.md", "genes.csv", "drugs.parquet")]


def test_what_tools_find(files: list[Path]) -> None:
    known = Knowledge(files)
    found = known.call("search_text", json.dumps({"file": "guide.md", "words": "dose of A/A carriers"}))
    assert found.split("\n---\n")[0] == "The dose of carriers of A/A is half the dose of G/G."
    assert "water" not in found
    assert known.call("search_text", json.dumps({"file": "guide.md", "words": "liver"})) == "nothing found"
    row = known.call("look_up", json.dumps({"file": "genes.csv", "column": "gene", "value": "a/g"}))
    assert json.loads(row) == {"gene": "A/G", "factor": "0.75"}
    assert "amiodarone" in known.call(
        "look_up", json.dumps({"file": "drugs.parquet", "column": "percent", "value": -30.0})
    )
    none = known.call("look_up", json.dumps({"file": "genes.csv", "column": "gene", "value": "T/T"}))
    assert none == "nothing found; gene is A/A, A/G, G/G"


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        (
            "search_text",
            '{"file": "../secret.txt", "words": "key"}',
            "error: there is no text '../secret.txt'; there is guide.md",
        ),
        ("search_text", '{"file": "secret.txt", "words": "key"}', "error: there is no text 'secret.txt'"),
        ("search_text", '{"file": "genes.csv", "words": "key"}', "error: there is no text 'genes.csv'"),
        ("look_up", '{"file": "/etc/passwd", "column": "x", "value": "y"}', "error: there is no table '/etc/passwd'"),
        (
            "look_up",
            '{"file": "genes.csv", "column": "x", "value": "y"}',
            "error: genes.csv has no column 'x'; it has gene, factor",
        ),
        ("look_up", '{"file": "genes.csv"}', "error: 'column' is missing"),
        ("search_text", '{"file": "guide', "error: the arguments are no JSON"),
        ("search_text", "[]", "error: the arguments are no JSON object"),
        ("search_text", "", "error: 'file' is missing"),
        ("run_shell", '{"command": "ls"}', "error: there is no tool 'run_shell'"),
    ],
)
def test_what_tools_refuse(files: list[Path], tool: str, arguments: str, said: str) -> None:
    answer = Knowledge(files).call(tool, arguments)
    assert answer.startswith(said)
    assert "house" not in answer


def test_nothing_is_read_after_the_start(files: list[Path]) -> None:
    known = Knowledge(files)
    files[0].unlink()
    assert "half" in known.call("search_text", '{"file": "guide.md", "words": "carriers"}')


def test_files_as_text(files: list[Path]) -> None:
    known = Knowledge(files)
    text = known.as_text(10_000)
    for part in (
        "## guide.md\n# Doses",
        "Drink water.",
        "## genes.csv\ngene,factor\nA/A,0.5",
        "drug,percent\namiodarone,-30",
    ):
        assert part in text
    assert known.as_text(20) == text[:20] + "\n(cut off here)"
    assert [t["function"]["name"] for t in known.tools()] == ["search_text", "look_up"]
    assert known.tools()[1]["function"]["parameters"]["properties"]["file"]["enum"] == ["genes.csv", "drugs.parquet"]


def test_mistakes_in_files(files: list[Path], tmp_path: Path) -> None:
    (tmp_path / "guide.md").write_text("another")
    (tmp_path / "book.pdf").write_bytes(b"%PDF")
    (tmp_path / "odd.txt").write_bytes(b"\xff\xfe\xfa")
    for path, said in {
        "guide.md": "two files are called guide.md",
        "book.pdf": "ends in none of .txt, .md, .csv, .parquet",
        "nothing.md": "cannot be read: No such file",
        "odd.txt": "cannot be read",
    }.items():
        with pytest.raises(ConfigError, match=said):
            Knowledge([*files, tmp_path / path])


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat() as running:
        yield running


def write(chat: Chat, files: list[Path], journal: Path | None = None, most_calls: int = 4) -> Statement:
    author = Server(model="m", base_url=chat.url, key=None, retries=0, timeout=5)
    assert isinstance(author, Converser)
    return synthesise(
        task="Find a dose.",
        space=SPACE,
        knowledge=Knowledge(files),
        author=author,
        most_calls=most_calls,
        characters=1000,
        random_seed=1,
        journal=journal,
    )


SEARCH = ("search_text", '{"file": "guide.md", "words": "carriers"}')
LOOK = ("look_up", '{"file": "genes.csv", "column": "gene", "value": "A/A"}')


def test_a_model_looks_things_up_and_writes_a_statement(chat: Chat, files: list[Path]) -> None:
    chat.acts = [call_tools(SEARCH, LOOK), say(" Halve it for A/A (guide.md). ")]
    statement = write(chat, files)
    assert statement == Statement("Halve it for A/A (guide.md).", 2, 2, 22, 14)
    first, second = (body for _, _, body, _ in chat.requests)
    assert "- genes.csv: table of 3 rows with the columns gene, factor" in first["messages"][1]["content"]
    assert [t["function"]["name"] for t in first["tools"]] == ["search_text", "look_up"]
    _, _, called, one, two = second["messages"]
    assert [c["function"]["name"] for c in called["tool_calls"]] == ["search_text", "look_up"]
    assert (one["role"], one["tool_call_id"], two["tool_call_id"]) == ("tool", "c0", "c1")
    assert "half the dose" in one["content"]
    assert json.loads(two["content"])["factor"] == "0.5"


def test_calls_have_an_end(chat: Chat, files: list[Path]) -> None:
    chat.acts = [call_tools(*[LOOK] * 10), call_tools(("nothing", "{")), say("Enough.")]
    statement = write(chat, files, most_calls=3)
    assert (statement.text, statement.calls, statement.tools) == ("Enough.", 3, 9)
    last = chat.requests[-1][2]
    assert "tools" not in last
    assert last["messages"][-1] == {"role": "user", "content": "You may call no more tools. Write the statement now."}
    assert sum(m["content"].startswith("error: more than 8 calls at once") for m in last["messages"]) == 2
    chat.acts = [call_tools(LOOK), call_tools(LOOK)]
    silent = write(chat, files, most_calls=2)
    assert silent.text.startswith("## guide.md")
    assert silent.note == "the model wrote no statement; it gets the files as they are"


def test_a_statement_is_journalled(chat: Chat, files: list[Path], tmp_path: Path) -> None:
    journal = tmp_path / "calls.jsonl"
    chat.acts = [call_tools(LOOK), fail(401)]
    with pytest.raises(ProposerError):
        write(chat, files, journal)
    chat.acts = [say("Done.")]
    statement = write(chat, files, journal)
    assert (statement.text, statement.calls, len(chat.requests)) == ("Done.", 2, 3)
    assert write(chat, files, journal) == statement
    assert len(chat.requests) == 3
