"""The inputs of the measurements: functions, sequences, labelled tables and policies, the same for ours and peers."""

from __future__ import annotations

from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from llome.domain import Domain
from llome.scoring import Ehrlich
from llome.scoring.genetic import Genetics, evolve, first_population, mutate
from llome.scoring.oracle import make_oracle
from llome.stages.base import base
from llome.tables import Labeled, Meta

ROOT = Path(__file__).resolve().parent.parent.parent
PAPER = "ehr_v32_l32_c4_k4_q4"
LONG = "ehr_v32_l128_c8_k8_q8"


@cache
def function_of(name: str) -> Ehrlich:
    """The function of configs/oracles/NAME.yaml."""
    function = make_oracle(yaml.safe_load((ROOT / "configs" / "oracles" / f"{name}.yaml").read_text()))
    assert isinstance(function, Ehrlich)
    return function


def mixed_sequences(function: Ehrlich, count: int) -> np.ndarray:
    """(count, L) int64: half mutants of the initial solution as the genetic algorithm makes them, of which many are infeasible;
    a quarter chains of the function's Markov process, all feasible; a quarter uniform draws, hardly any feasible."""
    rng = np.random.default_rng(0)
    states, length = function.num_states, function.dim
    mutants = mutate(function.initial_solution()[None], 0.02, count - count // 2, num_states=states, rng=rng)
    cumulative = function.transition_matrix.astype(np.float64).cumsum(axis=1)
    cumulative /= cumulative[:, -1:]
    chains = np.empty((count // 4, length), dtype=np.int64)
    chains[:, 0] = rng.integers(states, size=len(chains))
    for position in range(1, length):
        drawn = rng.random(len(chains))[:, None]
        chains[:, position] = (cumulative[chains[:, position - 1]] <= drawn).sum(axis=1).clip(max=states - 1)
    uniform = rng.integers(states, size=(count // 2 - count // 4, length))
    return rng.permutation(np.concatenate([mutants, chains, uniform]))


@cache
def labels(count: int, name: str = PAPER) -> Labeled:
    """A table of `count` distinct sequences that the genetic algorithm went through: clustered, with many equal scores."""
    function = function_of(name)
    settings = Genetics(population=max(100, count // 8), mutation_probability=0.02)
    start = first_population(function.initial_solution(), settings, num_states=function.num_states, random_seed=0)
    generations = evolve(function.score, start, settings, num_states=function.num_states, random_seed=0)
    sequences, scores = np.empty((0, function.dim), dtype=np.int16), np.empty(0)
    while len(sequences) < count:
        rounds = list(islice(generations, 4))
        sequences = np.concatenate([sequences, *(r.population.astype(np.int16) for r in rounds)])
        scores = np.concatenate([scores, *(r.scores for r in rounds)])
        first = np.sort(np.unique(sequences, axis=0, return_index=True)[1])[:count]
        sequences, scores = sequences[first], scores[first]
    domain = Domain(function.num_states, function.dim, function.fingerprint)
    return Labeled(
        meta=Meta(domain, spent=count),
        sequence=sequences,
        score=scores,
        query=np.arange(count),
        round=np.ones(count, dtype=np.int32),
        origin=np.full(count, "ga", dtype=object),
    )


def make_policy(folder: Path, settings: str, count: int) -> tuple[Path, Path]:
    """(policy directory, labelled table): a policy warmed up on `count` labels, which therefore ends its completions as trained ones do."""
    table = folder / "labeled.parquet"
    labels(count).write(table)
    base(labeled=table, out=folder / "model", **yaml.safe_load((ROOT / settings).read_text()), device="cpu")
    return folder / "model", table


def forward_flops(model: Any, *, positions: int) -> float:
    """Floating-point operations of one token's forward pass: two a weight of the blocks and of the output, four a position attended
    to, a layer and a unit of width."""
    config = model.config
    weights: int = sum(p.numel() for p in model.parameters()) - model.get_input_embeddings().weight.numel()
    return 2.0 * weights + 4.0 * int(config.num_hidden_layers * config.hidden_size * positions)
