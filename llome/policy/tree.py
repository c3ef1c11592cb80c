"""The keys and values of a tree of completions, and attention over them: what the sampler's nodes share, and what is their own.

A node is a prompt with the tokens written so far. Prompts hold their keys and values once; what each node has written lies in a slot of a
buffer, and moves only where nodes part or end. Attention is registered with transformers' attention interface, so that it serves any
model that goes through it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache

TREE = "llome_tree"
_FEW_HEADS = 8


class TreeCache(Cache):
    """Keys and values of P prompts, held once, and of what each node has written, in the first slots of buffers for R nodes."""

    def __init__(
        self, prefix: list[tuple[torch.Tensor, torch.Tensor]], mask: torch.Tensor, rows: Sequence[int], max_tokens: int
    ) -> None:
        """`prefix` holds each layer's keys and values of the prompts, (P, H, S, D) each, `mask` (P, S) is False on padding.

        `rows` says how many rows each prompt has, the most first.
        """
        super().__init__(layers=[])
        self.prefix = prefix
        self.padding = None if bool(mask.all()) else ~mask[:, None, None, :]  # (P, 1, 1, S)
        self.suffix = [
            (_key_buffer(keys, sum(rows), max_tokens), _value_buffer(values, sum(rows), max_tokens))
            for keys, values in prefix
        ]
        self.sizes = _group_sizes(rows)
        self.position = [0] * len(self.prefix)
        self.prompt = torch.arange(len(mask), device=mask.device)
        """(M,) the prompt of each node."""
        self._place()

    def grow(self, node: torch.Tensor, token: torch.Tensor, vocabulary_size: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Move to the children that are written next: from (R,) nodes and tokens to (R,) nodes, and the (M,) tokens of these.

        The first child of a node stays in its slot. The others, and those whose slot lies beyond the new number of nodes, move into
        slots that nobody stays in, with a copy of what their parent has written.
        """
        children, child = torch.unique(node * vocabulary_size + token, return_inverse=True)
        parent, written = children // vocabulary_size, children % vocabulary_size
        count = len(children)
        stays = torch.ones_like(parent, dtype=torch.bool)
        stays[1:] = parent[1:] != parent[:-1]
        stays &= parent < count
        slot = torch.where(stays, parent, -1)
        moved = not bool(stays.all())
        if moved:
            free = torch.ones(count, dtype=torch.bool, device=parent.device)
            free[parent[stays]] = False
            target, source = free.nonzero()[:, 0], parent[~stays]
            slot[~stays] = target
            at = self.position[0]
            for keys, values in self.suffix:
                keys[target, :, :at] = keys[source, :, :at]
                values[target, :, :at] = values[source, :, :at]
        order = slot.argsort()  # slot -> child
        if moved or count != len(self.prompt):
            self.prompt = self.prompt[parent[order]]
            self._place()
        return slot[child], written[order]

    def _place(self) -> None:
        """Give each node a place in a table, in which attention to the prompts of a group is one product.

        A prompt's nodes lie side by side, in as many columns as the prompt with the most nodes of its group has.
        """
        order = self.prompt.argsort(stable=True)
        counts = torch.bincount(self.prompt, minlength=len(self.prefix[0][0]))
        most = [part.max() for part in counts.split(self.sizes)]
        self.columns = torch.stack(most).tolist()
        width = torch.cat([top.expand(size) for top, size in zip(most, self.sizes, strict=True)])
        ahead = (width - counts).cumsum(0) - (width - counts)  # places that no node is at, before a prompt's first
        self.place = torch.empty_like(order)
        self.place[order] = ahead[self.prompt[order]] + torch.arange(len(order), device=order.device)
        self.hidden = None if self.padding is None else self.padding[self.prompt]  # (M, 1, 1, S)

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append one token's (M, KH, 1, D) keys and values; returns what each node has written so far, (M, KH, t, D) each."""
        nodes, at = len(key_states), self.position[layer_idx]
        keys, values = (tensor[:nodes] for tensor in self.suffix[layer_idx])
        keys[:, :, at], values[:, :, at] = key_states[:, :, 0], value_states[:, :, 0]
        self.position[layer_idx] = at + 1
        return keys[:, :, : at + 1], values[:, :, : at + 1]

    def get_seq_length(self, layer_idx: int = 0) -> int:
        """Tokens held: the prompt's and the completion's."""
        return int(self.prefix[0][0].shape[2]) + self.position[layer_idx]

    def times(self, values: torch.Tensor, matrices: torch.Tensor) -> torch.Tensor:
        """(M, KH, G, X) of nodes times their prompts' (P, KH, X, Y) -> (M, KH, G, Y)."""
        _, heads, groups, inner = values.shape
        outer = matrices.shape[3]
        places = sum(size * columns for size, columns in zip(self.sizes, self.columns, strict=True))
        table = values.new_zeros((places, heads * groups * inner))
        table.index_copy_(0, self.place, values.reshape(len(values), -1))
        out = values.new_empty((places, heads * groups * outer))
        place = prompt = 0
        for size, columns in zip(self.sizes, self.columns, strict=True):
            rows = slice(place, place + size * columns)
            nodes = table[rows].view(size, columns, heads, groups, inner).transpose(1, 2)
            product = nodes.reshape(size, heads, columns * groups, inner) @ matrices[prompt : prompt + size]
            out[rows].view(size, columns, heads, groups, outer).copy_(
                product.view(size, heads, columns, groups, outer).transpose(1, 2)
            )
            place, prompt = rows.stop, prompt + size
        return out.index_select(0, self.place).view(-1, heads, groups, outer)


