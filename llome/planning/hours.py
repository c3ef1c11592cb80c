"""GPU hours from operations, bytes and a card's published rates, at a stated efficiency: an estimate, not a measurement.

Two operations (a product and a sum) a weight and token forward, twice that backward. Sampling a token reads all weights and the keys
and values so far, so that it is bound by operations or by memory's bandwidth, whichever takes longer. Attention's own products (under
5 % of the operations at a few hundred tokens), the optimiser's step, start-up and the launch of kernels are left out: narrow models
take longer than this says.
"""

from __future__ import annotations

from dataclasses import dataclass

from llome.planning.memory import Refining, Training
from llome.planning.shapes import Shape, Tokens

GIB = 2**30
EFFICIENCY = 0.4
"""Share of the peak rate that products of matrices reach in whole steps; published trainings of this size report .3 to .5."""
BANDWIDTH_EFFICIENCY = 0.6
"""Share of the peak bandwidth that decoding reaches."""


@dataclass(frozen=True)
class Card:
    """A GPU as its maker describes it."""

    name: str
    memory: float
    """Bytes that torch can give out: what the card reports, less a twentieth for its context, workspaces and the allocator's gaps."""
    rates: dict[int, float]
    """Operations a second of dense products, by the bytes of a number: 2 bfloat16, 4 float32 without TF32 (torch's default), 8."""
    bandwidth: float
    """Bytes a second."""


# A100: NVIDIA A100 Tensor Core GPU data sheet (2021): bf16 312, fp32 19.5, fp64 on tensor cores 19.5 TFLOP/s; 1,555 GB/s with 40 GB,
# 2,039 GB/s with 80 GB (SXM). H200: NVIDIA H200 data sheet (2024): bf16 1,979 TFLOP/s with sparsity, 989 dense; fp32 67, fp64 on
# tensor cores 67 TFLOP/s; 4.8 TB/s, 141 GB. Memory in GiB as the cards report it.
CARDS = {
    card.name: card
    for card in (
        Card("a100-40", 0.95 * 39.4 * GIB, {2: 312e12, 4: 19.5e12, 8: 19.5e12}, 1.555e12),
        Card("a100-80", 0.95 * 79.1 * GIB, {2: 312e12, 4: 19.5e12, 8: 19.5e12}, 2.039e12),
        Card("h200", 0.95 * 139.7 * GIB, {2: 989e12, 4: 67e12, 8: 67e12}, 4.8e12),
    )
}


def example_operations(shape: Shape, tokens: Tokens, completions: int) -> float:
    """Of one forward pass of an example: a prompt once, each completion with its logits."""
    prompt, completion = tokens.prompt - 1, tokens.completion + 1
    layers = 2.0 * shape.layers * shape.block * (prompt + completions * completion)
    return layers + 2.0 * shape.embedding * completions * completion


def training_operations(
    shape: Shape,
    tokens: Tokens,
    step: Training,
    *,
    examples: float,
    epochs: int,
    held_out: float,
    looks_ahead: bool,
    reference: bool,
) -> float:
    """Of a round's training on all devices together.

    Args:
        shape: of the policy.
        tokens: of a row.
        step: how a step is made.
        examples: of the round, those held out included.
        epochs: passes over them.
        held_out: share of the examples that validate.
        looks_ahead: all micro-batches are read before the first gradient; with a single one that is the training pass itself.
        reference: log-probabilities of all examples come first.
    """
    passes = 3.0 if step.trainable is None else 2.0  # frozen weights have no gradient of their own
    passes += step.checkpointing + (looks_ahead and step.micro_batches > 1)
    each = epochs * ((1 - held_out) * passes + held_out) + reference
    return each * examples * example_operations(shape, tokens, step.completions)


def product_seconds(operations: float, card: Card, size: int) -> float:
    """Of products of matrices, on one card."""
    return operations / (EFFICIENCY * card.rates[size])


def refining_seconds(shape: Shape, tokens: Tokens, batch: Refining, *, rows: int, iterations: int, card: Card) -> float:
    """Of a refinement of `rows` edits an iteration on one card; rows of a tree that share what they have written count in full."""
    batches = -(-rows // batch.rows)
    per_token = 2.0 * shape.layers * shape.block
    reading = product_seconds(per_token * batch.prompts * tokens.prompt, card, batch.size)
    step = product_seconds((per_token + 2.0 * shape.embedding) * batch.rows, card, batch.size)
    cached = 2.0 * shape.layers * shape.width * batch.size
    moved = float(batch.size) * (shape.layers * shape.block + shape.embedding)
    moved += cached * (batch.prompts * tokens.prompt + batch.rows * tokens.completion / 2)
    step = max(step, moved / (BANDWIDTH_EFFICIENCY * card.bandwidth))
    return iterations * batches * (reading + tokens.completion * step)
