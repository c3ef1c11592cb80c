"""GPT-NeoX (Pythia's architecture, and that of the small policies) in few operations, where it is their number that takes the time.

A narrow model spends most of its time outside its products: transformers' block runs some sixty operations on small tensors. Here a
block is about twenty, with the same weights and, up to rounding, the same numbers. Attention and feed-forward part are parallel, so one
normalisation serves both, its scale and shift folded into one matrix of both; the rotation of queries and keys needs them turned a
quarter (x1, x2) -> (-x2, x1), which more columns of that matrix give; and one matrix leads back. For sampling alone: in training, the
gradients of so many slices of one product cost more than is saved. Anything else goes through transformers' own modules.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import layer_norm, scaled_dot_product_attention

MAX_WIDTH = 512
"""Beyond, products take the time: the turned columns would cost more than the operations that they save."""

Attend = Callable[[int, Tensor, Tensor, Tensor], Tensor]
"""(layer, queries, keys, values), each (B, H, T, D), queries scaled -> (B, T, H, D) or the like that flattens to (B, T, H D)."""


def is_foldable(model: Any) -> bool:
    """Whether this is a narrow GPT-NeoX as the functions below know it, in single or double precision."""
    from transformers import GPTNeoXForCausalLM

    if type(model) is not GPTNeoXForCausalLM:
        return False
    config: Any = model.config
    blocks = model.gpt_neox.layers.modules()
    return bool(
        not any(hasattr(module, "base_layer") for module in blocks)  # an adapter beside a layer is not in its weight
        and config.use_parallel_residual
        and config.hidden_size <= MAX_WIDTH
        and (getattr(config, "rope_parameters", None) or {}).get("rope_type") == "default"
        and model.dtype in (torch.float32, torch.float64)
    )


@dataclass(frozen=True)
class Block:
    """A layer, h wide, with H heads of width D and an inner width I."""

    up: Tensor
    """(h, 5 H D + I): queries, queries turned, keys, keys turned, values, inner."""
    up_bias: Tensor
    down: Tensor
    """(H D + I, h): from what was attended to and the inner activations."""
    down_bias: Tensor


@dataclass(frozen=True)
class Folded:
    """A model's weights, as the functions below read them."""

    embedding: Tensor
    """(V, h)"""
    blocks: list[Block]
    head: Tensor
    """(h, V)"""
    head_bias: Tensor
    num_heads: int
    epsilon: float
    activation: Callable[[Tensor], Tensor]
    rotary: Callable[..., tuple[Tensor, Tensor]]

    def rotation(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Cosines and sines at (B, T) positions, each (B, T, 1, 1, D); what is not rotated has 1 and 0."""
        cos, sin = self.rotary(self.embedding, positions)
        rest = (0, self.embedding.shape[1] // self.num_heads - cos.shape[-1])
        pad = torch.nn.functional.pad
        return pad(cos, rest, value=1.0)[:, :, None, None], pad(sin, rest)[:, :, None, None]

    def normalise(self, x: Tensor) -> Tensor:
        """Mean 0 and variance 1 over the last axis; scale and shift are in the matrix that follows."""
        return layer_norm(x, x.shape[-1:], eps=self.epsilon)

    def logits(self, x: Tensor) -> Tensor:
        """(..., h) -> (..., V)."""
        return self.normalise(x) @ self.head + self.head_bias


def fold(model: Any) -> Folded:
    """Fold the weights of a model that `is_foldable`."""
    config, body = model.config, model.gpt_neox
    head, shift = _folded(model.get_output_embeddings().weight, None, body.final_layer_norm)
    return Folded(
        embedding=body.embed_in.weight,
        blocks=[_fold_block(layer, config.num_attention_heads) for layer in body.layers],
        head=head,
        head_bias=shift,
        num_heads=config.num_attention_heads,
        epsilon=config.layer_norm_eps,
        activation=body.layers[0].mlp.act,
        rotary=body.rotary_emb,
    )


def _folded(weight: Tensor, bias: Tensor | None, norm: Any) -> tuple[Tensor, Tensor]:
    """(out, h) weights after a normalisation's scale and shift -> (h, out) weights and (out,) biases of what precedes them."""
    shift = weight @ norm.bias
    return (weight * norm.weight).T, shift if bias is None else shift + bias


def _fold_block(layer: Any, heads: int) -> Block:
    attention, mlp = layer.attention, layer.mlp
    width, rotated = attention.head_size, attention.rotary_ndims

    def columns(tensor: Tensor) -> Tensor:
        """(3 H D, ...) as transformers orders them, head by head -> (5 H D, ...)."""
        query, key, value = tensor.view(heads, 3, width, -1).unbind(dim=1)
        query = query * attention.scaling
        parts = torch.cat([query, _turned(query, rotated), key, _turned(key, rotated), value])
        return parts.reshape(-1, *tensor.shape[1:])

    joint = attention.query_key_value
    bias = None if joint.bias is None else columns(joint.bias)
    attended = _folded(columns(joint.weight), bias, layer.input_layernorm)
    inner = _folded(mlp.dense_h_to_4h.weight, mlp.dense_h_to_4h.bias, layer.post_attention_layernorm)
    back, last = attention.dense, mlp.dense_4h_to_h
    return Block(
        up=torch.cat([attended[0], inner[0]], dim=1),
        up_bias=torch.cat([attended[1], inner[1]]),
        down=torch.cat([back.weight, last.weight], dim=1).T,
        down_bias=last.bias if back.bias is None else last.bias + back.bias,
    )


def _turned(heads: Tensor, rotated: int) -> Tensor:
    """(H, D, ...), of which the first `rotated` of D are (x1, x2) -> (-x2, x1), zero where nothing is rotated."""
    half = rotated // 2
    first, second, rest = heads[:, :half], heads[:, half:rotated], heads[:, rotated:]
    return torch.cat([-second, first, torch.zeros_like(rest)], dim=1)


def run_block(model: Folded, number: int, x: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
    """(B, T, h) -> (B, T, h) through one layer, attention as the caller has it."""
    block, batch = model.blocks[number], x.shape[:2]
    joint = x.shape[2]  # H D
    z = torch.addmm(block.up_bias, model.normalise(x).flatten(0, 1), block.up).view(*batch, -1)
    pairs = z[..., : 4 * joint].view(*batch, 2, 2, model.num_heads, -1)  # query and key, plain and turned
    cos, sin = rotation
    rotated = torch.addcmul(pairs[:, :, :, 0] * cos, pairs[:, :, :, 1], sin)
    values = z[..., 4 * joint : 5 * joint].view(*batch, model.num_heads, -1).transpose(1, 2)
    query, key = rotated.permute(2, 0, 3, 1, 4).unbind()
    attended = attend(number, query, key, values).reshape(-1, joint)
    both = torch.cat([attended, model.activation(z[..., 5 * joint :]).flatten(0, 1)], dim=1)
    return torch.addmm((x + block.down_bias).flatten(0, 1), both, block.down).view(x.shape)


def causal_mask(mask: Tensor) -> Tensor | None:
    """(B, T) bool, False on padding -> what each position may look at, (B, 1, T, T); None where nothing is padded.

    A position may always look at itself, so that no row is empty.
    """
    if bool(mask.all()):
        return None
    columns = torch.arange(mask.shape[1], device=mask.device)
    return (columns <= columns[:, None]) & mask[:, None, None, :] | torch.eye(
        len(columns), dtype=torch.bool, device=mask.device
    )


def positions_of(mask: Tensor) -> Tensor:
    """(B, T) int64: padding on the left shifts none; (1, T) where nothing is padded."""
    rows = mask[:1] if bool(mask.all()) else mask
    return (rows.cumsum(dim=1) - 1).clamp_(min=0)


def _attend(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """Softmax attention to scaled queries, (B, T, H, D); causal where there is no mask."""
    attended = scaled_dot_product_attention(query, key, value, attn_mask=mask, is_causal=mask is None, scale=1.0)
    return attended.transpose(1, 2)


def prefill(model: Folded, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
    """(P, S) prompts, padded on the left -> logits after them (P, V), and each layer's keys and values, (P, H, S, D)."""
    rotation = model.rotation(positions_of(mask))
    allowed = causal_mask(mask)
    known: list[tuple[Tensor, Tensor]] = []

    def read(number: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        known.append((key.contiguous(), value.contiguous()))
        return _attend(query, key, value, allowed)

    x = model.embedding[ids]
    for number in range(len(model.blocks)):
        x = run_block(model, number, x, rotation, read)
    return model.logits(x[:, -1]), known


def step(model: Folded, tokens: Tensor, rotation: tuple[Tensor, Tensor], attend: Attend) -> Tensor:
    """(M,) tokens, and the rotation at their positions, (M, 1, 1, 1, D) -> (M, V) logits of the next ones."""
    x = model.embedding[tokens][:, None]
    for number in range(len(model.blocks)):
        x = run_block(model, number, x, rotation, attend)
    return model.logits(x[:, 0])
