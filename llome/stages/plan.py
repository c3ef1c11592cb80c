"""Stage `plan`: what an experiment asks of a GPU, printed before one is asked for; nothing is run and no model is opened."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from llome.errors import ConfigError


def plan(
    *,
    experiment: Path,
    model: list[str] | None = None,
    gpu: list[Literal["a100-40", "a100-80", "h200"]] = ["a100-40", "a100-80", "h200"],  # noqa: B006 (jsonargparse shows it; never changed)
    json: Path | None = None,
) -> None:
    """Print memory by part, what fits which card, and estimated GPU hours, for every training and the refinement of an experiment.

    Args:
        experiment: the experiment's YAML, or the experiment.yaml of one variant.
        model: other models in place of its base: Pythias by name (pythia-1.4b), or directories with the config.json of a GPT-NeoX.
        gpu: cards to fit.
        json: file to write the same numbers to.

    Raises:
        ConfigError: a setting without a formula, a model that is not known, an experiment without a policy.
    """
    from llome.experiment import load_experiment
    from llome.planning.hours import CARDS
    from llome.planning.layout import describe
    from llome.planning.planned import plan_model
    from llome.planning.shapes import count_tokens, find_shape, shape_of_base
    from llome.provenance import write_json
    from llome.settings import read_yaml

    settings = load_experiment(experiment)
    if settings.base is None:
        raise ConfigError(
            f"{experiment} trains no policy (schedules is empty), so there is nothing to plan; give one that does"
        )
    cards = [CARDS[name] for name in dict.fromkeys(gpu)]
    num_states, shortest, length = read_sizes(read_yaml(settings.oracle), settings.oracle)
    base = shape_of_base(read_yaml(settings.base), settings.base, num_states)
    shapes = [base] if model is None else [find_shape(name) for name in model]
    plans = [stage for shape in shapes for stage in plan_model(settings, shape, num_states, length, cards)]
    if json is not None:
        write_json(json, [stage.as_dict() for stage in plans])
    tokens = count_tokens(shapes[0], num_states, length)
    estimate = "one an element" if tokens.compact else "two an element and a few more, an estimate"
    most = "" if shortest == length else "at most "
    print(
        f"{settings.run}: prompts of {most}{tokens.prompt} tokens, completions of {most}{tokens.completion} ({estimate})\n"
    )
    print(describe(plans, cards))


def read_sizes(oracle: Any, where: str) -> tuple[int, int, int]:
    """V, and the length of the shortest and of the longest sequence, from an oracle's YAML. Raises ConfigError."""
    from llome.domain import Alphabet

    keys = ("alphabet", "length") if "alphabet" in oracle or "length" in oracle else ("num_states", "dim")
    for key in keys:
        if oracle.get(key) is None:
            raise ConfigError(f"{where}: {key} is missing, and rows are as long as it says; write it down")
    size, length = (oracle[key] for key in keys)
    states = len(Alphabet.of(size).letters) if keys[0] == "alphabet" else int(size)
    lengths = length if isinstance(length, list) else [length, length]
    if len(lengths) != 2 or not all(isinstance(n, int) for n in lengths):
        raise ConfigError(f"{where}: {keys[1]} is {length!r}; give a number of elements, or [shortest, longest]")
    return states, *lengths
