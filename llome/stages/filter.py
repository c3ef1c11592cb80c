"""Stage `filter`: which proposals go to the oracle (Algorithm 4, in the honest order: no label is seen, none is spent twice).

The paper's listing drops infeasible candidates before the budget is spent, which needs labels to spend labels. Here, as in the authors'
release, candidates are drawn first; the cap on infeasible sequences applies to the next round's training pairs.
With `rank` they are not drawn, but taken in the order of what a surrogate says they are worth (llome.leon.ranking); with `evolve` they
are evolved on a surrogate (llome.surrogate.evolution): neither is the paper's, and both find more.
"""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llome.errors import ConfigError, TableError
from llome.leon.ranks import Leon, Rank
from llome.provenance import exclusive, hash_file, hash_json
from llome.surrogate.settings import Evolution

if TYPE_CHECKING:
    import numpy as np

    from llome.domain import Domain
    from llome.tables import Labeled, Proposals


def filter_proposals(
    *,
    proposals: Path,
    labeled: list[Path],
    out: Path,
    random_seed: int = 0,
    k: int = 2000,
    likelihood_quantile: float = 0.6,
    surrogate: Path | None = None,
    evolve: Evolution | None = None,
    rank: Rank = "likelihood",
    leon: Leon | None = None,
    chance: float = 0.1,
    min_distance: int = 1,
) -> None:
    """Choose the proposals that go to the oracle.

    Proposals that were not parsed, break a limit on edits, are labelled already or have failed are dropped; of equal ones the
    likeliest stays; then those whose mean token likelihood is below the quantile are dropped, and k of the rest are drawn, or the
    best k by `rank` taken, or k sequences evolved from them. Limits hold between a proposal and its source, and between what evolves
    and the labelled sequence that it descends from. A policy that wrote nothing new leaves an empty table, unless something evolves:
    that is a result, and the last one of its chain.

    Args:
        proposals: proposals (Parquet) of the refinement.
        labeled: every labelled table so far; no sequence of theirs is selected, nor one that failed.
        out: selected candidates (Parquet) to write.
        random_seed: seed of the draw.
        k: candidates to select, the oracle calls of a round.
        likelihood_quantile: p_min as a quantile of the candidates' mean token likelihood; 0.6 keeps the top 40 %.
        surrogate: surrogate directory of `llome surrogate`, for `evolve` or `rank`.
        evolve: evolve the candidates on the surrogate in place of drawing them.
        rank: likelihood draws them, as the paper does; surrogate takes those that are worth most; leon those that are worth most and not
            too far from what is known, more of them where the policy is surer.
        leon: settings of `rank: leon`.
        chance: share of the k that is drawn from the rest, with `rank`.
        min_distance: substitutions (edits, where lengths differ) that candidates keep from each other where enough do, with `rank`.

    Raises:
        ConfigError: an impossible setting, or a surrogate and nothing to use it for, or the reverse.
        TableError: files of several oracles, or no feasible sequence to evolve from.
    """
    if k < 1:
        raise ConfigError(f"k is {k}; select at least 1 candidate a round")
    if not 0 <= likelihood_quantile < 1:
        raise ConfigError(f"likelihood_quantile is {likelihood_quantile}; it must be at least 0 and below 1")
    if not 0 <= chance <= 1:
        raise ConfigError(f"chance is {chance}; it is a share, from 0 to 1")
    if min_distance < 1:
        raise ConfigError(f"min_distance is {min_distance}; it must be at least 1")
    if evolve is not None and rank != "likelihood":
        raise ConfigError(f"evolve and rank: {rank} both say how candidates are chosen; give one of them")
    if (surrogate is None) != (evolve is None and rank == "likelihood"):
        raise ConfigError(
            "evolve needs a surrogate to search, and so does a rank other than likelihood; a surrogate is of no use without: give both"
            " (surrogate: in the experiment, evolve: or rank: in the YAML of filter), or neither"
        )
    with exclusive(out.parent):
        import numpy as np

        from llome.limits import keeps_limits
        from llome.tables import Labeled, Meta, Proposals, Selected, row_keys, same_problem

        table = Proposals.read(proposals)
        past = [Labeled.read(path) for path in labeled]
        domain = same_problem(
            [(str(proposals), table.meta), *((str(p), t.meta) for p, t in zip(labeled, past, strict=True))]
        )
        if evolve is not None:
            # a source has a label, whatever is made of the proposal
            table = replace(table, source=table.source[table.starts])
        parsed = table.take(table.parsed)
        within = parsed.take(keeps_limits(parsed.sequence, parsed.source, domain)) if domain.limited else parsed
        order = np.argsort(-within.logp_mean, kind="stable")
        unique = within.take(np.sort(order[np.unique(row_keys(within.sequence[order]), return_index=True)[1]]))
        known = np.concatenate([row_keys(t.asked) for t in past])
        novel = unique.take(~np.isin(row_keys(unique.sequence), known))
        counts = f"{len(table):,} proposals, {len(parsed):,} parsed, "
        if domain.limited:
            counts += f"{len(parsed) - len(within):,} beyond the limits, "
        counts += f"{len(unique):,} distinct, {len(novel):,} not yet labelled"
        threshold = float(np.quantile(novel.logp_mean, likelihood_quantile)) if len(novel) else None
        kept = novel if threshold is None else novel.take(novel.logp_mean >= threshold)
        settings: dict[str, Any] = {"k": k, "likelihood_quantile": likelihood_quantile, "random_seed": random_seed}
        inputs = {"proposals": hash_file(proposals), "labeled": hash_json([hash_file(path) for path in labeled])}
        facts: dict[str, Any] = {"beyond_limits": len(parsed) - len(within)} if domain.limited else {}
        facts |= {"unique": len(unique), "novel": len(novel), "candidates": len(kept), "threshold": threshold}
        if surrogate is None:
            rng = np.random.default_rng(random_seed)
            chosen = kept.take(np.sort(rng.choice(len(kept), size=min(k, len(kept)), replace=False)))
            columns = {name: getattr(chosen, name) for name in ("sequence", "source", "logp_mean")}
        elif evolve is None:
            settings |= {"rank": rank, "chance": chance, "min_distance": min_distance}
            if rank == "leon":
                leon = leon or Leon()
                settings["leon"] = asdict(leon)
            inputs["surrogate"] = hash_file(surrogate)
            chosen, parts = _ranked(
                surrogate,
                leon if rank == "leon" else None,
                parsed,
                kept,
                past,
                domain,
                k,
                chance,
                min_distance,
                random_seed,
            )
            columns = {name: getattr(chosen, name) for name in ("sequence", "source", "logp_mean")}
            facts.update(parts)
            counts += f", {parts['ranked']:,} by {rank}, {parts['drawn']:,} drawn"
            if "not_ranked" in parts:
                print(f"warning: {parts['not_ranked']}, so proposals are drawn as by likelihood")
        else:
            settings["evolve"], inputs["surrogate"] = asdict(evolve), hash_file(surrogate)
            columns, parts = _evolved(surrogate, evolve, kept, past, domain, k, random_seed)
            facts.update(parts)
            counts += (
                f", {parts['guided']:,} evolved ({parts['proposed']:,} as proposed), {parts['explored']:,} at random"
            )
        meta = Meta(domain, inputs, settings, spent=table.meta.spent, facts=facts)
        selected = Selected(meta=meta, **columns)
        selected.write(out)
        print(f"{counts}, {len(kept):,} likely enough, {len(selected):,} selected: {out}")
        if not len(selected):
            remedy = (
                "raise the temperatures or train on more pairs" if len(parsed) else "train longer, or set grammar: true"
            )
            print(f"warning: no candidate is left, so the chain of rounds ends here; to go on, {remedy}")
        elif len(selected) < k:
            print(f"warning: {len(selected):,} candidates instead of k = {k:,}; the round goes on with fewer labels")


