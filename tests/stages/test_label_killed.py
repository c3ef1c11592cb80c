"""`llome label` with a program as its oracle, killed again and again at random moments: no label is lost, and none is paid for twice.

What is promised, and counted here: once an answer is in the journal, its sequence is never asked for again; what was asked for again
was on its way when a kill came; at most one batch is on its way at a time.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from llome.scoring import load_oracle, make_oracle, save_oracle
from llome.tables import Labeled, Meta, Selected

ROOT = Path(__file__).resolve().parents[2]
COUNT, BATCH, KILLS = 5000, 8, 60

# Notes what it is asked on disk before it answers; refuses some sequences, always or once, and answers each batch backwards.
SCRIPT = """
import json, os, select, sys
log = open("asked.log", "ab", buffering=0)
waiting, rest = [], b""
while True:
    block = os.read(0, 65536)
    if not block:
        break
    *lines, rest = (rest + block).split(b"\\n")
    waiting += map(json.loads, lines)
    if select.select([0], [], [], 0)[0]:
        continue
    for asked in reversed(waiting):
        log.write(b"%d %s\\n" % (asked["id"], asked["sequence"].encode()))
        os.fsync(log.fileno())
        score = asked["sequence"].count("C") if asked["id"] % 97 else None
        os.write(1, json.dumps({"id": asked["id"], "score": score, "message": "none"}).encode() + b"\\n")
    waiting = []
"""
RUN = "import sys; from llome.cli import main; sys.exit(main(sys.argv[1:]))"


def problem() -> np.ndarray:
    """Write the oracle, the seed's labels and the candidates, in the working folder."""
    Path("score.py").write_text(SCRIPT)
    spec = {"name": "command", "alphabet": "dna", "length": 8, "command": [sys.executable, "-S", "score.py"]}
    Path("oracle.yaml").write_text(yaml.safe_dump(spec))
    save_oracle(make_oracle(spec), "oracle.json")
    domain = load_oracle("oracle.json").domain
    numbers = np.random.default_rng(0).permutation(4**8)[: COUNT + 1]
    sequences = (numbers[:, None] // 4 ** np.arange(8) % 4).astype(np.int16)
    origin = np.array(["ga"], dtype=object)
    seed = Labeled(Meta(domain, spent=1), sequences[:1], np.ones(1), np.zeros(1, int), np.ones(1, np.int32), origin)
    seed.write("seed.parquet")
    Selected(Meta(domain), sequences[1:], sequences[1:], np.zeros(COUNT)).write("selected.parquet")
    return sequences[1:]


def start() -> subprocess.Popen[bytes]:
    files = ["--oracle", "oracle.json", "--selected", "selected.parquet", "--parent", "seed.parquet"]
    stage = ["label", *files, "--history", "sft1", "--out", "sft1/labeled.parquet", "--batch_size", str(BATCH)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    return subprocess.Popen([sys.executable, "-c", RUN, *stage], env=environment, stderr=subprocess.PIPE)


def finish() -> None:
    run = start()
    _, said = run.communicate()
    assert run.returncode == 0, said


def journaled() -> set[int]:
    """Numbers of the queries that the journal answers; a line that was cut short is none."""
    path = Path("sft1/.labeled.journal")
    lines = path.read_bytes().split(b"\n")[1:-1] if path.exists() else []
    answered = set()
    for line in map(json.loads, lines):
        if "scores" in line:
            first = line["query"]
            answered |= set(first if isinstance(first, list) else range(first, first + len(line["scores"])))
    return answered


def asked() -> list[int]:
    """The numbers that the program was asked for, in order."""
    path = Path("asked.log")
    return [int(line.split()[0]) for line in path.read_bytes().splitlines()] if path.exists() else []


def test_labels_that_were_paid_for_are_not_paid_for_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever makes the stage run again: a table that was deleted, a file that seems newer, another patience."""
    monkeypatch.chdir(tmp_path)
    sequences = problem()[:40]
    kept = Selected.read("selected.parquet").take(np.arange(len(sequences)))
    kept.write("selected.parquet")
    finish()
    table, asked = Path("sft1/labeled.parquet").read_bytes(), Path("asked.log").read_bytes()
    Path("sft1/labeled.parquet").unlink()
    spec = yaml.safe_load(Path("oracle.yaml").read_text())
    save_oracle(make_oracle(spec | {"timeout": 7, "retries": 1}), "oracle.json")
    finish()
    assert Path("sft1/labeled.parquet").read_bytes() == table
    assert Path("asked.log").read_bytes() == asked


@pytest.mark.slow
def test_killed_at_random_moments_no_label_is_lost_and_none_repeated(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sequences = problem()
    rng = random.Random(0)
    kills, lost, repeated, in_flight = 0, 0, 0, Counter[int]()
    known: set[int] = set()
    while not Path("sft1/labeled.parquet").exists():
        before = len(asked())
        process = start()
        if kills < KILLS:
            if kills % 10 == 9:  # at any moment of its start
                time.sleep(rng.uniform(0, 0.8))
            else:  # while it labels
                while process.poll() is None and len(asked()) == before:
                    time.sleep(0.002)
                time.sleep(rng.uniform(0, 0.03))
            process.send_signal(signal.SIGKILL)
        process.communicate()
        time.sleep(0.02)  # the program ends with its input
        kills += process.returncode == -signal.SIGKILL
        repeated += len(known & set(asked()[before:]))
        if not Path("sft1/labeled.parquet").exists():
            now = journaled()
            lost += len(known - now)
            open_ = set(asked()[before:]) - now
            in_flight.update(open_)
            known = now
    table = Labeled.read("sft1/labeled.parquet")
    numbers = Counter(asked())
    failed = {int(query) for query in table.failed.query}
    print(
        f"{kills} kills; asked {sum(numbers.values())}, answered {len(table)}, failed {len(failed)}, lost {lost}, repeated {repeated}"
    )
    assert kills >= KILLS
    assert (lost, repeated) == (0, 0)
    assert sum(in_flight.values()) <= kills * BATCH
    assert failed == {number for number in range(1, COUNT + 1) if number % 97 == 0}
    assert len(table) + len(failed) == COUNT
    np.testing.assert_array_equal(
        table.score, [(s == 1).sum() for s, q in zip(sequences, range(1, COUNT + 1), strict=True) if q % 97]
    )
    for number, times in numbers.items():  # a failure is attempted twice; anything more was on its way when a kill came
        assert times <= 1 + (number in failed) + in_flight[number], number
    assert table.meta.spent == 1 + COUNT + len(failed)
