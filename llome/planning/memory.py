"""Memory of a training step and of a refinement, by part, from the tensors that the code keeps: no constant is fitted to a measurement.

Counted for a GPT-NeoX in transformers, trained in two passes (llome.policy.prompts): prompts first, once an example and in the last layer
no further than keys and values; then the completions, from the last prompt token on. Attention is fused (scaled_dot_product_attention
in its flash or memory-efficient form): no tokens x tokens matrix of weights is kept, but its mask is. The mathematical form would keep
two more such matrices a head. Widths kept of a token in a layer for the backward pass, beside the residual stream:

    prompt      2 normalised, 3 of queries, keys and values together, 2 rotated, 2 of what was attended to, and twice I / h inner
    completion  2 normalised, 1 rotated query, 2 of what was attended to, twice I / h inner; 2 of keys and values, a token of the whole row

With gradient checkpointing a layer keeps the stream, and the prompts' keys and values; one layer at a time is computed again. Gradients
of the prompts' keys and values pile up until the pass reaches the prompts. Weights in half precision under automatic casting are copies,
alive through the pass. All functions return bytes on one device.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from llome.errors import ConfigError
from llome.planning.shapes import FOLDED_WIDTH, Shape, Tokens

LOGIT_COPIES = 4
"""Of the completions' logits at the start of the backward pass, in float32: themselves, their shift, exponentials and gradient."""
BYTES_A_CHOICE = 32
"""Of a row and token of the vocabulary while sampling: as llome.policy.memory counts it."""


@dataclass(frozen=True)
class Precision:
    """Bytes of a number."""

    weights: int
    compute: int
    """Of what matrix products read and write."""


PRECISIONS = {
    "64-true": Precision(8, 8),
    "32-true": Precision(4, 4),
    "bf16-mixed": Precision(4, 2),
    "16-mixed": Precision(4, 2),
    "bf16-true": Precision(2, 2),
    "16-true": Precision(2, 2),
}
"""By Lightning's names. Mixed precision keeps weights, gradients and the optimiser's state in float32; `true` keeps all as it says."""


@dataclass(frozen=True)
class Training:
    """What a training step's memory depends on."""

    precision: Precision
    moments: float
    """Numbers of the optimiser's state for a parameter: 2 of AdamW."""
    examples: int
    """Of a micro-batch on one device."""
    micro_batches: int
    """Of a step on one device."""
    completions: int = 1
    """An example's: 2 of triples."""
    checkpointing: bool = False
    devices: int = 1
    sharded: bool = False
    """Weights, gradients and state are split over the devices (FSDP2); else each device has all (DDP)."""
    trainable: int | None = None
    """Parameters of adapters (LoRA) beside the frozen weights; None: all parameters are trained."""
    foreach: bool = True
    """The optimiser steps all tensors at once and holds one more number a parameter meanwhile: torch's choice on a GPU."""


@dataclass(frozen=True)
class Parts:
    """Bytes by part, and at the moment when the most are in use; parts that are not there together add up to more."""

    weights: float
    gradients: float
    optimiser: float
    activations: float
    cache: float
    peak: float


def training_parts(shape: Shape, tokens: Tokens, step: Training) -> Parts:
    """Memory of a training step: the largest of the end of the forward pass, moments of the backward pass, and the optimiser's step."""
    shards = step.devices if step.sharded else 1
    size, compute = step.precision.weights, step.precision.compute
    trained = shape.parameters if step.trainable is None else step.trainable
    weights = size * (shape.parameters + (step.trainable or 0)) / shards
    own, state = size * trained / shards, size * step.moments * trained / shards
    buckets = size * trained if step.devices > 1 and not step.sharded else 0.0
    cast = compute * shape.parameters / shards if compute < size else 0.0
    if step.sharded:  # two layers are whole at a time, the one at work and the next; embedding and head all along
        cast += compute * (2 * shape.block + 2 * shape.embedding)
    moments = _checkpointed(shape, tokens, step) if step.checkpointing else _kept(shape, tokens, step)
    # a weight that prompts and completions share has its gradient of the one pass held until the other's is added
    held = [
        (min(compute, size) * pending * trained / shape.parameters / shards, rest + cast) for pending, rest in moments
    ]
    gradients = own + (max(pending for pending, _ in held) if step.micro_batches > 1 else 0.0)
    before = own if step.micro_batches > 1 else 0.0
    stepping = own if step.foreach else 0.0
    activations = max(stepping, *(rest for _, rest in held))
    peak = weights + state + buckets + max(own + stepping, *(before + pending + rest for pending, rest in held))
    return Parts(weights, gradients + buckets, state, activations, 0.0, peak)


