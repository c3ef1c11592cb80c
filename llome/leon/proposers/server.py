"""A model behind a server that speaks the OpenAI chat protocol: the published ones, and vLLM, llama.cpp, Ollama and others at home.

The network is not to be trusted. Every call has a deadline for the whole of it; what may pass (no connection, too slow, 408, 409, 429, 5xx,
a body that is no answer) is tried again after a growing wait, or as long as the server says; what cannot (a wrong key, an unknown
model) ends at once, in words. The key comes from the environment, and is in no message and no file.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Mapping, Sequence
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import numpy as np

from llome.errors import ConfigError, ProposerError
from llome.leon.proposing import Answer, Request
from llome.provenance import derive_seed

_AGAIN = (408, 409, 425, 429)
"""Statuses below 500 that may pass."""
_LONGEST = 60.0
"""Seconds of the longest wait that is not the server's own wish."""


class Server:
    """A proposer; safe to use from one thread at a time."""

    def __init__(
        self,
        *,
        model: str,
        base_url: str = "https://api.openai.com/v1",
        key: str | None = "OPENAI_API_KEY",
        temperature: float | None = 1.0,
        max_tokens: int | None = 4096,
        timeout: float = 120.0,
        retries: int = 6,
        backoff: float = 1.0,
        longest_wait: float = 600.0,
        per_minute: float | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        """Nothing is sent here.

        Args:
            model: as the server names it.
            base_url: where the protocol begins, such as http://localhost:8000/v1.
            key: environment variable that holds the key; None: the server wants none.
            temperature: of sampling; None: the server's own.
            max_tokens: of an answer; None: the server's own.
            timeout: seconds for a whole call.
            retries: attempts after the first, of what may pass.
            backoff: seconds before the first of them; each wait is about twice the one before.
            longest_wait: seconds that a server may ask to wait (Retry-After); one that asks for more ends the run.
            per_minute: most calls a minute, attempts included.
            extra: what else to put in every call, as the server's manual has it.

        Raises:
            ConfigError: the key is not in the environment, the openai client is not installed, or a setting is impossible.
        """
        self.model, self.base_url = _text(model, "model"), _text(base_url, "base_url")
        parts = urlsplit(self.base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.password:
            shown = f"{parts.scheme}://{parts.hostname}"  # without what may be a password
            raise ConfigError(
                f"proposer: base_url is {shown}...; give http(s)://host[:port]/path, the key in the environment"
            )
        for name, value, least in (("timeout", timeout, 0), ("backoff", backoff, 0), ("per_minute", per_minute, 0)):
            if value is not None and (not _is_number(value) or not least < value < float("inf")):
                raise ConfigError(f"proposer: {name} is {value!r}; it must be above 0")
        for name, value in (("temperature", temperature), ("longest_wait", longest_wait)):
            if value is not None and (not _is_number(value) or not 0 <= value < float("inf")):
                raise ConfigError(f"proposer: {name} is {value!r}; it must be at least 0")
        for name, count, least in (("retries", retries, 0), ("max_tokens", max_tokens, 1)):
            if count is not None and (not _is_number(count) or count != int(count) or count < least):
                raise ConfigError(f"proposer: {name} is {count!r}; it must be a whole number of at least {least}")
        if not isinstance(extra or {}, Mapping):
            raise ConfigError(f"proposer: extra is {extra!r}; give a mapping")
        try:
            import openai
        except ImportError as err:
            raise ConfigError(
                "proposer: a server needs the openai client; install it with pip install 'llome[leon]'"
            ) from err
        self._key = "" if key is None else os.environ.get(key, "").strip()
        if key is not None and not self._key:
            raise ConfigError(
                f"proposer: the environment variable {key} with the key of {self.base_url} is not set; export it, or give key: null"
                " where the server wants none"
            )
        self._client = openai.OpenAI(
            api_key=self._key or "none", base_url=self.base_url, timeout=timeout, max_retries=0
        )
        self._sampling = {"temperature": temperature, "max_tokens": max_tokens}
        self._extra = dict(extra or {})
        self._timeout, self._retries, self._backoff, self._longest = timeout, retries, backoff, longest_wait
        self._apart = 0.0 if per_minute is None else 60.0 / per_minute
        self._last = -float("inf")

    @property
    def name(self) -> str:
        """The model."""
        return self.model

    def propose(self, request: Request) -> Answer:
        """See `Proposer`."""
        said = self.converse(request.messages(), (), request.seed)
        return Answer(said["content"], said["tokens_in"], said["tokens_out"])

    def converse(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]], seed: int
    ) -> dict[str, Any]:
        """The model's next message: `content`, `tool_calls` (id, name, arguments as text), `tokens_in`, `tokens_out`.

        Raises ProposerError where no answer is to be had after all attempts.
        """
        sampling = {k: v for k, v in self._sampling.items() if v is not None}
        call: dict[str, Any] = {"model": self.model, "messages": list(messages), "seed": seed % 2**31, **sampling}
        if tools:
            call["tools"] = list(tools)
        reason = ""
        for attempt in range(self._retries + 1):
            self._wait_for_turn()
            try:
                return _read(self._once(call))
            except _Passing as passing:
                reason, wish = self._hidden(str(passing)), passing.wish
            if wish is not None and wish > self._longest:
                raise ProposerError(
                    f"{self.base_url} asks to wait {wish:.0f} seconds ({reason}); run the same command again then: what was"
                    " answered is kept"
                )
            if attempt < self._retries:
                jitter = np.random.default_rng(derive_seed(seed, "retry", attempt)).uniform(0.5, 1.5)
                time.sleep(max(wish or 0.0, min(self._backoff * 2**attempt, _LONGEST) * jitter))
        raise ProposerError(
            f"{self.base_url} gave no answer in {self._retries + 1} attempts, the last time: {reason}; run the same command again"
            " when it does: what was answered is kept"
        )

    def _wait_for_turn(self) -> None:
        time.sleep(max(0.0, self._last + self._apart - time.monotonic()))
        self._last = time.monotonic()

    def _once(self, call: dict[str, Any]) -> Any:
        """One attempt. Raises _Passing, or ProposerError where another is of no use."""
        import openai

        try:
            return self._in_time(call)
        except openai.APITimeoutError as err:
            raise _Passing(f"no answer within {self._timeout:g} seconds") from err
        except openai.APIConnectionError as err:
            raise _Passing(f"no connection: {err.__cause__ or err}") from err
        except openai.APIStatusError as err:
            told = err.body.get("message") if isinstance(err.body, dict) else None
            said = f"status {err.status_code}: {' '.join(str(told or err.message).split())[:300]}"
            spent = getattr(err, "code", None) == "insufficient_quota"
            if (err.status_code in _AGAIN or err.status_code >= 500) and not spent:
                raise _Passing(said, _retry_after(err.response.headers)) from err
            raise ProposerError(
                f"{self.base_url} refuses the call: {self._hidden(said)}; mend it, then run the same command again: what was"
                " answered is kept"
            ) from None
        except (openai.APIError, ValueError) as err:  # a body that is no JSON, or not what the protocol says
            raise _Passing(f"no answer of the protocol: {' '.join(str(err).split())[:200]}") from err

    def _in_time(self, call: dict[str, Any]) -> Any:
        """The response, within the deadline even where a server sends a byte now and then for ever."""
        import openai

        done: queue.Queue[tuple[Any, Exception | None]] = queue.Queue()

        def ask() -> None:
            try:
                done.put((self._client.chat.completions.create(**call, extra_body=self._extra or None), None))
            except Exception as err:
                done.put((None, err))

        threading.Thread(target=ask, daemon=True).start()
        try:
            response, error = done.get(timeout=self._timeout)
        except queue.Empty:
            raise _Passing(f"no answer within {self._timeout:g} seconds") from None
        if isinstance(error, openai.OpenAIError | ValueError):
            raise error
        if error is not None:
            raise _Passing(f"no answer of the protocol: {type(error).__name__}: {error}") from error
        return response

    def _hidden(self, text: str) -> str:
        """A text without the key, should a server have repeated it."""
        return text.replace(self._key, "***") if self._key else text


