"""A real HTTP server that speaks the OpenAI chat protocol, well or badly, as it is told."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
import threading
import time
from collections.abc import Callable, Sequence
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Act = Callable[["Handler", dict[str, Any]], None]


class Handler(BaseHTTPRequestHandler):
    """Does what its server's next act says."""

    server: Chat

    def log_message(self, *_: object) -> None:
        pass

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        with self.server.lock:
            self.server.requests.append((self.path, self.headers, body, time.monotonic()))
            act = self.server.acts.pop(0) if self.server.acts else self.server.otherwise
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            act(self, body)

    def send(
        self, status: int, text: str, headers: Sequence[tuple[str, str]] = (), kind: str = "application/json"
    ) -> None:
        data = text.encode()
        self.send_response(status)
        for name, value in (("Content-Type", kind), ("Content-Length", str(len(data))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)


class Chat(ThreadingHTTPServer):
    """Its `acts` are done in turn, then `otherwise`; `requests` are what it was sent: path, headers, body, time."""

    daemon_threads = True

    def __init__(self, *acts: Act, otherwise: Act | None = None) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.acts, self.otherwise = list(acts), otherwise or say("[]")
        self.requests: list[tuple[str, Message, dict[str, Any], float]] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request: object, client_address: object) -> None:
        pass

    def __enter__(self) -> Chat:
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


def completion(message: dict[str, Any], usage: Any = None) -> str:
    usage = {"prompt_tokens": 11, "completion_tokens": 7, "total_tokens": 18} if usage is None else usage
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": "stop"}
    return json.dumps(
        {"id": "1", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}
    )


def say(text: str | None) -> Act:
    return lambda handler, body: handler.send(200, completion({"content": text}))


def call_tools(*calls: tuple[str, str]) -> Act:
    tools = [
        {"id": f"c{i}", "type": "function", "function": {"name": n, "arguments": a}} for i, (n, a) in enumerate(calls)
    ]
    return lambda handler, body: handler.send(200, completion({"content": None, "tool_calls": tools}))


def fail(status: int, *headers: tuple[str, str], message: str = "no", code: str | None = None) -> Act:
    text = json.dumps({"error": {"message": message, "type": "t", "code": code}})
    return lambda handler, body: handler.send(status, text, headers)


def raw(text: str, kind: str = "application/json") -> Act:
    return lambda handler, body: handler.send(200, text, kind=kind)


def drop(handler: Handler, body: dict[str, Any]) -> None:
    """A connection that is reset in place of an answer."""
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.close_connection = True
    handler.connection.shutdown(socket.SHUT_RDWR)


def hang(seconds: float) -> Act:
    def act(handler: Handler, body: dict[str, Any]) -> None:
        time.sleep(seconds)
        handler.send(200, completion({"content": "too late"}))

    return act


def drip(seconds: float) -> Act:
    """A byte now and then: no read ever times out."""

    def act(handler: Handler, body: dict[str, Any]) -> None:
        handler.send_response(200)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", "100000")
        handler.end_headers()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            handler.wfile.write(b" ")
            handler.wfile.flush()
            time.sleep(0.02)

    return act
