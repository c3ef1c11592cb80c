"""The forward passes that sampling is made of: prompts once, then a token for every node of the tree, by two ways to the same numbers.

Narrow GPT-NeoX models take the way of few operations (`neox`); any other model goes through transformers' own modules, with attention
registered in its attention interface.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor

from llome.errors import PolicyError
from llome.policy import neox
from llome.policy.tree import TREE, TreeCache, attention, tree_attention


class Passes(Protocol):
    """A model, as the sampler runs it."""

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """(P, S) prompts, padded on the left -> logits after them (P, V), and each layer's keys and values, (P, H, S, D)."""

    def write(self, tokens: Tensor, positions: Tensor, tree: TreeCache) -> Tensor:
        """(M,) tokens at (M,) positions, one a node of the tree, which takes in their keys and values -> (M, V) logits."""


def check_model(model: Any) -> None:
    """Raises PolicyError where a model has no passes."""
    if not neox.is_foldable(model) and not getattr(model, "_supports_attention_backend", False):
        raise PolicyError(
            f"{type(model).__name__} does not go through transformers' attention interface;"
            " use a model that does (GPT-NeoX, Llama, ...)"
        )


def passes_of(model: Any, width: int) -> Passes:
    """Passes of a model for prompts and completions of `width` tokens together."""
    return _FoldedPasses(model, width) if neox.is_foldable(model) else _ModulePasses(model)


class _FoldedPasses:
    def __init__(self, model: Any, width: int) -> None:
        with torch.no_grad():
            self._model = neox.fold(model)
            positions = torch.arange(width, device=model.device)
            self._rotation = tuple(part[0] for part in self._model.rotation(positions[None]))

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        return neox.prefill(self._model, ids, mask)

    def write(self, tokens: Tensor, positions: Tensor, tree: TreeCache) -> Tensor:
        def attend(layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
            return tree_attention(tree, layer, query, *tree.update(key, value, layer))

        cos, sin = (part[positions][:, None] for part in self._rotation)
        return neox.step(self._model, tokens, (cos, sin), attend)


class _ModulePasses:
    def __init__(self, model: Any) -> None:
        self._model = model

    def read(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        with attention(self._model, "sdpa"):
            out = self._model(
                input_ids=ids,
                attention_mask=mask.long(),
                position_ids=(mask.long().cumsum(1) - 1).clamp(min=0),
                use_cache=True,
                logits_to_keep=1,
            )
        return out.logits[:, -1], [(layer.keys, layer.values) for layer in out.past_key_values.layers]

    def write(self, tokens: Tensor, positions: Tensor, tree: TreeCache) -> Tensor:
        with attention(self._model, TREE):
            out = self._model(
                input_ids=tokens[:, None],
                position_ids=positions[:, None],
                past_key_values=tree,
                use_cache=True,
                tree=tree,
            )
        logits = out.logits[:, -1]
        assert isinstance(logits, Tensor)
        return logits
