"""Sequences on disk and in memory: lists without padding there, rows of one length here."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from llome.domain import PAD, Domain
from llome.errors import TableError


def to_lists(values: np.ndarray, parsed: np.ndarray | None) -> pa.ListArray:
    """(N, L) with -1 after an end -> N lists; empty ones where `parsed` (N,) says so."""
    lengths = np.full(len(values), values.shape[1], dtype=np.int32)
    if parsed is not None:
        lengths[~parsed] = 0
        values = values[parsed]
    if (padding := values < 0).any():
        lengths[slice(None) if parsed is None else parsed] -= padding.sum(axis=1, dtype=np.int32)
        values = values[~padding]
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(
        pa.array(offsets), pa.array(np.ascontiguousarray(values, dtype=np.int16).reshape(-1))
    )


def from_lists(column: pa.ListArray, domain: Domain, empty_allowed: bool, where: str) -> np.ndarray:
    """N lists -> (N, L), -1 after an end. Raises TableError where a length, or an element, cannot be; `where` names the column."""
    lengths = np.diff(column.offsets.to_numpy())
    bad = ((lengths < domain.least) | (lengths > domain.length)) & ~((lengths == 0) & empty_allowed)
    if bad.any():
        row = int(bad.argmax())
        expected = f"{domain.length}" if domain.fixed_length else f"{domain.least} to {domain.length}"
        raise TableError(f"{where}: row {row} has length {int(lengths[row])}, expected {expected}")
    elements = column.flatten().to_numpy(zero_copy_only=False)
    if (elements < 0).any():  # on disk nothing stands after an end
        raise TableError(f"{where}: the element {int(elements.min())} is outside 0..{domain.num_states - 1}")
    values = np.full((len(column), domain.length), PAD, dtype=np.int16)
    if domain.fixed_length:
        values[lengths > 0] = elements.reshape(-1, domain.length)
    else:
        values[np.arange(domain.length) < lengths[:, None]] = elements
    return values
