"""Scores proposals after the fact for the paper's Figs. 4-6, 12 and 13, on a budget of its own; nothing it finds out flows back.

The loop labels k proposals a round and never learns what the others were worth, which is what these figures show. Its counted
evaluations stay as they are: what is asked here is counted here, in a table of another kind that no stage of the loop accepts.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from tqdm import tqdm

from llome import paths
from llome.provenance import exclusive, hash_file, hash_json, write_json
from llome.reporting.analysis.facts import build_facts
from llome.reporting.analysis.rankings import compare_rankings
from llome.reporting.analysis.scored import Scored, match
from llome.reporting.lineage import check_lineage
from llome.scoring.budget import Budget
from llome.scoring.journal import Journal
from llome.scoring.oracle import load_oracle
from llome.tables import Labeled, Meta, Proposals, Selected, same_problem


def analyze(
    *,
    oracle: Path,
    history: str,
    labeled: list[Path],
    proposals: Path,
    selected: Path,
    out: Path,
    surrogate: Path | None = None,
    budget: int | None = None,
    batch_size: int = 250,
) -> None:
    """Score every distinct proposal of a round; writes scored.parquet and facts.json, for figures and for nothing else.

    Labels are taken over and not asked for again. An oracle with noise answers with noise, numbered from 0.

    Args:
        oracle: the oracle's JSON
        history: name of the round, such as sft2
        labeled: labelled tables from the seed's to this round's, in that order
        proposals: this round's proposals
        selected: this round's candidates
        out: folder to write to
        surrogate: the round's surrogate directory: what it, and LEON with it, would have chosen is told beside the likelihood's choice
        budget: most oracle calls of this analysis, which the experiment does not count; none: as many as it takes
        batch_size: sequences a call of the oracle; a kill repeats at most one such call
    """
    paths.parse_history(history)
    black_box = load_oracle(oracle)
    tables = [Labeled.read(path) for path in labeled]
    check_lineage(history, labeled, tables)
    proposed, chosen = Proposals.read(proposals), Selected.read(selected)
    domain = black_box.domain
    named = list(zip(map(str, labeled), tables, strict=True))
    same_problem(
        [
            (str(oracle), Meta(domain)),
            *((file, table.meta) for file, table in named),
            (str(proposals), proposed.meta),
            (str(selected), chosen.meta),
        ]
    )
    matched = match(named, (str(proposals), proposed), (str(selected), chosen))
    count = len(matched.new)
    inputs = {"oracle": hash_file(oracle), "proposals": hash_file(proposals), "selected": hash_file(selected)}
    inputs["labeled"] = hash_json([hash_file(path) for path in labeled])
    if surrogate is not None:
        inputs["surrogate"] = hash_file(surrogate)
    settings = {"history": history}
    Budget(black_box, total=budget, batch_size=batch_size).require(count)
    with exclusive(out):
        key = {"stage": "analyze", "inputs": inputs, "settings": settings}
        with (
            Journal(out / ".scored.journal", key, domain.length) as journal,
            tqdm(total=count, desc=f"analyze {history}", unit="call", delay=3, mininterval=1, disable=None) as bar,
        ):
            score = Budget(black_box, total=budget, journal=journal, batch_size=batch_size, progress=bar.update)
            answers = score(matched.new) if count else np.empty(0)
            scores = np.concatenate([matched.labeled, answers])
            distinct = matched.distinct
            reused = len(distinct) - count
            sequences = np.concatenate([*(table.sequence for table in tables), matched.new])
            facts = {"origin": "analysis", "reused": reused}
            meta = Meta(domain, inputs, settings, spent=score.spent, facts=facts)
            Scored(meta=meta, sequence=sequences[distinct], score=scores[distinct]).write(out / "scored.parquet")
            found = build_facts(proposed, matched, scores)
            if surrogate is not None:
                values = _rankings(surrogate, proposed, sequences[matched.pool], tables[:-1])
                found["rankings"] = compare_rankings(values, scores[matched.pool], len(chosen))
            known = {
                "history": history,
                "round": paths.round_number(history),
                "fingerprint": domain.fingerprint,
                "optimum": black_box.optimum,
                "spent": score.spent,
            }
            write_json(out / "facts.json", {**known, **facts, **found})
            journal.finish(keep=False)
    print(
        f"{len(distinct):,} distinct proposals, {reused:,} of them labelled, {count:,} scored for the figures alone: {out}"
    )


def _rankings(surrogate: Path, proposed: Proposals, pool: np.ndarray, labeled: list[Labeled]) -> dict[str, np.ndarray]:
    """What likelihood, surrogate and LEON (with its own settings) say of each of the `pool` (P, L), from what was labelled before."""
    from llome.leon.ranking import Ranking, best_of_equals
    from llome.leon.ranks import Leon

    written = proposed.take(proposed.parsed)
    ranking = Ranking.load(surrogate, labeled, proposed.meta.domain, Leon(), random_seed=0)
    found = dict.fromkeys(("likelihood", "surrogate", "leon"), written.logp_mean)
    if not ranking.reason:
        ranked = ranking.rank(written.sequence)
        found |= {"surrogate": ranked.predicted, "leon": ranked.score}
    return {name: best_of_equals(written.sequence, value, pool) for name, value in found.items()}
