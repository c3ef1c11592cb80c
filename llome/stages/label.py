"""The one stage of the loop that calls the oracle: it labels what was selected, each call counted and journaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from llome.paths import parse_history, round_number
from llome.provenance import exclusive, hash_file
from llome.scoring.journal import Journal
from llome.scoring.oracle import Budget, load_oracle
from llome.shards import Shard
from llome.tables import Labeled, Meta, Selected, same_problem


def label(
    *,
    oracle: Path,
    selected: Path,
    parent: Path,
    out: Path,
    history: str,
    shard: str | None = None,
    budget: int | None = None,
    batch_size: int = 250,
) -> None:
    """Score the selected candidates; writes the labelled table of one round, empty where nothing was selected.

    Args:
        oracle: the oracle's JSON
        selected: table of the candidates
        parent: labelled table of the round before (or of the seed), which knows what was spent so far
        out: labelled table to write
        history: name of the round, such as sft1
        shard: label this part of the candidates alone, such as 2/4; `llome gather` joins the parts
        budget: most oracle calls in all, those before this round included; none: no limit
        batch_size: sequences a call of the oracle; a kill repeats at most one such call
    """
    parse_history(history)
    black_box = load_oracle(oracle)
    candidates = Selected.read(selected)
    before = Labeled.read(parent).meta
    domain = black_box.domain
    same_problem([(str(oracle), Meta(domain)), (str(selected), candidates.meta), (str(parent), before)])
    part = Shard.parse(shard)
    rows = part.slice(len(candidates))
    first = before.spent + rows.start  # the number of the first query of this part
    inputs = {"oracle": hash_file(oracle), "selected": hash_file(selected), "parent": hash_file(parent)}
    settings = {"history": history, **part.settings()}
    Budget(black_box, total=budget, spent=before.spent, batch_size=batch_size).require(len(candidates))
    sequences = candidates.sequence[rows]
    count = len(sequences)
    with exclusive(out.parent, part.lock(out)):
        key = {"stage": "label", "inputs": inputs, "settings": settings}
        with (
            Journal(out.parent / f".{out.stem}.journal", key, domain.length) as journal,
            tqdm(total=count, desc=f"label {history}", unit="call", delay=3, mininterval=1, disable=None) as bar,
        ):
            score = Budget(
                black_box, total=budget, spent=first, journal=journal, batch_size=batch_size, progress=bar.update
            )
            scores = score(sequences) if count else np.empty(0)
            Labeled(
                meta=Meta(domain=domain, inputs=inputs, settings=settings, spent=score.spent),
                sequence=sequences,
                score=scores,
                query=np.arange(first, score.spent),
                round=np.full(count, round_number(history), dtype=np.int32),
                origin=np.full(count, history, dtype=object),
            ).write(out)
            journal.delete()