def _kept(shape: Shape, tokens: Tokens, step: Training) -> list[tuple[float, float]]:
    """(parameters whose gradient is held apart, other bytes) at the moments of a step that keeps everything; see the module."""
    prompt, completion, row = _positions(tokens, step)
    wide, inner, layers = shape.width, shape.inner, shape.layers
    stream, size = step.precision.weights, step.precision.compute
    prompts = (layers - 1) * prompt * (wide * stream + (9 * wide + 2 * inner) * size) + prompt * wide * (stream + size)
    kept = prompts + layers * (completion * (wide * stream + (5 * wide + 2 * inner) * size) + row * 2 * wide * size)
    kept += layers * _mask(tokens, step)
    cache = layers * prompt * 2 * wide * size
    end = completion * wide * (stream + size)  # of the last normalisation
    work = (inner + 2 * wide) * size  # of a position while a layer goes backward
    return [
        (0, kept + cache + 4 * completion * wide * size),
        (shape.embedding, kept + end + _logits(shape, tokens, step)),
        (0, kept + end + work * completion),
        (layers * shape.block, prompts + (layers - 1) * _pile(shape, tokens, step) + work * prompt),
    ]


def _checkpointed(shape: Shape, tokens: Tokens, step: Training) -> list[tuple[float, float]]:
    """The same with gradient checkpointing."""
    prompt, completion, row = _positions(tokens, step)
    wide, inner, layers = shape.width, shape.inner, shape.layers
    stream, size = step.precision.weights, step.precision.compute
    read = layers * prompt * (wide * stream + 2 * wide * size)  # inputs, and the cache
    written = layers * completion * wide * stream
    end = completion * wide * (stream + size)
    again = completion * (wide * stream + (5 * wide + 2 * inner) * size) + row * 2 * wide * size + _mask(tokens, step)
    read_again = prompt * (9 * wide + 2 * inner) * size
    work = (inner + 2 * wide) * size
    pile = (layers - 1) * _pile(shape, tokens, step)
    return [
        (shape.embedding, read + written + end + _logits(shape, tokens, step)),
        ((layers - 1) * shape.block, read + again + work * completion + pile),
        (layers * shape.block, read + read_again + work * prompt + pile),
    ]


def _logits(shape: Shape, tokens: Tokens, step: Training) -> int:
    """Of the completions' logits, at the start of the backward pass."""
    return LOGIT_COPIES * _positions(tokens, step)[1] * shape.vocabulary * max(4, step.precision.compute)


def _pile(shape: Shape, tokens: Tokens, step: Training) -> int:
    """Of a layer: the gradient of its prompts' keys and values until the pass gets there.

    With one completion an example it is a part of the whole row's, which stays with it.
    """
    prompt, _, row = _positions(tokens, step)
    return 2 * shape.width * step.precision.compute * (row if step.completions == 1 else prompt)


def _positions(tokens: Tokens, step: Training) -> tuple[int, int, int]:
    """Positions of a micro-batch that go through the model: of prompts (but their last), of completions, and of whole rows."""
    rows = step.examples * step.completions
    prompt, completion = tokens.prompt - 1, tokens.completion + 1
    return step.examples * prompt, rows * completion, rows * (prompt + completion)


def _mask(tokens: Tokens, step: Training) -> int:
    """Of a layer: what each position of a completion may see of its row."""
    size = tokens.completion + 1
    return step.examples * step.completions * size * (tokens.prompt + tokens.completion) * step.precision.compute


@dataclass(frozen=True)
class Refining:
    """What a refinement's memory depends on."""

    size: int
    """Bytes of a number: 4, 2 or 8."""
    rows: int
    """Completions at once."""
    prompts: int
    """Different prompts among theirs, at most."""


def refining_parts(shape: Shape, tokens: Tokens, batch: Refining) -> Parts:
    """Memory of sampling a batch: keys and values of the prompts, once each, and of what each row writes; a layer's work; the choice."""
    weights = batch.size * shape.parameters
    if shape.width <= FOLDED_WIDTH and batch.size > 2:
        weights += batch.size * shape.layers * shape.width * (8 * shape.width + 2 * shape.inner + shape.width)
    token = 2 * shape.layers * shape.width * batch.size
    read = batch.prompts * tokens.prompt
    cache = token * (read + batch.rows * tokens.written)
    layer = (8 * shape.width + 2 * shape.inner) * batch.size
    choice = batch.rows * shape.vocabulary * BYTES_A_CHOICE
    reading = token * read + layer * read - cache  # before there is room for what is written
    activations = max(layer * batch.rows, choice, reading)
    return Parts(weights, 0.0, 0.0, activations, cache, weights + cache + activations)


def row_bytes(shape: Shape, tokens: Tokens, size: int) -> int:
    """Of one completion and its prompt in flight, as llome.policy.memory counts it when it fits a batch to a device."""
    cached = 2 * shape.layers * shape.width
    width = tokens.prompt + tokens.written
    return width * (cached + 8 * shape.width + 2 * shape.inner) * size + BYTES_A_CHOICE * shape.vocabulary


def precision_of(name: object, where: str) -> Precision:
    """By Lightning's name (32 and 64 are `true`). Raises ConfigError on one that has no row."""
    known = PRECISIONS | {"32": PRECISIONS["32-true"], "64": PRECISIONS["64-true"], "bf16": PRECISIONS["bf16-mixed"]}
    if str(name) not in known:
        raise ConfigError(f"{where}: trainer.precision {name!r} has no formula; choose one of {', '.join(PRECISIONS)}")
    return known[str(name)]


def with_micro_batch(step: Training, examples: int) -> Training:
    """The same step in smaller micro-batches."""
    return replace(step, examples=examples, micro_batches=-(-step.examples * step.micro_batches // examples))
