"""What a run over contexts leaves: a row a context, a line a proposal, and totals."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

Found = Sequence[Mapping[str, Any]]
"""Outcomes of contexts (llome.leon.outcome) as JSON, each with its `context`."""
Prices = tuple[float, float] | None
"""Of a token in and out."""


def table_of(
    found: Found, names: Sequence[str], prices: Prices, outcomes: Sequence[float | None] | None
) -> dict[str, list[Any]]:
    """Columns of the table of designs; empty where a context has none.

    `score` is mu (f_hat + lambda c*), `predicted` f_hat in standard deviations of the outcomes over a known design, `source` c*.
    """
    best = [one["best"] for one in found]
    table: dict[str, list[Any]] = {"context": [one["context"] for one in found]}
    table |= {name: [None if b is None else b["design"][name] for b in best] for name in names}
    table["score"] = [None if b is None else b["mu"] * b["worth"] for b in best]
    for part in ("predicted", "source", "mu"):
        table[part] = [None if b is None else b[part] for b in best]
    table["lambda"] = [one["batches"][-1]["lambda_"] if one["batches"] else 0.0 for one in found]
    for count in ("queries", "calls", "tokens_in", "tokens_out"):
        table[count] = [one[count] for one in found]
    if prices is not None:
        table["cost"] = [_cost(one, prices) for one in found]
    table["stopped"] = [one["stopped"] for one in found]
    if outcomes is not None:
        table["outcome"] = list(outcomes)
    return table


def history_lines(found: Found) -> Iterator[dict[str, Any]]:
    """Every proposal, in the order of contexts and batches, with all that its score is made of."""
    for one in found:
        for proposal in one["history"]:
            score = proposal["mu"] * proposal["worth"]
            yield {"context": one["context"], **proposal, "score": score}


def totals(found: Found, prices: Prices, statement: Mapping[str, Any]) -> dict[str, Any]:
    """Sums over contexts, the calls for prior knowledge among them; what stood in for what could not be done, and how often."""
    batches = [batch for one in found for batch in one["batches"]]
    notes = Counter(note.partition(":")[0] for batch in batches for note in batch["notes"])
    counted = {
        name: sum(one[name] for one in found) + statement.get(name, 0) for name in ("calls", "tokens_in", "tokens_out")
    }
    known = [batch["distance"] for batch in batches if batch["distance"] is not None]
    return {
        "contexts": len(found),
        "without_design": sum(one["best"] is None for one in found),
        "queries": sum(one["queries"] for one in found),
        **counted,
        **({} if prices is None else {"cost": _cost(counted, prices)}),
        "malformed": sum(batch["malformed"] for batch in batches),
        "batches": len(batches),
        "distance": sum(known) / len(known) if known else None,
        "mu": sum(batch["mu"] for batch in batches) / len(batches) if batches else None,
        "stopped": dict(sorted(Counter(one["stopped"] for one in found).items())),
        "notes": dict(sorted(notes.items())),
    }


def _cost(counted: Mapping[str, Any], prices: tuple[float, float]) -> float:
    return round(counted["tokens_in"] * prices[0] + counted["tokens_out"] * prices[1], 9)
