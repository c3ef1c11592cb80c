"""The proposer behind a server, against a real one that is slow, drops connections, refuses, and talks nonsense."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from chat_server import Act, Chat, call_tools, drip, drop, fail, hang, raw, say

from llome.errors import ConfigError, ProposerError
from llome.leon.loop import optimise
from llome.leon.proposers import make_proposer, server
from llome.leon.proposers.server import Server
from llome.leon.proposing import Answer, Request
from llome.leon.settings import LeonSettings
from llome.leon.space import Space

SPACE = Space.of({"x": {"low": 0, "high": 1}}, "here")
REQUEST = Request(task="Find x.", space=SPACE, context={"age": 60}, count=2, seed=5)
GOOD = '[{"x": 0.5}, {"x": 0.25}]'
KEY = "sk-very-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", KEY)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def chat() -> Iterator[Chat]:
    with Chat() as running:
        yield running


def proposer(chat: Chat, **more: Any) -> Server:
    return Server(
        **{"model": "m", "base_url": chat.url, "key": "MY_KEY", "timeout": 5.0, "backoff": 0.01, "retries": 3, **more}
    )


def test_a_well_behaved_server(chat: Chat) -> None:
    chat.acts = [say(GOOD)]
    assert proposer(chat, extra={"top_k": 7}).propose(REQUEST) == Answer(GOOD, 11, 7)
    ((path, headers, body, _),) = chat.requests
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == f"Bearer {KEY}"
    assert body == {
        "model": "m",
        "messages": REQUEST.messages(),
        "seed": 5,
        "temperature": 1.0,
        "max_tokens": 4096,
        "top_k": 7,
    }


@pytest.mark.parametrize(
    "bad",
    [
        fail(500),
        fail(503, ("Retry-After", "nonsense")),
        fail(429),
        fail(408),
        drop,
        hang(0.6),
        drip(0.6),
        raw("<html>Bad gateway</html>", "text/html"),
        raw("{"),
        raw("[]"),
        raw("{}"),
        raw('{"choices": []}'),
        raw('{"choices": [{"index": 0, "message": null}]}'),
        raw("null"),
    ],
)
def test_what_may_pass_is_tried_again(chat: Chat, bad: Act) -> None:
    chat.acts = [bad, bad, say(GOOD)]
    start = time.monotonic()
    assert proposer(chat, timeout=0.3).propose(REQUEST).text == GOOD
    assert len(chat.requests) == 3
    assert time.monotonic() - start < 4
    assert all(body == chat.requests[0][2] for _, _, body, _ in chat.requests)


@pytest.mark.parametrize("act", [hang(5), drip(5), drop])
def test_a_server_that_never_answers(chat: Chat, act: Act) -> None:
    chat.otherwise = act
    start = time.monotonic()
    with pytest.raises(
        ProposerError, match=r"gave no answer in 3 attempts, the last time: no .*what was answered is kept"
    ):
        proposer(chat, timeout=0.2, retries=2).propose(REQUEST)
    assert time.monotonic() - start < 4
    assert len(chat.requests) == 3


def test_no_server_at_all() -> None:
    with Chat() as chat:
        closed = proposer(chat, retries=1)
    with pytest.raises(ProposerError, match="gave no answer in 2 attempts, the last time: no connection"):
        closed.propose(REQUEST)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422])
def test_what_cannot_pass_ends_at_once(chat: Chat, status: int) -> None:
    chat.acts = [fail(status, message=f"Incorrect key {KEY} for model 'm'")]
    with pytest.raises(ProposerError) as caught:
        proposer(chat).propose(REQUEST)
    assert len(chat.requests) == 1
    assert f"refuses the call: status {status}" in str(caught.value)
    assert "model 'm'" in str(caught.value)
    said: BaseException | None = caught.value
    while said is not None:  # the causes are shown by --debug
        assert KEY not in str(said)
        said = said.__cause__


def test_a_spent_quota_does_not_pass(chat: Chat) -> None:
    chat.acts = [fail(429, message="You exceeded your current quota", code="insufficient_quota")]
    with pytest.raises(ProposerError, match="You exceeded your current quota"):
        proposer(chat).propose(REQUEST)
    assert len(chat.requests) == 1


def test_retry_after_is_honoured(chat: Chat) -> None:
    chat.acts = [fail(429, ("Retry-After", "0.7")), say(GOOD)]
    assert proposer(chat).propose(REQUEST).text == GOOD
    assert chat.requests[1][3] - chat.requests[0][3] >= 0.7
    chat.acts = [fail(503, ("Retry-After", formatdate(time.time() + 2, usegmt=True))), say(GOOD)]
    assert proposer(chat).propose(REQUEST).text == GOOD
    assert 0.9 < chat.requests[3][3] - chat.requests[2][3] < 4
    chat.acts = [fail(429, ("Retry-After", "7200"))]
    with pytest.raises(ProposerError, match=r"asks to wait 7200 seconds \(status 429: no\)"):
        proposer(chat).propose(REQUEST)
    assert len(chat.requests) == 5


def test_waits_grow_and_are_keyed_by_seed(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    clock = SimpleNamespace(sleep=waits.append, monotonic=time.monotonic)
    monkeypatch.setattr(server, "time", clock)
    chat.otherwise = fail(500)
    for seed in (5, 5, 6):
        with pytest.raises(ProposerError, match="gave no answer in 9 attempts, the last time: status 500: no"):
            proposer(chat, retries=8, backoff=2.0).converse([], (), seed)
    one, again, other = ([w for w in waits if w > 0][i : i + 8] for i in (0, 8, 16))
    assert one == again != other
    for attempt, wait in enumerate(one):
        base = min(2.0 * 2**attempt, 60)
        assert 0.5 * base <= wait <= 1.5 * base


def test_calls_a_minute(chat: Chat, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a clock that only waiting moves: arrivals are as late as a busy machine makes them."""
    now, sent = [0.0], []

    def sleep(seconds: float) -> None:
        now[0] += seconds

    def seen(act: Act) -> Act:
        return lambda handler, body: (sent.append(now[0]), act(handler, body))[1]

    monkeypatch.setattr(server, "time", SimpleNamespace(sleep=sleep, monotonic=lambda: now[0]))
    calls = proposer(chat, per_minute=300)
    chat.acts = [seen(say("[]")), seen(fail(500)), seen(say("[]"))]
    calls.propose(REQUEST)
    calls.propose(REQUEST)
    assert sent == pytest.approx([0.0, 0.2, 0.4])


