"""Exact nearest neighbours the way one would write them in torch: one-hot rows, a matrix product in blocks, `topk`."""

from __future__ import annotations

import numpy as np
import torch


@torch.inference_mode()
def find_neighbours(
    sequences: np.ndarray, num_states: int, num_neighbours: int, *, rows: int, block: int = 1024
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest other rows of the first `rows` rows; ties fall as `topk` lets them.

    Args:
        sequences: (N, L) integers below `num_states`.
        num_states: V; the product's inner size is V L.
        num_neighbours: k.
        rows: rows to find neighbours of.
        block: rows multiplied at once.

    Returns:
        indices (rows, k) and distances (rows, k), nearest first.
    """
    total, length = sequences.shape
    one_hot = torch.zeros((total, length * num_states))
    one_hot[
        torch.arange(total)[:, None], torch.from_numpy(sequences.astype(np.int64)) + num_states * torch.arange(length)
    ] = 1.0
    indices, distances = [], []
    for first in range(0, rows, block):
        part = torch.arange(first, min(first + block, rows))
        same = one_hot[part] @ one_hot.T
        same[torch.arange(len(part)), part] = -1.0
        values, nearest = same.topk(num_neighbours, dim=1)
        indices.append(nearest)
        distances.append(length - values)
    return torch.cat(indices).numpy(), torch.cat(distances).long().numpy()