def _ranked(
    surrogate: Path,
    leon: Leon | None,
    written: Proposals,
    kept: Proposals,
    labeled: list[Labeled],
    domain: Domain,
    count: int,
    chance: float,
    min_distance: int,
    random_seed: int,
) -> tuple[Proposals, dict[str, Any]]:
    """What is worth most among the `kept`, the rest of the `count` drawn, and how they were ranked.

    How sure the policy is, is told from all that it has `written`, repeats and labelled ones too.
    """
    import numpy as np

    from llome.leon.ranking import Ranking, best_of_equals, spread_out

    ranking = Ranking.load(surrogate, labeled, domain, leon, random_seed=random_seed)
    rng = np.random.default_rng(random_seed)
    first = np.empty(0, dtype=np.int64)
    facts: dict[str, Any] = {"not_ranked": ranking.reason} if ranking.reason else {}
    if not ranking.reason and len(kept):
        ranked = ranking.rank(written.sequence)
        facts |= ranked.facts
        # of equal proposals the best score stands for all, so the order within the table does not matter
        best = best_of_equals(written.sequence, ranked.score, kept.sequence)
        wanted = min(count - round(chance * count), len(kept))
        first = spread_out(np.argsort(-best, kind="stable"), kept.sequence, wanted, min_distance, domain)
    rest = np.setdiff1d(np.arange(len(kept)), first)
    drawn = rng.choice(rest, size=min(count - len(first), len(rest)), replace=False)
    facts |= {"ranked": len(first), "drawn": len(drawn)}
    return kept.take(np.sort(np.concatenate([first, drawn]))), facts


