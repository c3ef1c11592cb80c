"""The best sequences of a run, in the letters of their alphabet and with scores in people's own sense: what a search is made for."""

from __future__ import annotations

import numpy as np

from llome.reporting.runs import Run
from llome.tables import Labeled, best_rows, row_keys

COUNT = 10


def best_sequences(run: Run, count: int = COUNT) -> list[tuple[str, float, str]]:
    """At most `count` different feasible sequences, the best first, of equals those labelled first: text, score, where it was labelled.

    The genetic algorithms beside the method are left out, unless the run is nothing else.
    """
    places: list[str] = []
    tables: list[Labeled] = []
    for replicate in run.replicates:
        own = {"seed": replicate.seed, **{name: entry.labeled for name, entry in replicate.rounds.items()}}
        if not run.schedules and replicate.ga is not None:
            own["ga"] = replicate.ga
        places += [f"r{replicate.number} {name}" for name in own]
        tables += own.values()
    if not tables:
        return []
    sequence, score, query = (
        np.concatenate([getattr(t, name) for t in tables]) for name in ("sequence", "score", "query")
    )
    place = np.repeat(np.arange(len(tables)), [len(t) for t in tables])
    order = best_rows(score, query, len(score))
    order = order[np.isfinite(score[order])]
    first = np.sort(np.unique(row_keys(sequence[order]), return_index=True)[1])[:count]
    rows = order[first]
    sign = 1.0 if run.domain.maximize else -1.0
    texts = run.domain.alphabet.decode(sequence[rows])
    return [
        (text, sign * value, places[at])
        for text, value, at in zip(texts, score[rows].tolist(), place[rows].tolist(), strict=True)
    ]


def best_cells(run: Run) -> list[list[str]]:
    """The table of them."""
    return [
        ["sequence", "score", "labelled in"],
        *([text, f"{score:.6g}", where] for text, score, where in best_sequences(run)),
    ]


def best_lines(run: Run) -> list[str]:
    """The best one, and the command that writes them all, a line each; none where none is feasible."""
    found = best_sequences(run, 1)
    if not found:
        return []
    ((text, score, where),) = found
    tables = run.layout.root / "r*" / "*" / "labeled.parquet"
    return [f"best: {text} ({score:.6g}, {where})", f"all, best first: llome export --table {tables} --out best.csv"]
