"""The plan as text: memory by part with what fits, hours, what the numbers mean, and a warning for each card that is too small."""

from __future__ import annotations

from collections.abc import Sequence

from llome.planning.hours import BANDWIDTH_EFFICIENCY, EFFICIENCY, GIB, Card
from llome.planning.planned import LORA_RANK, StagePlan

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


def describe(plans: Sequence[StagePlan], cards: Sequence[Card]) -> str:
    """Both tables, the notes and the warnings."""
    parts = [
        f"Memory a device at its peak, GiB, and what would make it fit\n\n{_layout(_memory_cells(plans, cards))}\n",
        f"GPU hours, all devices together\n\n{_layout(_hour_cells(plans, cards))}\n",
    ]
    return "\n".join([*parts, *_NOTES, *_warnings(plans, cards)])


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