def test_what_is_no_text_is_empty_and_what_is_not_counted_is_0(chat: Chat) -> None:
    chat.acts = [say(None), raw('{"choices": [{"index": 0, "message": {"role": "assistant", "content": "[]"}}]}')]
    assert proposer(chat).propose(REQUEST) == Answer("", 11, 7)
    assert proposer(chat).propose(REQUEST) == Answer("[]", 0, 0)


def test_tools_are_offered_and_calls_read(chat: Chat) -> None:
    tools = [{"type": "function", "function": {"name": "search", "parameters": {"type": "object"}}}]
    chat.acts = [call_tools(("search", '{"words": "dose"}'))]
    said = proposer(chat).converse([{"role": "user", "content": "?"}], tools, 1)
    assert chat.requests[0][2]["tools"] == tools
    assert said["tool_calls"] == [{"id": "c0", "name": "search", "arguments": '{"words": "dose"}'}]
    assert (said["content"], said["tokens_in"], said["tokens_out"]) == ("", 11, 7)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"key": "NO_SUCH_KEY"}, "the environment variable NO_SUCH_KEY with the key of http://h/v1 is not set"),
        ({"key": "OPENAI_API_KEY"}, "OPENAI_API_KEY"),
        ({"model": ""}, "model is ''; it must be text"),
        ({"base_url": "h/v1"}, "give http(s)://host"),
        ({"base_url": "http://me:secret@h/v1"}, "base_url is http://h...; give http(s)://host"),
        ({"timeout": 0}, "timeout is 0; it must be above 0"),
        ({"timeout": "5"}, "timeout is '5'"),
        ({"retries": -1}, "retries is -1"),
        ({"per_minute": 0}, "per_minute is 0"),
        ({"temperature": -1}, "temperature is -1"),
        ({"max_tokens": 1.5}, "max_tokens is 1.5"),
        ({"extra": 5}, "extra is 5"),
        ({"timout": 5}, "unknown key 'timout', did you mean 'timeout'?"),
        ({"name": "servr"}, "'servr' is unknown, did you mean 'server'?"),
        ({"name": None}, "name is missing; there is server, hf, python"),
    ],
)
def test_mistakes_in_settings_are_named(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make_proposer(
            {"name": "server", "model": "m", "base_url": "http://h/v1", "key": "MY_KEY", **settings}, "task.yaml"
        )
    assert said in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_server_that_wants_no_key(chat: Chat) -> None:
    chat.acts = [say(GOOD)]
    made = make_proposer({"name": "server", "model": "m", "base_url": chat.url, "key": None})
    assert made.propose(REQUEST).text == GOOD
    with pytest.raises(ConfigError, match="the key 'model' is missing"):
        make_proposer({"name": "server"})


def loop(chat: Chat, journal: Path, **more: Any) -> Any:
    return optimise(
        task="Find x.",
        space=SPACE,
        context={"age": 60},
        knowledge="",
        predict=lambda designs: np.array([d["x"] for d in designs]),
        source=np.full((9, 1), 0.5),
        proposer=proposer(chat, **more),
        settings=LeonSettings(budget=8, batch=2, critic=False),
        random_seed=1,
        journal=journal,
    )


def test_a_loop_through_bad_weather_pays_for_nothing_twice(chat: Chat, tmp_path: Path) -> None:
    """Nonsense, a truncated list, wrong field names, a dead server in mid-run; then the same run again."""
    texts = ["I would rather not.", GOOD[:-4], '[{"y": 1}, {"X": 2}]', GOOD, '[{"x": 7}, {"x": 0.75}]']
    chat.acts = [say(texts[0]), fail(500), say(texts[1]), drop, say(texts[2]), *map(say, texts[3:])]
    chat.otherwise = fail(502)
    journal = tmp_path / "calls.jsonl"
    with pytest.raises(ProposerError, match="gave no answer in 2 attempts"):
        loop(chat, journal, retries=1)
    asked = len(chat.requests)
    chat.otherwise = say(GOOD)
    outcome = loop(chat, journal)
    assert (outcome.queries, outcome.calls) == (8, 8)
    assert [b.malformed for b in outcome.batches] == [3, 0, 0, 0, 0, 0]
    assert [b.designs for b in outcome.batches] == [0, 2, 1, 2, 2, 1]
    assert outcome.best.design == {"x": 0.75}
    assert len(chat.requests) == asked + 3  # what was answered is not asked again
    assert (outcome.tokens_in, outcome.tokens_out) == (8 * 11, 8 * 7)
    text = journal.read_text()
    assert KEY not in text
    assert json.loads(text.splitlines()[1])["question"]["messages"][0]["role"] == "system"
