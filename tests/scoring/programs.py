"""Programs and functions that count letters, and how they are asked."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llome.scoring import Budget, Journal, make_oracle
from llome.scoring.budget import Labels

TEXTS = ["AAAA", "CAAA", "CCAA", "CCCA", "CCCC", "ACAC"]
SEQUENCES = np.array([["ACGT".index(letter) for letter in text] for text in TEXTS])
HONEST = [0.0, 1.0, 2.0, 3.0, 4.0, 2.0]
"""The number of C."""

HEAD = """
import json, os, sys, time, pathlib
started = pathlib.Path("started"); started.write_text(started.read_text() + "x" if started.exists() else "x")
again = len(started.read_text()) > 1
def read():
    return json.loads(sys.stdin.readline() or sys.exit())
def tell(id, score, **more):
    print(json.dumps({"id": id, "score": score, **more}), flush=True)
def count(asked):
    return float(asked["sequence"].count("C"))
"""
LOOP = """
for line in sys.stdin:
    asked = json.loads(line)
    if asked["sequence"] == "CCAA":
        {}
    tell(asked["id"], count(asked))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(script: str, **settings: Any) -> Any:
    Path("score.py").write_text(HEAD + script)
    common = {
        "name": "command",
        "alphabet": "dna",
        "length": 4,
        "command": [sys.executable, "-S", "score.py"],
        "timeout": 20,
    }
    return make_oracle(common | settings)


def python(code: str, **settings: Any) -> Any:
    Path("mine.py").write_text(code)
    return make_oracle(
        {"name": "python", "alphabet": "dna", "length": 4, "function": "mine:score", "timeout": 20} | settings
    )


def ask(oracle: Any, *, journal: bool = True, **options: Any) -> Labels:
    with Journal("journal", {}, 4) as lines, Budget(oracle, journal=lines if journal else None, **options) as budget:
        labels = budget.ask(SEQUENCES)
        assert budget.spent == len(SEQUENCES) * oracle.repeats + labels.again
        return labels


def kept() -> dict[str, float]:
    """What the journal holds: score by sequence."""
    found = {}
    for line in Path("journal").read_text().splitlines()[1:]:
        answers = json.loads(line)
        for sequence, score in zip(answers["sequences"], answers.get("scores", ()), strict="scores" in answers):
            found["".join("ACGT"[e] for e in sequence)] = score
    return found
