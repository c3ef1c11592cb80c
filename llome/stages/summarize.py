"""What one round did, counted from its tables: the JSON that later rounds and the report read.

Nothing is scored here and nothing is remembered from elsewhere: every count can be had again from the tables. Seconds come
from Snakemake's benchmark files; they, and what made the round's files (llome.machine), are the parts that two honest runs do not share.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from llome import paths, provenance
from llome.machine import made_by, records
from llome.reporting.counts import count_labels, count_proposals, count_rewards
from llome.reporting.edits import original_scores, rewards
from llome.reporting.lineage import check_lineage
from llome.reporting.runs import read_optimum
from llome.seconds import SOMETIMES, STAGES, benchmark_seconds
from llome.tables import Labeled, Proposals, Selected


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
            "made_by": records(out.parent) | {"summarize": made_by()},
        }
        _warn_of_mixed_versions(
            [*(t.meta.version for t in tables), proposed.meta.version, chosen.meta.version, card.version]
        )
        provenance.write_json(out, summary)
    print(describe(summary, out))


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
    failed = f", {summary['failed']:,} failed" if "failed" in summary else ""
    return (
        f"{name}: {found}{regret} after {summary['counted']:,} evaluations;"
        f" {summary['feasible']:,} of {summary['labeled']:,} feasible{failed}{seconds}"
    )
