"""What this machine can do at best: the yardstick beside the other rows. Each is torch's own, on as many threads as the rest.

The products of the table's shares are of large float32 matrices; products as small as an attention's, and a copy, are far below
that on any processor, so a path made of them cannot come near it.
"""

from __future__ import annotations

import torch

from .measure import Measure


def bench_large_product(measure: Measure) -> None:
    """n x n times n x n in float32: 2 n^3 operations."""
    n = measure.size.product
    one, other = torch.randn(n, n), torch.randn(n, n)
    out = torch.empty(n, n)
    path = f"ceiling: product of {n:,} x {n:,} matrices"
    measure.ours(path, lambda: torch.mm(one, other, out=out), asked="nothing", work=2.0 * n**3, unit="FLOP")
    measure.info["ceiling"] = "product"


def bench_large_copy(measure: Measure) -> None:
    """Bytes read and as many written."""
    n = measure.size.copy
    one, other = torch.ones(n, dtype=torch.uint8), torch.zeros(n, dtype=torch.uint8)
    path = f"ceiling: copy of {n >> 20:,} MiB"
    measure.ours(path, lambda: other.copy_(one), asked="nothing", work=2.0 * n, unit="B")
    measure.info["ceiling"] = "copy"


def bench_small_products(measure: Measure) -> None:
    """Queries times keys, the small policy's in sampling, of many rows at once: 2 rows q w k operations."""
    rows, queries, width, keys = measure.size.attention
    one, other = torch.randn(rows, queries, width), torch.randn(rows, width, keys)
    work = 2.0 * rows * queries * width * keys
    path = f"ceiling: {rows:,} products of {queries} x {width} x {keys}"
    measure.ours(path, lambda: one @ other, asked="nothing", work=work, unit="FLOP")
