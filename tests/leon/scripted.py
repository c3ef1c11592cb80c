"""A proposer without a model: it draws near the best designs that its prompt shows, and may misbehave on the way."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from llome.leon.proposing import Answer, Request


class Scripted:
    """Numbers drawn around the best one shown, within their bounds; an answer depends on the request alone."""

    def __init__(
        self, log: str | None = None, seconds: float = 0.0, answers: list[str] | None = None, nonsense: int = 0
    ) -> None:
        """`log`: a file that gets a line for every call. `answers`: said in turn in place of designs. `nonsense`: one call in so many."""
        self.log, self.seconds, self.answers, self.nonsense = log, seconds, answers or [], nonsense
        self.requests: list[Request] = []

    @property
    def name(self) -> str:
        return "scripted"

    def propose(self, request: Request) -> Answer:
        self.requests.append(request)
        if self.log is not None:
            with open(self.log, "ab", buffering=0) as file:
                file.write(f"{request.seed}\n".encode())
                os.fsync(file.fileno())
        time.sleep(self.seconds)
        if len(self.requests) <= len(self.answers):
            return Answer(self.answers[len(self.requests) - 1], 10, 1)
        if self.nonsense and request.seed % self.nonsense == 0:
            return Answer("[nonsense", 10, 1)
        rng = np.random.default_rng(request.seed)
        best = request.best()
        designs = [self._design(request.space, best[0][0] if best else None, rng) for _ in range(request.count)]
        return Answer(json.dumps(designs), 100, request.count)

    def _design(self, space: Any, best: Any, rng: np.random.Generator) -> dict[str, Any]:
        design: dict[str, Any] = {}
        for field in space.fields:
            if hasattr(field, "low"):
                centre = (field.low + field.high) / 2 if best is None else best[field.name]
                value = centre + 0.2 * (field.high - field.low) * rng.normal()
                value = float(np.clip(value, field.low, field.high))
                step = field.step or 0.0001
                design[field.name] = round(field.low + step * int((value - field.low) / step), 9)
            elif hasattr(field, "options"):
                design[field.name] = field.options[rng.integers(len(field.options))]
            else:
                letters = rng.integers(len(field.alphabet.letters), size=field.longest)
                design[field.name] = "".join(field.alphabet.letters[i] for i in letters)
        return design


def asked(log: Path) -> list[str]:
    """Seeds of all calls that were made, in order."""
    return log.read_text().split()