def tree_attention(
    tree: TreeCache, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor
) -> torch.Tensor:
    """Attention of scaled (M, H, 1, D) queries over the shared prompt and the node's own tokens: one softmax over both.

    `key` and `value` are (M, KH, t, D), as `TreeCache.update` returns them.

    Returns:
        (M, 1, H, D).
    """
    prefix_keys, prefix_values = tree.prefix[layer]
    kv_heads, size, width = prefix_keys.shape[1:]
    nodes, heads = query.shape[:2]
    groups = heads // kv_heads  # grouped-query models: several query heads a key head
    query = query.reshape(nodes, kv_heads, groups, width)
    over_prefix = tree.times(query, prefix_keys.transpose(2, 3))  # (M, KH, G, S)
    if tree.hidden is not None:
        over_prefix = over_prefix.masked_fill(tree.hidden, -torch.inf)
    over_suffix = query @ key.transpose(2, 3)  # (M, KH, G, t)
    weights = torch.softmax(
        torch.cat([over_prefix, over_suffix], dim=-1),
        dim=-1,
        dtype=None if query.dtype == torch.float64 else torch.float32,
    ).to(query.dtype)
    out = tree.times(weights[..., :size], prefix_values) + _own(weights[..., size:], value)
    return out.reshape(nodes, 1, heads, width)


def _group_sizes(rows: Sequence[int]) -> list[int]:
    """Cut prompts, those with the most rows first, where rows fall below half of a group's first.

    One prompt that many trajectories have reached would else widen the table of all.
    """
    sizes: list[int] = []
    most = 0
    for count in rows:
        if 2 * count < most or not sizes:
            sizes.append(0)
            most = count
        sizes[-1] += 1
    return sizes


def _own(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """(M, KH, G, t) weights of (M, KH, t, D) values -> (M, KH, G, D).

    With few heads, every head's weights meet every head's values, which lie side by side, and a block of the product is kept: a product a
    node in place of one a head, which on a CPU costs what its start costs.
    """
    nodes, kv_heads, groups, size = weights.shape
    if kv_heads > _FEW_HEADS:
        return weights @ value
    product = weights.reshape(nodes, kv_heads * groups, size) @ value.transpose(1, 2).flatten(2)
    return product.view(nodes, kv_heads, groups, kv_heads, -1).diagonal(dim1=1, dim2=3).permute(0, 3, 1, 2)


def _key_buffer(prefix: torch.Tensor, rows: int, max_tokens: int) -> torch.Tensor:
    """(rows, KH, T, D) for what is written."""
    _, heads, _, width = prefix.shape
    return prefix.new_empty((rows, heads, max_tokens, width))


def _value_buffer(prefix: torch.Tensor, rows: int, max_tokens: int) -> torch.Tensor:
    """The same, with a token's heads side by side in memory if they are few."""
    if prefix.shape[1] > _FEW_HEADS:
        return _key_buffer(prefix, rows, max_tokens)
    _, heads, _, width = prefix.shape
    return prefix.new_empty((rows, max_tokens, heads, width)).transpose(1, 2)


def _interface(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    tree: TreeCache,
    scaling: float | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """As transformers calls it."""
    scaled = query * (query.shape[3] ** -0.5 if scaling is None else scaling)
    return tree_attention(tree, module.layer_idx, scaled, key, value), None


AttentionInterface.register(TREE, _interface)


class attention:
    """Run the model with another attention implementation for a while."""

    def __init__(self, model: Any, name: str) -> None:
        self.model, self.name = model, name

    def __enter__(self) -> None:
        self.before = self.model.config._attn_implementation
        self.model.config._attn_implementation = self.name

    def __exit__(self, *exc: object) -> None:
        self.model.config._attn_implementation = self.before