class _Passing(Exception):
    """What may be over at the next attempt; `wish` is how many seconds the server asks to wait."""

    def __init__(self, reason: str, wish: float | None = None) -> None:
        super().__init__(reason)
        self.wish = wish


def _read(response: Any) -> dict[str, Any]:
    """The message in a response. Raises _Passing where there is none."""
    try:
        message = response.choices[0].message
        calls = [
            {"id": str(c.id), "name": str(c.function.name), "arguments": str(c.function.arguments)}
            for c in message.tool_calls or ()
        ]
        content = message.content
    except (AttributeError, IndexError, TypeError) as err:
        raise _Passing("no answer of the protocol: there is no message in it") from err
    usage = getattr(response, "usage", None)
    tokens = [getattr(usage, name, None) for name in ("prompt_tokens", "completion_tokens")]
    tokens_in, tokens_out = (t if isinstance(t, int) and t >= 0 else 0 for t in tokens)
    return {
        "content": content if isinstance(content, str) else "",
        "tool_calls": calls,
        "tokens_in": tokens_in,
        "tokens_out": tokens_out,
    }


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the header asks to wait, given as such or as a date; None where it says nothing that can be read."""
    said = headers.get("retry-after", "")
    try:
        return max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(said).timestamp() - time.time())
    except (TypeError, ValueError):
        return None


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or not value:
        raise ConfigError(f"proposer: {name} is {value!r}; it must be text")
    return value
