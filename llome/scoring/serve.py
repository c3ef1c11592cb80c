"""Runs the user's Python beside us: reads batches of sequences, writes scores, and tells the user's own mistakes as they happened.

Started by llome.scoring.programs, with settings as JSON in its only argument; the folder it is started in is on the import path. What
the user's code prints goes to standard error, as standard output holds the answers.
"""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from queue import SimpleQueue
from typing import Any, BinaryIO


def main(settings: dict[str, Any]) -> None:
    """Answer until the input ends."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    try:
        score = load(settings["function"], settings["arguments"])
    except Exception as err:
        _tell(out, [_raised(err)])
        return
    _tell(out, [{"ready": True}])
    batches = _batches()
    while (batch := batches.get()) is not None:
        try:
            _answer(out, score, batch, settings["one_by_one"])
        except Exception as err:
            _tell(out, [_raised(err)])


def load(name: str, arguments: dict[str, Any]) -> Callable[[Any], Any]:
    """What `package.module:Name` names: a class is constructed with the arguments, once; a function gets them with each call."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    if inspect.isclass(found):
        construct: Callable[..., Any] = found
        return construct(**arguments)
    if not callable(found):
        raise TypeError(f"{name} is {type(found).__name__}, which cannot be called")
    return lambda sequences: found(sequences, **arguments)


def _answer(out: BinaryIO, score: Callable[[Any], Any], batch: list[tuple[int, str]], one_by_one: bool) -> None:
    if one_by_one:
        for number, text in batch:
            try:
                answer = _said(score(text))
            except Exception as err:
                traceback.print_exc()
                answer = {"score": None, "message": _named(err)}
            _tell(out, [{"id": number, **answer}])
        return
    numbers, texts = [number for number, _ in batch], [text for _, text in batch]
    answers = _listed(score(texts), len(texts))
    _tell(out, [{"id": number, **_said(answer)} for number, answer in zip(numbers, answers, strict=True)])


def _listed(answers: Any, count: int) -> Sequence[Any]:
    """As many answers as were asked for. Raises TypeError or ValueError."""
    if hasattr(answers, "tolist"):  # an array or a tensor
        answers = answers.tolist()
    if isinstance(answers, str | bytes | Mapping) or not hasattr(answers, "__iter__"):
        raise TypeError(f"it returned {type(answers).__name__} for {count} sequences; it must return {count} numbers")
    answers = list(answers)
    if len(answers) != count:
        raise ValueError(f"it returned {len(answers)} scores for {count} sequences")
    return answers


def _said(answer: Any) -> dict[str, Any]:
    """A number, nothing, or a mapping of score, feasible and message, as JSON; anything else as its text, which is no score."""
    if isinstance(answer, Mapping):
        return {
            "score": _plain(answer.get("score")),
            "feasible": _plain(answer.get("feasible")),
            "message": answer.get("message"),
        }
    return {"score": _plain(answer)}


def _plain(value: Any) -> Any:
    if hasattr(value, "item"):  # a number of NumPy's or of another library of arrays
        with contextlib.suppress(TypeError, ValueError, RuntimeError):
            value = value.item()
    if value is None or isinstance(value, bool | str | int):
        return value
    return float(value) if isinstance(value, Real) else str(value)


def _named(err: BaseException) -> str:
    return traceback.format_exception_only(err)[-1].strip()


def _raised(err: BaseException) -> dict[str, str]:
    """An exception and its traceback, from where the user's code begins."""
    trace = err.__traceback__
    while trace is not None and trace.tb_frame.f_code.co_filename == __file__:
        trace = trace.tb_next
    while trace is not None and "importlib" in trace.tb_frame.f_code.co_filename:
        trace = trace.tb_next
    return {"error": _named(err), "traceback": "".join(traceback.format_exception(type(err), err, trace))}


def _tell(out: BinaryIO, answers: list[dict[str, Any]]) -> None:
    rest = memoryview(b"".join(json.dumps(answer).encode() + b"\n" for answer in answers))
    while rest:
        rest = rest[out.write(rest) :]


def _batches() -> SimpleQueue[Any]:
    """Batches as they come, and None in the end. Whatever goes on then is ended: nobody is there to hear of it."""
    batches: SimpleQueue[Any] = SimpleQueue()

    def read() -> None:
        pending = b""
        while block := os.read(0, 1 << 16):  # not sys.stdin, which cannot be left while somebody reads it
            *lines, pending = (pending + block).split(b"\n")
            for line in lines:
                batches.put(json.loads(line))
        batches.put(None)
        time.sleep(5)
        os._exit(0)

    threading.Thread(target=read, daemon=True).start()
    return batches


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
