"""The keys and values of a tree of completions, and attention over them: what the sampler's nodes share, and what is their own.

A node is a prompt with the tokens written so far. Prompts hold their keys and values once; what each node has written lies in a slot of a
buffer, and moves only where nodes part or end. Attention is registered with transformers' attention interface, so that it serves any
model that goes through it.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache

TREE = "llome_tree"
_FEW_HEADS = 8


class TreeCache(Cache):
    """Keys and values of P prompts, held once, and of what each node has written, in the first slots of buffers for R nodes."""

    def __init__(
        self, prefix: list[tuple[torch.Tensor, torch.Tensor]], mask: torch.Tensor, rows: int, max_tokens: int
    ) -> None:
        """`prefix` holds each layer's keys and values of the prompts, (P, H, S, D) each, `mask` (P, S) is False on padding."""
        super().__init__(layers=[])
        self.prefix = prefix
        self.hidden = None if bool(mask.all()) else ~mask[:, None, None, :]  # (P, 1, 1, S)
        self.suffix = [
            (_key_buffer(keys, rows, max_tokens), _value_buffer(values, rows, max_tokens)) for keys, values in prefix
        ]
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
        """Give each node a place in its prompt's row of a table, in which attention to the prompts is one product."""
        order = self.prompt.argsort(stable=True)
        counts = torch.bincount(self.prompt, minlength=len(self.prefix[0][0]))
        self.columns = int(counts.max())
        numbers = torch.arange(len(order), device=order.device)
        first = counts.cumsum(0) - counts
        columns = numbers - first[self.prompt[order]]
        self.place = torch.empty_like(order)
        self.place[order] = self.prompt[order] * self.columns + columns

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

    def to_table(self, values: torch.Tensor) -> torch.Tensor:
        """(M, KH, G, X) of nodes -> (P, KH, columns * G, X), zero where no node is."""
        _, heads, groups, width = values.shape
        table = values.new_zeros((len(self.prefix[0][0]) * self.columns, heads * groups * width))
        table.index_copy_(0, self.place, values.reshape(len(values), -1))
        return (
            table.view(-1, self.columns, heads, groups, width)
            .transpose(1, 2)
            .reshape(-1, heads, self.columns * groups, width)
        )

    def to_nodes(self, table: torch.Tensor, groups: int) -> torch.Tensor:
        """Back again."""
        _, heads, _, width = table.shape
        rows = table.view(-1, heads, self.columns, groups, width).transpose(1, 2).reshape(-1, heads * groups * width)
        return rows.index_select(0, self.place).view(-1, heads, groups, width)


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
    over_prefix = tree.to_table(query) @ prefix_keys.transpose(2, 3)  # (P, KH, columns G, S)
    if tree.hidden is not None:
        over_prefix = over_prefix.masked_fill(tree.hidden, -torch.inf)
    over_suffix = query @ key.transpose(2, 3)  # (M, KH, G, t)
    weights = torch.softmax(
        torch.cat([tree.to_nodes(over_prefix, groups), over_suffix], dim=-1),
        dim=-1,
        dtype=None if query.dtype == torch.float64 else torch.float32,
    ).to(query.dtype)
    out = tree.to_nodes(tree.to_table(weights[..., :size]) @ prefix_values, groups) + _own(weights[..., size:], value)
    return out.reshape(nodes, 1, heads, width)


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
