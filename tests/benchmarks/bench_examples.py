"""From labels to optimiser steps: PropEn pairs and triples of Algorithm 2, their tokens, and every batch of an epoch.

The neighbours dominate (see bench_neighbours.py); a batch is two look-ups and a concatenation, 3 B C T bytes and words written.
There is no peer: nobody else makes these examples.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from llome.codec import SequenceCodec, compact_tokenizer
from llome.data.batches import StepLoader, StepSampler, TokenTable
from llome.data.pairs import match_examples

from .measure import Measure
from .problems import labels


def bench_examples_of_labels(measure: Measure) -> None:
    """Both kinds, one after the other, as two objectives of one round would make them."""
    table = labels(measure.size.labels)
    domain = table.meta.domain
    codec = SequenceCodec(compact_tokenizer(domain.num_states), domain)

    def prepare(kind: Literal["pairs", "triples"]) -> int:
        examples = match_examples(
            table.sequence,
            table.score,
            kind=kind,
            num_neighbours=30,
            max_distance=0.25,
            max_infeasible=0.1,
            max_triples_per_source=10,
            random_seed=0,
        )
        tokens = TokenTable(examples, table.sequence, codec)
        sampler = StepSampler(np.arange(len(examples)), 128, shuffle=True)
        return sum(len(micro["rows"]) for step in StepLoader(tokens, sampler, 128) for micro in step)

    path = f"pairs, triples, tokens and batches of {len(table):,} labels"
    pairs, triples = measure.ours(
        path,
        lambda: (prepare("pairs"), prepare("triples")),
        asked="seconds",
        floor=5.0,
        rounds=min(3, measure.size.rounds),
    )
    measure.remark(f"{pairs:,} pairs, {triples:,} triples")
