"""Exact 30 nearest neighbours by Hamming distance, against a product of one-hot matrices in blocks and `topk` (torch).

Ours: a pair of rows costs an exclusive or and an or for each of b = 5 bit planes, a population count, and a multiplication, an
addition, a minimum and a comparison of its 4-byte key: about 2 b + 6 = 16 passes of some 12 bytes, nearly all in a core's cache, so
its share of the copy can exceed 1. The peer's: 2 N^2 V L operations, N^2 V L / 16,384 times the memory of a block.
"""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from llome.data.neighbours import find_neighbours

from .measure import Measure
from .peers import one_hot
from .peers.clock import repeat
from .problems import ROOT, labels
from .sizes import FULL

NEIGHBOURS = 30
_BYTES_A_PAIR = 16 * 12

_CHILD = """
import json, sys
import numpy as np
from llome.data.neighbours import find_neighbours
from benchmarks.peers.clock import peak_memory
sequences, before = np.load(sys.argv[1]), peak_memory()
find_neighbours(sequences, 30, random_seed=0)
print(json.dumps({"before": before, "peak": peak_memory()}))
"""


@pytest.mark.parametrize("case", range(len(FULL.neighbours)))
def bench_neighbours_against_one_hot(measure: Measure, case: int) -> None:
    """The peer finds the neighbours of the first rows; its time is scaled to all."""
    size = measure.size
    total = size.neighbours[case]
    table = labels(total)
    sequences, states = table.sequence, table.meta.domain.num_states
    _, distances = measure.ours(
        f"30 nearest neighbours, N = {total:,}",
        lambda: find_neighbours(sequences, NEIGHBOURS, random_seed=0),
        floor=2.0,
        aim=10.0,
        work=total,
        unit="rows",
        rounds=1 if total > 50_000 else min(3, size.rounds),
        warm_up=total <= 50_000,
        moved=_BYTES_A_PAIR * float(total) ** 2,
    )
    rows, rounds = min(size.peer_rows, total), min(2, size.rounds)
    encoding = min(measure.repeat_peer(lambda: one_hot.encode(sequences, states), rounds))
    encoded = one_hot.encode(sequences, states)
    found: list[np.ndarray] = []
    searching = measure.repeat_peer(
        lambda: found.append(one_hot.find_neighbours(encoded, sequences.shape[1], NEIGHBOURS, rows=rows)[1]), rounds
    )
    assert (found[-1] == distances[:rows]).all()
    seconds = [encoding + total / rows * s for s in searching]
    measure.peer("one-hot product, topk", seconds, remark=f"peer's search on {rows:,} rows, scaled")


def bench_neighbours_memory(measure: Measure) -> None:
    """Peak of a child process, all of Python included: the kernel's own count."""
    total, file = measure.size.neighbours[-1], measure.folder / "sequences.npy"
    np.save(file, labels(total).sequence)
    command = [sys.executable, "-c", _CHILD, str(file)]

    def run() -> dict[str, int]:
        done = subprocess.run(
            command, cwd=ROOT / "tests", env=measure.environment, capture_output=True, text=True, check=True
        )
        answer: dict[str, int] = json.loads(done.stdout)
        return answer

    path = f"peak memory of a process, N = {total:,}"
    memory = measure.ours(path, run, asked="value", floor=2.0, rounds=1, warm_up=False)
    measure.value(memory["peak"] / 2**30, "GiB")
    measure.remark(f"{memory['before'] / 2**30:.2f} GiB before the search")


def bench_neighbours_growth(measure: Measure) -> None:
    """All pairs are compared: 2 is what to expect; more would be memory traffic."""
    totals = measure.size.growth
    sequences = labels(max(totals)).sequence

    def best(total: int) -> float:
        part = sequences[:total]
        return min(repeat(lambda: find_neighbours(part, NEIGHBOURS, random_seed=0), min(2, measure.size.rounds)))

    def run() -> list[float]:
        return [best(total) for total in totals]

    seconds = measure.ours("growth of time with N, exponent", run, asked="value", floor=2.2, rounds=1, warm_up=False)
    measure.value(float(np.polyfit(np.log(totals), np.log(seconds), 1)[0]), "")
    measure.remark(", ".join(f"{total:,}: {s:.2f} s" for total, s in zip(totals, seconds, strict=True)))
