"""The one stage of the loop that calls the oracle: it labels what was selected, each call counted and journaled."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from llome.errors import BudgetExhaustedError, ConfigError, OracleError
from llome.paths import parse_history, round_number
from llome.provenance import exclusive, hash_file
from llome.scoring.asking import program_facts
from llome.scoring.budget import Budget, Labels
from llome.scoring.journal import Journal
from llome.scoring.lab import Manual
from llome.scoring.oracle import Streaming, load_oracle
from llome.shards import Shard
from llome.tables import Failed, Labeled, Meta, Selected, same_problem


def label(
    *,
    oracle: Path,
    selected: Path,
    parent: Path,
    out: Path,
    history: str,
    shard: str | None = None,
    budget: int | None = None,
    round_budget: int | None = None,
    batch_size: int = 250,
) -> None:
    """Score the selected candidates; writes the labelled table of one round, empty where nothing was selected.

    A candidate that fails as often as the oracle's `retries` allow is no label; it stands in the table as failed, with the message.

    Args:
        oracle: the oracle's JSON
        selected: table of the candidates
        parent: labelled table of the round before (or of the seed), which knows what was spent so far
        out: labelled table to write
        history: name of the round, such as sft1
        shard: label this part of the candidates alone, such as 2/4; `llome gather` joins the parts
        budget: most oracle calls in all, those before this round included; none: no limit
        round_budget: most oracle calls of this round, repeats and further attempts included; none: no limit
        batch_size: sequences that the oracle is asked for at a time; a kill has it asked again for those of them without an answer
    """
    parse_history(history)
    black_box = load_oracle(oracle)
    candidates = Selected.read(selected)
    before = Labeled.read(parent).meta
    domain = black_box.domain
    same_problem([(str(oracle), Meta(domain)), (str(selected), candidates.meta), (str(parent), before)])
    part = Shard.parse(shard)
    rows = part.slice(len(candidates))
    inputs = {"oracle": hash_file(oracle), "selected": hash_file(selected), "parent": hash_file(parent)}
    settings = {"history": history, **part.settings()}
    calls = len(candidates) * black_box.repeats
    if round_budget is not None and calls > round_budget:
        raise BudgetExhaustedError(
            f"round_budget is {round_budget}, and the {len(candidates)} candidates of {selected} take {calls} calls; raise it, or"
            " select fewer"
        )
    limits = [budget, None if round_budget is None else before.spent + round_budget]
    total = min((limit for limit in limits if limit is not None), default=None)
    Budget(black_box, total=total, spent=before.spent, batch_size=batch_size).require(len(candidates))
    count = rows.stop - rows.start
    by_hand = black_box if isinstance(black_box, Manual) else None
    if by_hand is not None and not part.whole:
        raise ConfigError(
            f"shard is {shard}, but {oracle} is manual: a plate is measured as a whole; leave --shard out"
        )
    program = program_facts(black_box, before.facts)
    with exclusive(out.parent, part.lock(out)):
        key = {"stage": "label", "inputs": inputs, "settings": settings}
        with (
            Journal(out.parent / f".{out.stem}.journal", key, domain.length) as journal,
            tqdm(
                total=count * black_box.repeats,
                desc=f"label {history}",
                unit="call",
                delay=3,
                mininterval=1,
                disable=None,
            ) as bar,
            Budget(
                black_box,
                total=total,
                spent=before.spent,
                journal=journal,
                batch_size=batch_size if by_hand is None else max(1, count),
                progress=bar.update,
            ) as score,
        ):
            if by_hand is not None:
                by_hand.place(out.parent, candidates.sequence, before.spent + np.arange(count), journal)
            labels = score.ask(candidates.sequence, rows=rows)
            if labels.failed.all() and count and by_hand is None:
                journal.forgive()
                raise OracleError(
                    f"all {count} sequences failed, the first with: {labels.message[0]}; mend the oracle, then run the same"
                    " command again: the calls stay counted"
                )
            meta = Meta(domain, inputs, settings, score.spent, labels.facts | program)
            label_table(labels, candidates.sequence[rows], meta, round_number(history), history).write(out)
            journal.finish(keep=isinstance(black_box, Streaming))
            if by_hand is not None:
                by_hand.done()
    if labels.failed.any():
        row = int(labels.failed.argmax())
        print(f"{int(labels.failed.sum())} of {count} sequences failed, the first with: {labels.message[row]}")


def label_table(labels: Labels, sequences: np.ndarray, meta: Meta, number: int, origin: str) -> Labeled:
    """The table of (N, L) sequences that an oracle was asked for in one round: labels, and what failed."""
    scored, failed = ~np.isnan(labels.score), labels.failed

    def column(rows: np.ndarray) -> dict[str, np.ndarray]:
        n = int(rows.sum())
        return {
            "sequence": sequences[rows],
            "query": labels.query[rows],
            "round": np.full(n, number, dtype=np.int32),
            "origin": np.full(n, origin, dtype=object),
        }

    return Labeled(
        meta=meta,
        score=labels.score[scored],
        measurements=labels.measurements[scored],
        failed=Failed(**column(failed), message=labels.message[failed]),
        **column(scored),
    )
