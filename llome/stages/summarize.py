"""What one round did, counted from its tables: the JSON that later rounds and the report read.

Nothing is scored here and nothing is remembered from elsewhere: every count can be had again from the tables. Seconds come
from Snakemake's benchmark files, and are the one part that two honest runs do not share.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import numpy as np

from llome import paths, provenance
from llome.reporting.curves import mean_and_error, zero_infeasible
from llome.reporting.edits import original_scores, rewards
from llome.reporting.lineage import check_lineage
from llome.reporting.runs import read_optimum
from llome.seconds import SOMETIMES, STAGES, benchmark_seconds
from llome.tables import Labeled, Proposals, Selected, row_keys


def summarize(
    *,
    oracle: Path,
    history: str,
    labeled: list[Path],
    proposals: Path,
    selected: Path,
    model: Path,
    out: Path,
    benchmarks: Path | None = None,
) -> None:
    """Write the summary of a round and print it in one line.

    Means and mean regrets count an infeasible sequence as score 0, the convention of the paper's rewards (below Eq. 9);
    where nothing feasible has been found, the regret is the optimum itself. The reward of a label is measured from the
    original sequence of its trajectory.

    Args:
        oracle: The oracle's JSON; only its optimum and fingerprint are read.
        history: Name of the round, such as sft2.
        labeled: Labelled tables from the seed's to this round's, in that order.
        proposals: This round's proposals.
        selected: This round's candidates.
        model: This round's policy.
        out: The JSON file to write.
        benchmarks: Folder of Snakemake's train.tsv, refine.tsv, filter.tsv, label.tsv and surrogate.tsv; missing ones are left out.
    """
    from llome.policy.causal_lm import load_card

    with provenance.exclusive(out.parent):
        tables = [Labeled.read(path) for path in labeled]
        check_lineage(history, labeled, tables)
        proposed, chosen, card = Proposals.read(proposals), Selected.read(selected), load_card(model)
        named = list(zip(map(str, labeled), tables, strict=True))
        metas = [(name, table.meta) for name, table in named]
        optimum, _ = read_optimum(oracle, [*metas, (str(proposals), proposed.meta), (str(selected), chosen.meta)])
        original = original_scores(named[-1], (str(selected), chosen), (str(proposals), proposed), named[:-1])
        summary: dict[str, Any] = {
            "history": history,
            "round": paths.round_number(history),
            "objective": paths.objective(history),
            **count_proposals(proposed, tables[:-1]),
            "selected": len(chosen),
            **count_labels(tables, optimum),
            **count_rewards(rewards(original, tables[-1].score)),
            "train": card.facts,
            "seconds": _read_seconds(benchmarks),
            "versions": provenance.versions(),
        }
        _warn_of_mixed_versions(
            [*(t.meta.version for t in tables), proposed.meta.version, chosen.meta.version, card.version]
        )
        provenance.write_json(out, summary)
    print(describe(summary, out))


def count_proposals(proposals: Proposals, before: list[Labeled]) -> dict[str, Any]:
    """Counts of what the policy wrote: rows generated, those parsed, the unique ones among these, and the novel ones of them.

    Novel is what the tables `before` do not hold; `mean_hamming` is the mean share of positions that a parsed proposal
    changed in its source, None if none was parsed.
    """
    parsed, source = proposals.sequence[proposals.parsed], proposals.source[proposals.parsed]
    unique = np.unique(row_keys(parsed))
    known = np.isin(unique, np.concatenate([row_keys(t.sequence) for t in before]))
    return {
        "generated": len(proposals),
        "parsed": len(parsed),
        "unique": len(unique),
        "novel": int((~known).sum()),
        "mean_hamming": float((parsed != source).mean()) if len(parsed) else None,
    }


def count_labels(tables: list[Labeled], optimum: float | None) -> dict[str, Any]:
    """What the oracle said, `tables` running from the seed's to this round's; a score or regret nobody knows is None."""
    last = tables[-1]
    everything = np.concatenate([t.score for t in tables])
    mean, error = mean_and_error(zero_infeasible(last.score))
    best = _best(everything)
    return {
        "counted": last.meta.spent,
        "distinct": len(np.unique(row_keys(np.concatenate([t.sequence for t in tables])))),
        "feasible": int(np.isfinite(last.score).sum()),
        "best": best,
        "best_of_round": _best(last.score),
        "mean": mean,
        "regret": None if optimum is None else optimum - (best or 0.0),
        "mean_regret": None if optimum is None or mean is None else optimum - mean,
        "se_regret": None if optimum is None else error,
        "labeled": len(last),
    }


def count_rewards(gains: np.ndarray) -> dict[str, Any]:
    """What the (N,) rewards of a round's labels come to: mean, its standard error, maximum and how many are above 0.

    Mean and maximum are None where nothing is labelled, the error where there are fewer than two.
    """
    mean, error = mean_and_error(gains)
    return {
        "reward_mean": mean,
        "se_reward": error,
        "reward_max": float(gains.max()) if len(gains) else None,
        "improved": int(np.count_nonzero(gains)),
    }


def _best(scores: np.ndarray) -> float | None:
    best = scores.max(initial=-np.inf)
    return float(best) if np.isfinite(best) else None


def _read_seconds(benchmarks: Path | None) -> dict[str, float]:
    if benchmarks is None:
        return {}
    found = {stage: benchmark_seconds(benchmarks / f"{stage}.tsv") for stage in (*STAGES, *SOMETIMES)}
    return {stage: seconds for stage, seconds in found.items() if seconds is not None}


def _warn_of_mixed_versions(made_with: list[str]) -> None:
    mixed = sorted({*made_with, provenance.versions().get("llome", made_with[-1])})
    if len(mixed) > 1:
        print(
            f"warning: this round mixes files of llome {' and '.join(mixed)};"
            " delete the older rounds to have them made again",
            file=sys.stderr,
        )


def describe(summary: dict[str, Any], out: Path) -> str:
    """One line a person can follow; the replicate's name is read off `out` (r0/sft2/summary.json)."""
    replicate = out.resolve().parent.parent.name
    name = f"{replicate} {summary['history']}" if re.fullmatch(r"r\d+", replicate) else summary["history"]
    found = "nothing feasible yet" if summary["best"] is None else f"best {summary['best']:.3f}"
    regret = "" if summary["regret"] is None else f", regret {summary['regret']:.3f}"
    seconds = f"; {sum(summary['seconds'].values()):,.0f} s" if summary["seconds"] else ""
    return (
        f"{name}: {found}{regret} after {summary['counted']:,} evaluations;"
        f" {summary['feasible']:,} of {summary['labeled']:,} feasible{seconds}"
    )
