"""How large each measurement is: in full for `make bench`, tiny so that the tests can run every row's code."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """Numbers of every row; the defaults are those of `make bench`."""

    name: str = "full"
    rounds: int = 5
    """Repetitions of a timing of a second or less, after one that warms up; longer ones have fewer. The best counts."""
    base: str = "configs/base/small.yaml"
    refine: str = "configs/refine/paper.yaml"
    prompts: int = 100
    samples: int = 10
    temperatures: tuple[float, ...] = (0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6)
    calls_one_by_one: int = 4
    """Seeds of which generate is called once a seed and temperature; their time is scaled to all prompts."""
    scores: tuple[int, ...] = (1_000, 20_000)
    populations: tuple[int, ...] = (1_000, 100_000)
    genetic_rounds: tuple[int, ...] = (20, 3)
    neighbours: tuple[int, ...] = (20_000, 100_000)
    peer_rows: int = 4_096
    """Rows whose neighbours the matrix product finds; its time is scaled to all rows."""
    growth: tuple[int, ...] = (5_000, 10_000, 20_000, 40_000)
    labels: int = 20_000
    training_labels: int = 2_500
    training_chunks: int = 6
    training_chunk: int = 20
    """Optimiser steps timed together; one chunk more comes first and warms up."""
    schedules: int = 5
    replicates: int = 5
    schedule_rounds: int = 10
    variants: int = 6
    variant_rounds: int = 40
    product: int = 3_072
    copy: int = 1 << 28
    attention: tuple[int, int, int, int] = (4_000, 32, 16, 32)
    """Rows, and the inner sizes of a batch of small products: queries, width, keys."""


FULL = Size()
TOY = Size(
    name="toy",
    rounds=1,
    base="configs/base/tiny.yaml",
    refine="configs/refine/tiny.yaml",
    prompts=2,
    samples=2,
    temperatures=(0.8, 1.2),
    calls_one_by_one=1,
    scores=(10, 20),
    populations=(40, 60),
    genetic_rounds=(2, 2),
    neighbours=(60, 80),
    peer_rows=32,
    growth=(40, 80),
    labels=200,
    training_labels=200,
    training_chunks=1,
    training_chunk=2,
    schedules=1,
    replicates=1,
    schedule_rounds=1,
    variants=2,
    variant_rounds=2,
    product=16,
    copy=1 << 10,
    attention=(2, 3, 4, 5),
)
SIZES = {size.name: size for size in (FULL, TOY)}
