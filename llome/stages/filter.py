"""Stage `filter`: which proposals go to the oracle (Algorithm 4, in the honest order: no label is seen, none is spent twice).

The paper's listing drops infeasible candidates before the budget is spent, which needs labels to spend labels. Here, as in the authors'
release, candidates are drawn first; the cap on infeasible sequences applies to the next round's training pairs.
"""

from __future__ import annotations

from pathlib import Path

from llome.errors import ConfigError
from llome.provenance import exclusive, hash_file, hash_json


def filter_proposals(
    *,
    proposals: Path,
    labeled: list[Path],
    out: Path,
    random_seed: int = 0,
    k: int = 2000,
    likelihood_quantile: float = 0.6,
) -> None:
    """Choose the proposals that go to the oracle.

    Proposals that were not parsed or are labelled already are dropped; of equal ones the likeliest stays; then those whose mean token
    likelihood is below the quantile are dropped, and k of the rest are drawn. A policy that wrote nothing new leaves an empty table:
    that is a result, and the last one of its chain.

    Args:
        proposals: proposals (Parquet) of the refinement.
        labeled: every labelled table so far; no sequence of theirs is selected.
        out: selected candidates (Parquet) to write.
        random_seed: seed of the draw.
        k: candidates to select, the oracle calls of a round.
        likelihood_quantile: p_min as a quantile of the candidates' mean token likelihood; 0.6 keeps the top 40 %.

    Raises:
        ConfigError: an impossible setting.
    """
    if k < 1:
        raise ConfigError(f"k is {k}; select at least 1 candidate a round")
    if not 0 <= likelihood_quantile < 1:
        raise ConfigError(f"likelihood_quantile is {likelihood_quantile}; it must be at least 0 and below 1")
    with exclusive(out.parent):
        import numpy as np

        from llome.tables import Labeled, Meta, Proposals, Selected, row_keys, same_problem

        table = Proposals.read(proposals)
        past = [Labeled.read(path) for path in labeled]
        domain = same_problem(
            [(str(proposals), table.meta), *((str(p), t.meta) for p, t in zip(labeled, past, strict=True))]
        )
        parsed = table.take(table.parsed)
        order = np.argsort(-parsed.logp_mean, kind="stable")
        unique = parsed.take(np.sort(order[np.unique(row_keys(parsed.sequence[order]), return_index=True)[1]]))
        known = np.concatenate([row_keys(t.sequence) for t in past])
        novel = unique.take(~np.isin(row_keys(unique.sequence), known))
        counts = f"{len(table):,} proposals, {len(parsed):,} parsed, {len(unique):,} distinct, {len(novel):,} not yet labelled"
        threshold = float(np.quantile(novel.logp_mean, likelihood_quantile)) if len(novel) else None
        kept = novel if threshold is None else novel.take(novel.logp_mean >= threshold)
        rng = np.random.default_rng(random_seed)
        chosen = kept.take(np.sort(rng.choice(len(kept), size=min(k, len(kept)), replace=False)))
        settings = {"k": k, "likelihood_quantile": likelihood_quantile, "random_seed": random_seed}
        inputs = {"proposals": hash_file(proposals), "labeled": hash_json([hash_file(path) for path in labeled])}
        facts = {"unique": len(unique), "novel": len(novel), "candidates": len(kept), "threshold": threshold}
        meta = Meta(domain, inputs, settings, spent=table.meta.spent, facts=facts)
        Selected(meta=meta, sequence=chosen.sequence, source=chosen.source, logp_mean=chosen.logp_mean).write(out)
        print(f"{counts}, {len(kept):,} likely enough, {len(chosen):,} selected: {out}")
        if not len(chosen):
            remedy = (
                "raise the temperatures or train on more pairs" if len(parsed) else "train longer, or set grammar: true"
            )
            print(f"warning: no candidate is left, so the chain of rounds ends here; to go on, {remedy}")
        elif len(chosen) < k:
            print(f"warning: {len(chosen):,} candidates instead of k = {k:,}; the round goes on with fewer labels")
