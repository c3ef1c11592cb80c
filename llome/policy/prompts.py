"""Logits of completions in training, each prompt read once and no further than completions look at it.

A completion sees of its prompt the keys and values of every layer, and nothing of what the last layer makes of them. So the prompts go
through the model first, once for all their completions, and stop at the last layer's keys and values; the completions follow, with these
in a cache that gradients flow through. One pass over prompt and completion together would compute each prompt again for each
completion, and the whole of the last layer for positions that no loss depends on.
"""

from __future__ import annotations

import contextlib
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache
from transformers.modeling_layers import GradientCheckpointingLayer


class _PromptsReadError(Exception):
    """The pass over the prompts has got as far as it needs to."""


class _PromptCache(DynamicCache):
    """Keys and values of prompts, kept as each layer first writes them: a block that is computed again writes nothing."""

    def __init__(self, layers: int | None) -> None:
        """`layers`: how many there are, to end the pass at the last one's keys and values; None: it goes on to its end."""
        super().__init__()
        self.stop_at = layers

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Keep them, and give them back."""
        if layer_idx == len(self.layers):
            super().update(key_states, value_states, layer_idx)
        if layer_idx + 1 == self.stop_at:
            raise _PromptsReadError
        return key_states, value_states


class _CompletionCache(DynamicCache):
    """What completions see: their prompt's keys and values, once for each of them, and then their own; it keeps nothing."""

    def __init__(self, prompts: _PromptCache, completions: int) -> None:
        super().__init__()
        self.layers, self.completions = prompts.layers, completions

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Those of the prompt, then these."""
        prompt: Any = self.layers[layer_idx]
        return self._after(prompt.keys, key_states), self._after(prompt.values, value_states)

    def _after(self, prompt: Tensor, own: Tensor) -> Tensor:
        return torch.cat([prompt.repeat_interleave(self.completions, dim=0), own], dim=-2)


def _recomputed_blocks(model: Any) -> list[Any]:
    """The blocks that the backward pass computes again, as the model stands."""
    blocks = (module for module in model.modules() if isinstance(module, GradientCheckpointingLayer))
    return [block for block in blocks if block.gradient_checkpointing and block.training]


def has_dropout(model: Any) -> bool:
    """Whether the model drops anything in training; two passes would then draw other masks than one."""
    other_heads = ("classifier", "summary")
    settings = ((name, value) for name, value in vars(model.config).items() if not name.startswith(other_heads))
    return any("drop" in name and bool(value) for name, value in settings) or any(
        isinstance(module, torch.nn.Dropout) and module.p > 0 for module in model.modules()
    )


def completion_logits(
    model: Any, input_ids: Tensor, attention_mask: Tensor, completion_width: int, *, in_one_pass: bool = False
) -> Tensor:
    """Logits from the last prompt token on.

    Args:
        model: a causal language model of transformers; it may be under gradient checkpointing.
        input_ids: (B, C, T) int64, the same prompt for the C completions of an example, padded on the left, then the completion.
        attention_mask: (B, C, T) bool, False on padding.
        completion_width: W, the last columns that hold completions.
        in_one_pass: prompt and completion together.

    Returns:
        (B * C, W + 1, V) logits of the last W + 1 positions.
    """
    ids, mask = input_ids.flatten(0, 1), attention_mask.flatten(0, 1)
    positions = (mask.cumsum(dim=1) - 1).clamp_(min=0)  # padding on the left must not shift positions
    blocks = _recomputed_blocks(model)
    for block in blocks:  # older releases always take the cache from such a block
        in_one_pass = in_one_pass or not hasattr(block, "_can_checkpoint_with_cache")
        block._can_checkpoint_with_cache = True  # ours are the same whenever they are read
    if in_one_pass:
        passed = model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=positions,
            use_cache=False,
            logits_to_keep=completion_width + 1,
        )
        return _logits(passed)
    completions, prompt = input_ids.shape[1], input_ids.shape[2] - completion_width - 1  # but for its last token
    cache = _PromptCache(None if blocks else len(DynamicCache(config=model.config).layers))
    with contextlib.suppress(_PromptsReadError):
        model(
            input_ids=ids[::completions, :prompt],
            attention_mask=mask[::completions, :prompt],
            position_ids=positions[::completions, :prompt],
            past_key_values=cache,
            use_cache=not blocks,
            logits_to_keep=1,
        )
    passed = model(
        input_ids=ids[:, prompt:],
        attention_mask=mask,
        position_ids=positions[:, prompt:],
        past_key_values=_CompletionCache(cache, completions),
        use_cache=not blocks,
    )
    return _logits(passed)


def _logits(output: Any) -> Tensor:
    assert isinstance(output.logits, Tensor)
    return output.logits
