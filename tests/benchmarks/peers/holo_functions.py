"""pytorch-holo's Ehrlich function and its DiscreteEvolution, in its own environment (it needs NumPy below 2).

    python holo_functions.py --input FILE.npz --rounds N --case score|evolve

FILE holds the function's `arguments` as JSON; to score, `sequences` (N, L); to evolve, `settings` as JSON.
"""

from __future__ import annotations

import json

import numpy as np
import torch
from clock import arguments, repeat, report
from holo.optim import DiscreteEvolution
from holo.test_functions.closed_form import Ehrlich


def main() -> None:
    options = arguments()
    with np.load(options.input) as given:
        function = Ehrlich(**json.loads(str(given["arguments"])))
        if options.case == "score":
            sequences = torch.from_numpy(given["sequences"])
            seconds = repeat(lambda: function(sequences), options.rounds)
            report(seconds, scores=[str(score) for score in function(sequences).tolist()])
        else:
            settings = json.loads(str(given["settings"]))
            report(repeat(lambda: evolve(function, **settings), options.rounds))


def evolve(
    function: Ehrlich, *, rounds: int, population: int, mutation: float, survival: float, recombination: float
) -> None:
    """Rounds of its genetic algorithm from the initial solution, as its documentation runs it."""
    torch.manual_seed(0)
    solution = torch.nn.Parameter(function.initial_solution().float(), requires_grad=False)
    optimizer = DiscreteEvolution(
        [solution],
        vocab=list(range(function.num_states)),
        mutation_prob=mutation,
        recombine_prob=recombination,
        num_particles=population,
        survival_quantile=survival,
    )
    for _ in range(rounds):
        optimizer.step(lambda particles: -function(particles[0]))


main()
