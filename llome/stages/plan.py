"""Stage `plan`: what an experiment asks of a GPU, printed before one is asked for; nothing is run and no model is opened."""

from __future__ import annotations

import json as json_text
from collections.abc import Sequence
from pathlib import Path

from llome.errors import ConfigError
from llome.planning.hours import BANDWIDTH_EFFICIENCY, CARDS, EFFICIENCY, GIB, Card
from llome.planning.planned import LORA_RANK, StagePlan, plan_model
from llome.planning.shapes import count_tokens, find_shape, shape_of_base
from llome.provenance import replacing

DEFAULT_CARDS = tuple(CARDS)


def plan(
    *,
    experiment: Path,
    model: list[str] | None = None,
    gpu: list[str] = list(DEFAULT_CARDS),  # noqa: B006 (jsonargparse shows it; never changed)
    json: Path | None = None,
) -> None:
    """Print memory by part, what fits which card, and estimated GPU hours, for every training and the refinement of an experiment.

    Args:
        experiment: the experiment's YAML, or the experiment.yaml of one variant.
        model: other models in place of its base: Pythias by name (pythia-1.4b), or directories with the config.json of a GPT-NeoX.
        gpu: cards: a100-40, a100-80, h200.
        json: file to write the same numbers to.

    Raises:
        ConfigError: a setting without a formula, a model or a card that is not known, an experiment without a policy.
    """
    from llome.experiment import load_experiment
    from llome.settings import nearest, read_yaml

    settings = load_experiment(experiment)
    if settings.base is None:
        raise ConfigError(f"{experiment} trains no policy (schedules is empty), so no GPU is needed")
    for name in gpu:
        if name not in CARDS:
            raise ConfigError(
                f"--gpu: there is no card {name!r}{nearest(name, CARDS)}; choose among {', '.join(CARDS)}"
            )
    cards = [CARDS[name] for name in dict.fromkeys(gpu)]
    oracle = read_yaml(settings.oracle)
    num_states, length = int(oracle["num_states"]), int(oracle["dim"])
    base = shape_of_base(read_yaml(settings.base), settings.base, num_states)
    shapes = [base] if model is None else [find_shape(name) for name in model]
    plans = [stage for shape in shapes for stage in plan_model(settings, shape, num_states, length, cards)]
    if json is not None:
        with replacing(json) as file:
            file.write_text(json_text.dumps([stage.as_dict() for stage in plans], indent=1) + "\n")
    tokens = count_tokens(shapes[0], num_states, length)
    estimate = "one an element" if tokens.compact else "two an element and a few more, an estimate"
    print(f"{settings.run}: prompts of {tokens.prompt} tokens, completions of {tokens.completion} ({estimate})\n")
    print(f"Memory a device at its peak, GiB, and what would make it fit\n\n{_layout(_memory_cells(plans, cards))}\n")
    print(f"GPU hours, all devices together\n\n{_layout(_hour_cells(plans, cards))}\n")
    print("\n".join([*_NOTES, *_warnings(plans, cards)]))


_NOTES = (
    "Gradients: with DDP its buckets, and in several micro-batches one of each of those, too. Activations: what is kept for the",
    "backward pass, attention fused, and what is in flight. Parts that are not there together add up to more than the peak. The",
    "reference of DPO, MargE and REINFORCE is a column of the data, no second model.",
    "Remedies: a smaller data.micro_batch_size; gradient_checkpointing: true; FSDP2 (trainer.strategy: ModelParallelStrategy) with",
    f"checkpointing and micro-batches of 1; LoRA, adapters of rank {LORA_RANK}, the same. Refinement takes smaller batches by itself.",
    f"Hours are an estimate at {EFFICIENCY:.0%} of the published peak rate and {BANDWIDTH_EFFICIENCY:.0%} of the bandwidth, not",
    "measured on a GPU, for as many examples as the labels can give at most; float32 is counted without TF32. In all: rounds that",
    "schedules share count once.",
)


def _memory_cells(plans: Sequence[StagePlan], cards: Sequence[Card]) -> list[list[str]]:
    parts = ("weights", "gradients", "optimiser", "activations", "cache", "peak")
    head = ["model", "stage", "settings", *parts, *(f"{card.name} ({card.memory / GIB:.0f})" for card in cards)]
    rows = [
        [p.model, p.stage, p.how, *(f"{getattr(p.parts, n) / GIB:.1f}" for n in parts), *p.fits.values()] for p in plans
    ]
    return [head, *rows]


def _hour_cells(plans: Sequence[StagePlan], cards: Sequence[Card]) -> list[list[str]]:
    head = ["model", "stage"]
    for card in cards:
        head += [f"{card.name}: a round", "in all"]
    rows = []
    for name in dict.fromkeys(plan.model for plan in plans):
        own = [plan for plan in plans if plan.model == name]
        for plan in own:
            cells = ([_hours(plan.hours[c.name]), _hours(plan.total[c.name])] for c in cards)
            rows.append([name, plan.stage, *(cell for pair in cells for cell in pair)])
        totals = (["", _hours(sum(plan.total[c.name] for plan in own))] for c in cards)
        rows.append([name, "all", *(cell for pair in totals for cell in pair)])
    return [head, *rows]


def _hours(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 1 else f"{value:.2g}"


def _warnings(plans: Sequence[StagePlan], cards: Sequence[Card]) -> list[str]:
    """A line for each model and card that is too small for some stage as it is set."""
    lines = []
    for name in dict.fromkeys(plan.model for plan in plans):
        for card in cards:
            small = [p.stage for p in plans if p.model == name and not p.fits[card.name].startswith("fits")]
            if small:
                lines.append(
                    f"warning: {name}: {card.name} cannot hold {', '.join(small)} as set; see the table for what can"
                )
    return lines


def _layout(cells: Sequence[Sequence[str]]) -> str:
    """Aligned text, words to the left and numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    head, *body = cells
    right = [all(row[i][:1].isdigit() or not row[i] for row in body) for i in range(len(head))]
    rows = [head, ["-" * width for width in widths], *body]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)).rstrip()
        for row in rows
    )
