"""How many tokens the sampler may hold at once: a fixed number for a kind of device, fewer where they would not fit.

The number is fixed so that the same settings give the same batches, and so the same bytes, on every machine with room for them. Sizes are
counted from the model's configuration: keys and values of a token in every layer, the activations of one layer, and a row's logits.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psutil
import torch

DEFAULT_TOKENS = {"cpu": 1 << 18, "cuda": 1 << 19}
"""Where larger batches are no faster any more."""
_SHARE = 0.6
"""Of the free memory; copies where nodes part, and the allocator's gaps, take some of the rest."""
_BYTES_A_LOGIT = 32
"""Bytes, at most, of a row's logits on their way to a draw: tempered, as probabilities, and as float64 sums."""


def row_bytes(model: Any, width: int) -> int:
    """Bytes of a completion and its prompt in flight, `width` tokens together, if it shares its prompt with nobody."""
    config = model.config.get_text_config(decoder=True)
    hidden, heads = int(config.hidden_size), int(config.num_attention_heads)
    head = getattr(config, "head_dim", None) or hidden // heads
    kv_heads = getattr(config, "num_key_value_heads", None) or heads
    cached = 2 * int(config.num_hidden_layers) * int(kv_heads) * int(head)
    inner = int(getattr(config, "intermediate_size", None) or 4 * hidden)
    size = model.dtype.itemsize
    logits = _BYTES_A_LOGIT * int(model.get_output_embeddings().weight.shape[0])
    return width * (cached + 8 * hidden + 2 * inner) * size + logits


def free_bytes(device: torch.device) -> int:
    """Memory that can still be had: of the accelerator, or of this machine within the limit of its control group."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        return int(torch.cuda.mem_get_info(device)[0])
    free = int(psutil.virtual_memory().available)
    group = Path("/sys/fs/cgroup") / _control_group()
    try:
        return min(free, int((group / "memory.max").read_text()) - int((group / "memory.current").read_text()))
    except (OSError, ValueError):  # no such file, or "max"
        return free


def _control_group() -> str:
    try:
        return Path("/proc/self/cgroup").read_text().strip().rpartition("::/")[2]
    except OSError:
        return ""


def fitting_tokens(model: Any, width: int, device: torch.device) -> tuple[int, str | None]:
    """Tokens a batch, `width` a row, and a message where they are fewer than the device's default."""
    default = max(DEFAULT_TOKENS.get(device.type, DEFAULT_TOKENS["cpu"]), width)
    row, free = row_bytes(model, width), free_bytes(device)
    tokens = int(_SHARE * free / row) * width
    if tokens >= default:
        return default, None
    tokens = max(tokens, width)
    return tokens, (
        f"{free / 2**30:.2f} GiB of memory are free on {device} and a completion takes up to {row / 2**20:.3g} MiB, so"
        f" batches hold {tokens:,} tokens instead of {default:,}; max_batch_tokens sets another number"
    )
