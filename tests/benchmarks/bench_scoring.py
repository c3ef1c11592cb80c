"""Ehrlich functions and the genetic algorithm, against pytorch-holo's.

A score costs, for each of c k motif elements and each of up to L places, one comparison and one addition of single bytes, and for each
of L - 1 transitions a look-up: about 5 c k L + 18 L bytes moved in a core's cache. The peer gathers 8-byte indices and 4-byte floats.
"""

from __future__ import annotations

from itertools import islice

import numpy as np
import pytest

from llome.scoring.genetic import Genetics, evolve, first_population

from .measure import Measure
from .problems import LONG, PAPER, function_of, mixed_sequences
from .sizes import FULL


@pytest.mark.parametrize("case", range(len(FULL.scores)))
@pytest.mark.parametrize("name", [PAPER, LONG])
def bench_scores_against_holo(measure: Measure, name: str, case: int) -> None:
    """The same sequences, and the same scores."""
    count = measure.size.scores[case]
    function = function_of(name)
    sequences = mixed_sequences(function, count)
    c, k, length = function.num_motifs, function.motif_length, function.dim
    scores = measure.ours(
        f"Ehrlich scores, L {length}, c {c}, N = {count:,}",
        lambda: function.score(sequences),
        floor=15.0,
        aim=50.0,
        unit="sequences",
        work=count,
        moved=count * (5.0 * c * k * length + 18.0 * length),
    )
    given = {"arguments": function.arguments, "sequences": sequences}
    answer = measure.peer_script("pytorch-holo", "holo", "holo_functions.py", given=given, case="score")
    if answer is not None:
        np.testing.assert_allclose(scores, np.array(answer["scores"], dtype=float), atol=1e-6)
    measure.remark(f"{np.isfinite(scores).mean():.0%} feasible")


@pytest.mark.parametrize("case", range(len(FULL.populations)))
def bench_genetic_rounds_against_holo(measure: Measure, case: int) -> None:
    """Rounds of the paper's algorithm from the initial solution, scores included."""
    size = measure.size
    settings, rounds = Genetics(population=size.populations[case]), size.genetic_rounds[case]
    function = function_of(PAPER)

    def run() -> None:
        start = first_population(function.initial_solution(), settings, num_states=function.num_states, random_seed=0)
        for _ in islice(evolve(function.score, start, settings, num_states=function.num_states, random_seed=0), rounds):
            pass

    path = f"genetic algorithm, n = {settings.population:,}"
    measure.ours(path, run, floor=5.0, aim=20.0, unit="rounds", work=rounds, rounds=min(3, size.rounds))
    given = {
        "arguments": function.arguments,
        "settings": {
            "rounds": rounds,
            "population": settings.population,
            "mutation": settings.mutation_probability,
            "survival": settings.survival_quantile,
            "recombination": settings.recombination_probability,
        },
    }
    measure.peer_script(
        "pytorch-holo", "holo", "holo_functions.py", given=given, case="evolve", rounds=min(3, size.rounds)
    )
