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
) -> None:
    """Fit an ensemble to the feasible labelled sequences.

    Args:
        labeled: every labelled table so far.
        out: surrogate directory to write.
        parent: surrogate of the round before, to go on from; without one the weights are drawn.
        random_seed: of the weights, and of the rows that each member sees.
        members: networks of the ensemble.
        filters: patterns that a member can tell apart.
        first_steps: optimiser steps without a parent.
        steps: optimiser steps with one.
        batch_size: sequences a member and step.
        learning_rate: peak learning rate (AdamW, linear decay).

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
    }
    for name in ("members", "filters", "first_steps", "steps", "batch_size"):
        if settings[name] < 1:
            raise ConfigError(f"{name} is {settings[name]}; it must be at least 1")
    if not 0 < learning_rate < float("inf"):
        raise ConfigError(f"learning_rate is {learning_rate}; it must be above 0")
    with exclusive(out.parent, ".surrogate.lock"):  # a round's policy is trained, and writes, at the same time
        from dataclasses import asdict

        import numpy as np

        from llome.surrogate.files import SurrogateCard, load_surrogate, save_surrogate
        from llome.surrogate.fitting import Target, fit, mean_score, rank_correlation, row_weights, seed_of
        from llome.surrogate.network import Ensemble
        from llome.surrogate.states import as_states, count_states
        from llome.tables import Labeled, Meta, same_problem

        tables = [Labeled.read(path) for path in labeled]
        named = [(str(path), table.meta) for path, table in zip(labeled, tables, strict=True)]
        ensemble = None
        facts: dict[str, float | None] = {}
        if parent is not None:
            ensemble, card = load_surrogate(parent)
            named.append((str(parent), Meta(card.domain)))
            if (card.members, card.filters) != (members, filters):
                raise ConfigError(
                    f"{parent} has {card.members} members of {card.filters} filters, not {members} of {filters};"
                    " keep these settings through all rounds of an experiment"
                )
        domain = same_problem(named)
        table_of = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
        sequence, score = (np.concatenate([getattr(t, name) for t in tables]) for name in ("sequence", "score"))
        feasible = np.isfinite(score)
        if not feasible.any():
            raise TableError(f"{labeled[-1]} and the tables before it hold no feasible sequence; label some first")
        sequence, score, table_of = as_states(sequence[feasible], domain), score[feasible], table_of[feasible]
        target = Target.of(score)
        errors = np.zeros(len(score))
        if ensemble is None:
            ensemble = Ensemble(
                count_states(domain),
                domain.length,
                members=members,
                filters=filters,
                random_seed=seed_of(random_seed, "weights"),
            )
        else:
            foreseen, newest = mean_score(ensemble, sequence), table_of == len(tables) - 1
            facts["foresight"] = rank_correlation(foreseen[newest], score[newest])
            errors = foreseen - target.standardise(score)
        error = fit(
            ensemble,
            sequence,
            score,
            row_weights(score, table_of, errors),
            target=target,
            steps=steps if parent is not None else first_steps,
            batch_size=batch_size,
            learning_rate=learning_rate,
            random_seed=seed_of(random_seed, "rows"),
        )
        if not np.isfinite(error):
            raise ConfigError(f"the error of the fit is {error} at learning_rate {learning_rate}; lower it")
        card = SurrogateCard(
            domain,
            members,
            filters,
            asdict(target),
            settings,
            {
                "labeled": hash_json([hash_file(path) for path in labeled]),
                "parent": None if parent is None else hash_file(parent),
            },
            {"rows": len(score), "error": error, **facts},
        )
        save_surrogate(out, ensemble, card)
        correlation = facts.get("foresight")
        said = "" if correlation is None else f", rank correlation {correlation:.2f} with the newest before it saw them"
        print(f"surrogate of {members} members on {len(score):,} labels{said}, error {error:.3g}: {out}")
