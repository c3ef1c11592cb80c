"""Limits on edits: protected positions, and how many edits a sequence may be from the one it was made of, or from the wild type.

The policy's decoding cannot leave them (llome.policy.limits); here they are checked, and what recombination made is brought back within
them. Where all sequences have one length, edits are positions that differ; else the edit distance (llome.distances).
"""

from __future__ import annotations

import numpy as np

from llome.distances import distances
from llome.domain import Domain


def references(sources: np.ndarray, domain: Domain) -> np.ndarray:
    """What edits of each of the `sources` (N, L) are counted from -> (N, L): the sources themselves, or the wild type."""
    if domain.edits_from == "parent" or domain.wild_type is None:
        return sources
    reference = np.full(domain.length, -1, dtype=sources.dtype)
    reference[: len(domain.wild_type)] = domain.wild_type
    return np.broadcast_to(reference, sources.shape)


def keeps_limits(sequences: np.ndarray, sources: np.ndarray, domain: Domain) -> np.ndarray:
    """Whether each of the `sequences` (N, L), made of that of the `sources` (N, L), keeps the limits -> (N,) bool; `PAD` after an end."""
    protected = list(domain.protected)
    kept = (sequences[:, protected] == sources[:, protected]).all(axis=1)
    if domain.max_edits is not None:
        kept &= distances(sequences, references(sources, domain), domain) <= domain.max_edits
    return np.asarray(kept)


def within_limits(sequences: np.ndarray, sources: np.ndarray, domain: Domain, rng: np.random.Generator) -> np.ndarray:
    """(N, L) sequences with as much taken back of what was changed in the `sources` (N, L) as breaks a limit.

    Of too many edits those that stay are drawn. Where lengths differ an edit cannot be taken back by its place: sequences stay as they are.
    """
    if not domain.fixed_length or not domain.limited:
        return sequences
    protected, found = list(domain.protected), sequences.copy()
    found[:, protected] = sources[:, protected]
    if domain.max_edits is None:
        return found
    reference = references(sources, domain)
    differs = found != reference
    order = np.where(differs, rng.random(found.shape), 2.0)
    order[:, protected] = np.where(differs[:, protected], -1.0, 2.0)  # what must differ counts first
    rank = order.argsort(axis=1).argsort(axis=1)
    taken_back = differs & (rank >= domain.max_edits)
    taken_back[:, protected] = False
    return np.where(taken_back, reference, found)
