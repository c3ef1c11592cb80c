"""transformers' own `generate`, with the log-probabilities that ranking needs, on a whole batch or called prompt by prompt."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch


@torch.inference_mode()
def generate(
    model: Any, ids: np.ndarray, mask: np.ndarray, *, samples: int, temperature: float, max_tokens: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample completions as a user of transformers would.

    `compute_transition_scores` gives the log-probability of the tempered distribution. The policy's own, which llome reports
    at every temperature, would take `output_logits` and a pass more; at temperature 1 the two are the same.

    Args:
        model: a causal language model of transformers.
        ids: (P, S) token ids of the prompts, padded on the left.
        mask: (P, S) bool, False on padding.
        samples: completions of each prompt.
        temperature: of the sampling.
        max_tokens: most tokens of a completion.

    Returns:
        (P * samples, T) token ids and (P * samples,) summed log-probability of each completion.
    """
    out = model.generate(
        input_ids=torch.from_numpy(ids),
        attention_mask=torch.from_numpy(mask).long(),
        do_sample=True,
        temperature=temperature,
        top_k=0,
        top_p=1.0,
        num_return_sequences=samples,
        max_new_tokens=max_tokens,
        output_scores=True,
        return_dict_in_generate=True,
    )
    logps = model.compute_transition_scores(out.sequences, out.scores, normalize_logits=True)
    tokens = out.sequences[:, ids.shape[1] :]
    ended = (tokens == model.config.eos_token_id).long()
    counted = ended.cumsum(dim=1) - ended == 0  # up to the end token, itself included
    return tokens.numpy(), torch.where(counted, logps, 0.0).sum(dim=1).numpy()


def count_tokens(tokens: np.ndarray, end_id: int) -> int:
    """Tokens of (N, T) completions up to the end token, itself included."""
    ended = tokens == end_id
    return int(np.where(ended.any(axis=1), ended.argmax(axis=1) + 1, tokens.shape[1]).sum())
