"""The plan of an experiment for one model: memory of each stage, what fits which card, and what would; hours of each and in all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from llome import paths
from llome.experiment import Experiment
from llome.planning.hours import GIB, Card, product_seconds, refining_seconds, training_operations
from llome.planning.memory import Parts, Refining, Training, refining_parts, row_bytes, training_parts, with_micro_batch
from llome.planning.reading import RefiningPlan, TrainingPlan, labels_of_rounds, read_refining, read_training
from llome.planning.shapes import Shape, Tokens, count_tokens

LORA_RANK = 16
"""Of the adapters that a remedy proposes."""
FREE_SHARE = 0.6
"""Of a card's free memory that sampling takes, where it chooses its batches itself (llome.policy.memory)."""


@dataclass(frozen=True)
class StagePlan:
    """One stage of one model."""

    model: str
    stage: str
    how: str
    """Devices and settings that memory depends on, in words."""
    parts: Parts
    fits: dict[str, str]
    """By card: "fits", or what would make it fit, or "no"."""
    hours: dict[str, float]
    """GPU hours of a round by card: the devices' together."""
    total: dict[str, float]
    """GPU hours of all rounds and replicates."""

    def as_dict(self) -> dict[str, Any]:
        """For JSON, memory in GiB."""
        parts = {name: round(value / GIB, 3) for name, value in vars(self.parts).items()}
        return asdict(self) | {"parts": parts}


def plan_model(
    experiment: Experiment, shape: Shape, num_states: int, length: int, cards: Sequence[Card]
) -> list[StagePlan]:
    """Each training that the schedules use, and the refinement, of one model. Raises ConfigError."""
    tokens = count_tokens(shape, num_states, length)
    labels = labels_of_rounds(experiment)
    objectives = dict.fromkeys(paths.objective(history) for history in labels)
    stages = [
        _plan_training(experiment, shape, tokens, read_training(name, experiment, shape), cards) for name in objectives
    ]
    assert experiment.refine is not None
    return [*stages, _plan_refining(experiment, shape, tokens, read_refining(experiment.refine), cards)]


def _plan_training(
    experiment: Experiment, shape: Shape, tokens: Tokens, plan: TrainingPlan, cards: Sequence[Card]
) -> StagePlan:
    step = plan.step
    parts = training_parts(shape, tokens, step)

    def hours(labels: int, card: Card) -> float:
        operations = training_operations(
            shape,
            tokens,
            step,
            examples=plan.examples(labels),
            epochs=plan.epochs,
            held_out=plan.held_out,
            looks_ahead=plan.looks_ahead,
            reference=plan.reference,
        )
        return product_seconds(operations, card, step.precision.compute) / 3600

    rounds = {h: n for h, n in labels_of_rounds(experiment).items() if paths.objective(h) == plan.objective}
    last = max(rounds, key=paths.round_number)
    total = {c.name: experiment.replicates * sum(hours(n, c) for n in rounds.values()) for c in cards}
    fits = {c.name: "fits" if parts.peak <= c.memory else remedy(shape, tokens, step, c) for c in cards}
    return StagePlan(
        shape.name, plan.objective, describe(step), parts, fits, {c.name: hours(rounds[last], c) for c in cards}, total
    )


def describe(step: Training) -> str:
    """`2 x ddp, 4 of 32, bf16-mixed` and the like: devices, examples of a micro-batch of those of a step on a device."""
    strategy = "" if step.devices == 1 else f"{step.devices} x {'fsdp2' if step.sharded else 'ddp'}, "
    extra = ", checkpointing" * step.checkpointing + ", lora" * (step.trainable is not None)
    bits = {(8, 8): "fp64", (4, 4): "fp32", (4, 2): "mixed", (2, 2): "bf16"}[
        step.precision.weights, step.precision.compute
    ]
    return f"{strategy}{step.examples} at a time, {bits}{extra}"


def remedy(shape: Shape, tokens: Tokens, step: Training, card: Card) -> str:
    """The least change of a training that makes it fit the card: examples at a time, checkpointing, FSDP2, LoRA; else `no`."""

    def fits(changed: Training) -> bool:
        return training_parts(shape, tokens, changed).peak <= card.memory

    least = with_micro_batch(step, 1)
    size = step.examples // 2
    while size >= 1:
        if fits(with_micro_batch(step, size)):
            return f"micro-batch {size}"
        size //= 2
    for changed in (replace(step, checkpointing=True), replace(least, checkpointing=True)):
        if fits(changed):
            return "checkpointing" + (" and micro-batch 1" if changed.examples < step.examples else "")
    for devices in (2, 4, 8):
        if devices >= step.devices and fits(replace(least, checkpointing=True, sharded=True, devices=devices)):
            return f"FSDP2 over {devices}"
    adapters = shape.adapters(LORA_RANK)
    return "LoRA" if fits(replace(least, checkpointing=True, sharded=False, trainable=adapters)) else "no"


def _plan_refining(
    experiment: Experiment, shape: Shape, tokens: Tokens, plan: RefiningPlan, cards: Sequence[Card]
) -> StagePlan:
    parts = refining_parts(shape, tokens, batch_of(plan, tokens, plan.tokens))
    fits, hours = {}, {}
    for card in cards:
        most, fits[card.name] = plan.tokens, "fits"
        if plan.max_batch_tokens is None:
            width, row = tokens.prompt + tokens.written, row_bytes(shape, tokens, plan.size)
            free = card.memory - parts.weights
            most = min(most, int(FREE_SHARE * free / row) * width)
            if most < width:
                fits[card.name] = "no"
            elif most < plan.tokens:
                fits[card.name] = "fits, smaller batches"
        elif parts.peak > card.memory:
            fits[card.name] = "smaller max_batch_tokens"
        batch = batch_of(plan, tokens, max(most, 1))
        seconds = refining_seconds(shape, tokens, batch, rows=plan.rows, iterations=plan.iterations, card=card)
        hours[card.name] = seconds / 3600
    rounds = len(labels_of_rounds(experiment)) * experiment.replicates
    kind = {2: "bf16", 4: "fp32", 8: "fp64"}[plan.size]
    how = f"{batch_of(plan, tokens, plan.tokens).rows:,} edits at a time, {kind}"
    return StagePlan(
        shape.name, "refine", how, parts, fits, hours, {name: rounds * value for name, value in hours.items()}
    )


def batch_of(plan: RefiningPlan, tokens: Tokens, most: int) -> Refining:
    """The largest batch of an iteration: equal parts of its edits of at most `most` tokens, and the inputs that they edit."""
    rows = max(1, most // (tokens.prompt + tokens.written))
    rows = -(-plan.rows // -(-plan.rows // rows))
    return Refining(plan.size, rows, min(rows, -(-plan.inputs * rows // plan.rows) + 1))