def _evolved(
    surrogate: Path,
    evolve: Evolution,
    proposals: Proposals,
    labeled: list[Labeled],
    domain: Domain,
    count: int,
    random_seed: int,
) -> tuple[dict[str, np.ndarray], dict[str, int]]:
    """The columns of what evolves on the surrogate, and how many each part of the search gave.

    A sequence's source is the labelled one that it descends from; the likelihood of those that are no proposal is NaN: nobody asked.
    """
    import numpy as np

    from llome.surrogate.evolution import candidates
    from llome.surrogate.files import load_surrogate
    from llome.surrogate.known import Known
    from llome.surrogate.states import as_sequences, as_states, count_states
    from llome.surrogate.variation import Pool
    from llome.tables import Meta, best_rows, row_keys, same_problem

    ensemble, card = load_surrogate(surrogate)
    same_problem([(str(surrogate), Meta(card.domain)), ("the proposals", Meta(domain))])
    sequence, score, query = (
        np.concatenate([getattr(t, name) for t in labeled]) for name in ("sequence", "score", "query")
    )
    order = best_rows(score, query, len(score))
    known = Known.of(as_states(sequence[order], domain), score[order], count_states(domain), domain)
    failed = [row_keys(as_states(t.failed.sequence, domain)) for t in labeled]
    known = replace(known, labeled=np.concatenate([known.labeled, *failed]))
    if not len(known.pool):
        raise TableError("no labelled sequence is feasible, so there is nothing to evolve from; leave evolve out")
    pool = Pool(as_states(proposals.sequence, domain), as_states(proposals.source, domain))
    chosen, parts = candidates(
        ensemble, evolve, known, pool, count, num_states=domain.num_states, random_seed=random_seed
    )
    found, sources = (as_sequences(states, domain) for states in (chosen.sequences, chosen.sources))
    likelihood = dict(zip(row_keys(proposals.sequence).tolist(), proposals.logp_mean.tolist(), strict=True))
    logp_mean = np.array([likelihood.get(key, np.nan) for key in row_keys(found).tolist()])
    return {"sequence": found, "source": sources, "logp_mean": logp_mean}, parts
