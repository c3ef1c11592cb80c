"""Logits of completions in training, each prompt read once and no further than completions look at it.

A completion sees of its prompt the keys and values of every layer, and nothing of what the last layer makes of them. So the prompts go
through the model first, once for all their completions, and stop at the last layer's keys and values; the completions follow, with these
in a cache that gradients flow through. One pass over prompt and completion together would compute each prompt again for each
completion, and the whole of the last layer for positions that no loss depends on.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache


class _PromptsReadError(Exception):
    """The pass over the prompts has got as far as it needs to."""


class _PromptCache(DynamicCache):
    """Keys and values of prompts; ends the pass that fills it at the last layer's."""

    filling = True

    def update(
        self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Append, as any cache does."""
        found: tuple[Tensor, Tensor] = super().update(key_states, value_states, layer_idx, *args, **kwargs)
        if self.filling and layer_idx + 1 == len(self.layers):
            raise _PromptsReadError
        return found


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
        model: a causal language model of transformers.
        input_ids: (B, C, T) int64, the same prompt for the C completions of an example, padded on the left, then the completion.
        attention_mask: (B, C, T) bool, False on padding.
        completion_width: W, the last columns that hold completions.
        in_one_pass: prompt and completion together, as gradient checkpointing needs it, which keeps no keys and values.

    Returns:
        (B * C, W + 1, V) logits of the last W + 1 positions.
    """
    ids, mask = input_ids.flatten(0, 1), attention_mask.flatten(0, 1)
    positions = (mask.cumsum(dim=1) - 1).clamp_(min=0)  # padding on the left must not shift positions
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
    cache = _PromptCache(config=model.config)
    try:
        model(
            input_ids=ids[::completions, :prompt],
            attention_mask=mask[::completions, :prompt],
            position_ids=positions[::completions, :prompt],
            past_key_values=cache,
            use_cache=True,
        )
    except _PromptsReadError:
        cache.filling = False
    if completions > 1:
        cache.batch_repeat_interleave(completions)
    passed = model(
        input_ids=ids[:, prompt:],
        attention_mask=mask,
        position_ids=positions[:, prompt:],
        past_key_values=cache,
        use_cache=True,
    )
    return _logits(passed)


def _logits(output: Any) -> Tensor:
    assert isinstance(output.logits, Tensor)
    return output.logits
