"""Stages that start at once: a process that has loaded what they need becomes one of them whenever one is asked for.

Loading torch, Lightning and transformers takes seconds, a stage of a small policy often no more. So the workflow keeps one process
(`llome --warm SOCKET`, rules/ends.smk) that has loaded them and done nothing else. `llome train`, started by a rule as ever, asks it for a
copy of itself (fork), which goes on with the same words, folder, environment and standard streams. What a stage writes does not change: the
copy has drawn no number and started no thread. No such process loads the oracle. Linux only; where nobody answers, a stage loads for
itself, as on a cluster and in a container.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import importlib.util
import json
import os
import selectors
import shutil
import signal
import socket
import sys
from pathlib import Path
from typing import Any

VARIABLE = "LLOME_WARM"
"""Names the socket, in the environment of the stages."""
STAGES = ("base", "train", "surrogate", "refine", "filter")
"""Those that load much; none may import the oracle."""
_LOADED = (
    "jsonargparse",
    "lightning.pytorch.cli",
    "lightning.pytorch.loggers",
    "torch.utils.tensorboard",
    "transformers.models.gpt_neox.modeling_gpt_neox",
    "pyarrow.parquet",
    *(f"llome.stages.{stage}" for stage in STAGES),
    "llome.modules",
    "llome.callbacks",
    "llome.data.datamodule",
    "llome.policy.refinement",
    "llome.surrogate.fitting",
    "llome.surrogate.judging",
    "llome.surrogate.evolution",
    "llome.leon.ranking",
    "llome.machine",
)
_FORWARDED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
_code: int | None = None
"""What this copy ends with."""
_PATIENCE = 5.0
"""Seconds that half a question may take; they come from this machine, in one piece."""


def hand_over(words: list[str]) -> int | None:
    """Let a process that has loaded everything run `llome` with these words (`sys.argv`); its exit code, or None where there is none.

    Signals go to whatever runs, and it dies with this process. If it is killed, so is this process.
    """
    path = os.environ.get(VARIABLE)
    if path is None or len(words) < 2 or words[1] not in STAGES:
        return None
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(path)
            ignored = [number for number in _FORWARDED if signal.getsignal(number) is signal.SIG_IGN]
            question = {"words": words, "folder": os.getcwd(), "environment": dict(os.environ), "ignored": ignored}
            _ask(connection, question)
            if not connection.recv(1):
                return None
        except OSError:
            return None
        for number in set(_FORWARDED) - set(ignored):
            signal.signal(number, lambda number, _: connection.send(bytes([number])))
        answer = connection.recv(4)
    if len(answer) < 4:
        print(f"llome {words[1]}: error: the process that ran it ended; run the same command again", file=sys.stderr)
        return 1
    code = int.from_bytes(answer, "little", signed=True)
    if code < 0:
        with contextlib.suppress(OSError):  # SIGKILL needs none
            signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    return code


def serve(path: str) -> list[str] | None:
    """Load what stages need and answer at the socket `path` until standard input ends, whose other end the workflow holds.

    Returns:
        In each copy, the words of the stage that it is now to run (`sys.argv`); None in this process, at its end.
    """
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:  # a kernel, or a sandbox, that has none: stages load for themselves
        return None
    atexit.register(_leave)  # before what is loaded registers its own, which is called first
    with socket.socket(socket.AF_UNIX) as listening, selectors.DefaultSelector() as selector:
        listening.bind(path)
        listening.listen(64)  # who asks before all is loaded waits no longer than it would by itself
        # pyarrow loads pandas with the first array that it makes of NumPy's, where there is one
        for name in (*_LOADED, *(("pandas",) if importlib.util.find_spec("pandas") else ())):
            importlib.import_module(name)
        gc.freeze()  # what is loaded is no garbage: copies go on sharing its memory
        selector.register(listening, selectors.EVENT_READ)
        selector.register(0, selectors.EVENT_READ)
        copies: dict[int, tuple[int, socket.socket]] = {}  # by the descriptor that says a copy has ended
        while True:
            for key, _ in selector.select():
                if key.fd == 0:
                    for process, _ in copies.values():
                        os.kill(process, signal.SIGKILL)
                    shutil.rmtree(Path(path).parent, ignore_errors=True)
                    return None
                if key.fileobj is listening:
                    connection, _ = listening.accept()
                    question = _read(connection)
                    if question is None:
                        connection.close()
                    elif process := os.fork():
                        for stream in question["streams"]:
                            os.close(stream)
                        ends = os.pidfd_open(process)
                        copies[ends] = process, connection
                        with contextlib.suppress(OSError):
                            connection.send(b"!")  # it runs: from here on nobody else may
                        selector.register(ends, selectors.EVENT_READ)
                        selector.register(connection, selectors.EVENT_READ, data=process)
                    else:
                        for ends, (_, other) in copies.items():
                            os.close(ends)
                            other.close()
                        connection.close()
                        return _become(question)
                elif key.data is None:
                    process, connection = copies.pop(key.fd)
                    _, status = os.waitpid(process, 0)
                    with contextlib.suppress(OSError):  # nobody listens any more
                        connection.send(os.waitstatus_to_exitcode(status).to_bytes(4, "little", signed=True))
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    with contextlib.suppress(KeyError):
                        selector.unregister(connection)
                    connection.close()
                else:
                    _pass_on(key, selector)


def end_with(code: int) -> int:
    """Let this copy, whose stage has ended with `code`, end as a fork does once threads and exit handlers are through.

    Python would then take apart all that is loaded, and have it copied first, page by page: four tenths of a second a stage.
    """
    global _code
    _code = code
    return code


def _leave() -> None:
    if _code is None:
        return
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except (OSError, ValueError):  # Python's own end says so
        return
    os._exit(_code)


def _pass_on(key: selectors.SelectorKey, selector: selectors.BaseSelector) -> None:
    """Signal the copy as its `llome` says, or kill it with that."""
    assert isinstance(key.fileobj, socket.socket)
    if key.fileobj.fileno() < 0:  # the copy's end was seen a moment before, and its number may be another's by now
        return
    try:
        numbers = key.fileobj.recv(16)
    except OSError:
        numbers = b""
    with contextlib.suppress(ProcessLookupError):
        for number in numbers or bytes([signal.SIGKILL]):
            os.kill(key.data, number)
    if not numbers:
        selector.unregister(key.fileobj)


def _ask(connection: socket.socket, question: dict[str, Any]) -> None:
    text = json.dumps(question).encode()
    socket.send_fds(connection, [len(text).to_bytes(4, "little")], [0, 1, 2])
    connection.sendall(text)


def _read(connection: socket.socket) -> dict[str, Any] | None:
    """A question and the descriptors of its streams; None where it breaks off."""
    connection.settimeout(_PATIENCE)
    streams: list[int] = []
    try:
        size, streams, _, _ = socket.recv_fds(connection, 4, 3)
        missing, parts = int.from_bytes(size, "little"), []
        while missing:
            parts.append(connection.recv(missing))
            if not parts[-1]:
                raise EOFError
            missing -= len(parts[-1])
        question: dict[str, Any] = json.loads(b"".join(parts))
    except (OSError, EOFError, ValueError):
        for stream in streams:
            os.close(stream)
        return None
    connection.settimeout(None)
    return {**question, "streams": streams}


def _become(question: dict[str, Any]) -> list[str]:
    """Take on what the stage would have been started with."""
    for target, stream in enumerate(question["streams"]):
        os.dup2(stream, target)
        os.close(stream)
    for number in _FORWARDED:
        usual = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
        signal.signal(number, signal.SIG_IGN if number in question["ignored"] else usual)
    threads = os.environ.get("OMP_NUM_THREADS")
    os.chdir(question["folder"])
    os.environ.clear()
    os.environ.update(question["environment"])
    if (wanted := os.environ.get("OMP_NUM_THREADS", "")) != threads and wanted.isdigit():
        sys.modules["torch"].set_num_threads(int(wanted))  # it read the variable when it was loaded
    sys.argv = question["words"]
    return sys.argv
