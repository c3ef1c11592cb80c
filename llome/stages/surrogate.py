"""Stage `surrogate`: networks that predict scores, fitted to the labels so far; `llome filter` searches them. Sees no oracle."""

from __future__ import annotations

from pathlib import Path

from llome.errors import ConfigError, TableError
from llome.provenance import exclusive, hash_file, hash_json


def surrogate(
    *,
    labeled: list[Path],
    out: Path,
    parent: Path | None = None,
    random_seed: int = 0,
    members: int = 4,
    filters: int = 64,
    first_steps: int = 400,
    steps: int = 120,
    batch_size: int = 128,
    learning_rate: float = 3e-3,
    feasibility: bool = False,
    held_out: float = 0.0,
) -> None:
    """Fit an ensemble to the feasible labelled sequences, and to all of them where it learns what is feasible.

    Args:
        labeled: every labelled table so far.
        out: surrogate directory to write.
        parent: surrogate of the round before, to go on from; without one, or where labels are held out, which it has seen, the weights
            are drawn.
        random_seed: of the weights, and of the rows that each member sees.
        members: networks of the ensemble.
        filters: patterns that a member can tell apart.
        first_steps: optimiser steps where the weights are drawn.
        steps: optimiser steps where they are a parent's.
        batch_size: sequences a member and step.
        learning_rate: peak learning rate (AdamW, linear decay).
        feasibility: learn which sequences are feasible as well, for `rank` of refine and filter.
        held_out: share of the labels, whole clusters, that the fit does not see: it stops where they are foreseen best, they calibrate the
            members' spread, and half of them say how good the ranks are.

    Raises:
        ConfigError: an impossible setting, a parent of another shape, or a fit that diverges.
        TableError: tables or a parent of another oracle.
    """
    settings = {
        "members": members,
        "filters": filters,
        "first_steps": first_steps,
        "steps": steps,
        "batch_size": batch_size,
        "learning_rate": learning_rate,
        "random_seed": random_seed,
        # so that a surrogate fitted before these settings existed is still the one of its settings
        **({"feasibility": feasibility} if feasibility else {}),
        **({"held_out": held_out} if held_out else {}),
    }
    for name in ("members", "filters", "first_steps", "steps", "batch_size"):
        if settings[name] < 1:
            raise ConfigError(f"{name} is {settings[name]}; it must be at least 1")
    if not 0 < learning_rate < float("inf"):
        raise ConfigError(f"learning_rate is {learning_rate}; it must be above 0")
    if not 0 <= held_out < 1:
        raise ConfigError(f"held_out is {held_out}; it is a share, from 0 to below 1")
    with exclusive(out.parent, ".surrogate.lock"):  # a round's policy is trained, and writes, at the same time
        from dataclasses import asdict

        import numpy as np

        from llome.surrogate.files import SurrogateCard, load_surrogate, save_surrogate
        from llome.surrogate.holding import cells
        from llome.surrogate.judging import fit_predictor
        from llome.surrogate.network import Ensemble
        from llome.surrogate.states import as_states, count_states
        from llome.surrogate.targets import Target, mean_score, rank_correlation, row_weights, seed_of
        from llome.tables import Labeled, Meta, same_problem

        tables = [Labeled.read(path) for path in labeled]
        named = [(str(path), table.meta) for path, table in zip(labeled, tables, strict=True)]
        before = None
        facts: dict[str, float | None] = {}
        if parent is not None:
            before, card = load_surrogate(parent)
            named.append((str(parent), Meta(card.domain)))
            if (card.members, card.filters) != (members, filters):
                raise ConfigError(
                    f"{parent} has {card.members} members of {card.filters} filters, not {members} of {filters};"
                    " keep these settings through all rounds of an experiment"
                )
            if card.outputs != 1 + feasibility:
                raise ConfigError(
                    f"{parent} was fitted with feasibility: {str(card.outputs > 1).lower()}, not {str(feasibility).lower()};"
                    " keep it through all rounds of an experiment"
                )
        domain = same_problem(named)
        table_of = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        sequence, score = (np.concatenate([getattr(t, name) for t in tables]) for name in ("sequence", "score"))
        feasible = np.isfinite(score)
        if not feasible.any():
            raise TableError(f"{labeled[-1]} and the tables before it hold no feasible sequence; label some first")
        if not feasibility:
            sequence, score, table_of, feasible = (part[feasible] for part in (sequence, score, table_of, feasible))
        sequence = as_states(sequence, domain)
        errors = np.zeros(int(feasible.sum()))
        if before is not None:
            foreseen, newest = mean_score(before, sequence[feasible]), table_of[feasible] == len(tables) - 1
            facts["foresight"] = rank_correlation(foreseen[newest], score[feasible][newest])
            errors = foreseen - Target.of(score[feasible]).standardise(score[feasible])
        weights = np.full(len(score), 1 / len(score))
        weights[feasible] = feasible.mean() * row_weights(score[feasible], table_of[feasible], errors)
        going_on = before is not None and not held_out
        ensemble = before
        if ensemble is None or not going_on:
            ensemble = Ensemble(
                count_states(domain),
                domain.length,
                members=members,
                filters=filters,
                random_seed=seed_of(random_seed, "weights"),
                outputs=1 + feasibility,
            )
        predictor, found = fit_predictor(
            ensemble,
            sequence,
            score,
            weights,
            cells(sequence, random_seed=random_seed) if held_out else np.zeros(len(score), dtype=np.int64),
            held_out=held_out,
            steps=steps if going_on else first_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            random_seed=seed_of(random_seed, "rows"),
        )
        error = found["error"]
        if error is None or not np.isfinite(error):
            raise ConfigError(f"the error of the fit is {error} at learning_rate {learning_rate}; lower it")
        card = SurrogateCard(
            domain,
            members,
            filters,
            asdict(predictor.target),
            settings,
            {
                "labeled": hash_json([hash_file(path) for path in labeled]),
                "parent": None if parent is None else hash_file(parent),
            },
            found | facts,
            outputs=1 + feasibility,
            calibration=asdict(predictor.calibration),
            lowest=predictor.lowest,
        )
        save_surrogate(out, ensemble, card)
        correlation, judged = facts.get("foresight"), found.get("rank_correlation")
        said = "" if correlation is None else f", rank correlation {correlation:.2f} with the newest before it saw them"
        said += "" if judged is None else f", {judged:.2f} with clusters held out"
        print(f"surrogate of {members} members on {len(score):,} labels{said}, error {error:.3g}: {out}")
