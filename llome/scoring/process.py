"""A program kept alive between questions, spoken to in lines, with a clock beside it. It may hang, flood, stop or fall silent.

No shell is involved. Its standard error is read all the time, so that nothing it writes there can block it, and the last of it goes
into messages. Threads do the reading and writing, so that a time limit holds whatever the program does.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Sequence

from llome.errors import OracleError

LONGEST = 1 << 20
"""Bytes of a line; a longer one is no answer."""
_TAIL = 2000
"""Bytes of standard error that are kept for messages."""
_AHEAD = 10_000
"""Lines that are read ahead of those that were asked for."""


class Program:
    """One running program."""

    def __init__(self, command: Sequence[str]) -> None:
        """Start it, in the folder that this process is in. Raises OracleError where that cannot be done."""
        self.command = list(command)
        try:
            self._process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # so that what it starts itself ends with it
            )
        except (OSError, ValueError) as err:
            raise OracleError(
                f"cannot start {' '.join(self.command)}: {getattr(err, 'strerror', None) or err}; name a program that can be run,"
                " by its path from the folder this is started in"
            ) from err
        self._lines: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._cut = b""
        self._tail = bytearray()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._read, self._drain)]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(OSError, ValueError):
            pending = b""
            while block := os.read(self._process.stdout.fileno(), 1 << 16):
                *lines, pending = (pending + block).split(b"\n")
                if len(pending) > LONGEST:
                    lines.append(pending)
                    pending = b""
                for line in lines:
                    self._put(line)
            self._cut = pending
        self._put(None)

    def _put(self, line: bytes | None) -> None:
        while not self._over.is_set():
            with contextlib.suppress(queue.Full):
                self._lines.put(line, timeout=0.1)
                return

    def _drain(self) -> None:
        assert self._process.stderr is not None
        with contextlib.suppress(OSError, ValueError):
            while block := os.read(self._process.stderr.fileno(), 1 << 16):
                self._tail += block
                del self._tail[:-_TAIL]

    def write(self, data: bytes) -> None:
        """Send bytes, in a thread: a program that does not read must not hold up the clock."""

        def send() -> None:
            assert self._process.stdin is not None
            with contextlib.suppress(OSError, ValueError):
                rest = memoryview(data)
                while rest:
                    rest = rest[self._process.stdin.write(rest) :]

        thread = threading.Thread(target=send, daemon=True)
        self._threads.append(thread)
        thread.start()

    def read(self, deadline: float | None) -> list[bytes] | None:
        """The lines that are there, at least one; None where it has ended. Raises TimeoutError after `deadline` (monotonic)."""
        try:
            first = self._lines.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise TimeoutError from None
        found = [first]
        with contextlib.suppress(queue.Empty):
            while found[-1] is not None and len(found) < _AHEAD:
                found.append(self._lines.get_nowait())
        lines = [line for line in found if line is not None]
        if found[-1] is None and lines:
            self._lines.put_nowait(None)  # its end is told when it is next asked
        return lines or None

    def ending(self) -> str:
        """How it ended, in words, once it has written its last line."""
        cut = f" in the middle of a line, {self._cut[:80].decode(errors='replace')!r}," if self._cut else ""
        try:
            code = self._process.wait(timeout=1)
        except subprocess.TimeoutExpired:
            return f"closed its standard output{cut}"
        return f"was ended by {signal.Signals(-code).name}{cut}" if code < 0 else f"ended with exit code {code}{cut}"

    def said(self) -> str:
        """The last of its standard error, to be put behind a message."""
        if self._process.poll() is not None:
            self._threads[1].join(timeout=1)
        lines = bytes(self._tail).decode(errors="replace").strip().splitlines()
        return f"; the last it wrote to standard error: {' | '.join(lines[-5:])[-600:]}" if lines else ""

    def close(self, patience: float = 0.0) -> None:
        """End it, and all that it has started: first by closing its input, then by force."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        if patience:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=patience)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._over.set()
        for thread in self._threads:
            thread.join(timeout=1)
        self._process.stdout.close()
        self._process.stderr.close()
