"""What a ranking costs: rounds by LEON and by likelihood through snakemake, side by side, a core each, as `make ranking` measures them.

    python -m benchmarks.ranking ../docs/ranking_cost.csv     (in tests/, a quarter of an hour on two cores)

The function is one on which the policy is quickest, so that a ranking is the largest part of a round. Machines differ by a tenth from one
minute to the next: so the two run at the same time, and change cores after each pair. On a core of its own a chain does one thing after
the other; with two, the surrogate is fitted while the policy is trained.
"""

from __future__ import annotations

import csv
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from llome.paths import Layout, lineage, schedule_history
from llome.provenance import replacing
from llome.variants import expand_variants

ROOT = Path(__file__).parents[2]
RANKINGS = ("likelihood", "leon")


def laptop(function: str = "v32_l32_c4_k4_q4", rounds: int = 5) -> dict[str, dict[str, Any]]:
    """The two experiments, by ranking: variants of laptop/ranking.yaml, of some rounds and without the analysis."""
    file = ROOT / "configs" / "experiments" / "laptop" / "ranking.yaml"
    variants = expand_variants(yaml.safe_load(file.read_text()), str(file))
    shorter = {"schedules": [[{"sft": rounds}]], "analyze": False}
    alone = {ranking: variants[f"{function}_{ranking}"] | shorter for ranking in RANKINGS}
    del alone["likelihood"]["surrogate"]  # a variant may leave unused what others need, an experiment may not
    return alone


def run_pair(experiments: Mapping[str, Mapping[str, Any]], cores: list[int], folder: Path) -> dict[str, float]:
    """Seconds a round of each ranking, from the first round's labels to the last one's, each run anew on a core of its own."""
    runs = {}
    for (ranking, settings), core in zip(experiments.items(), cores, strict=True):
        name = f"ranking_cost_{ranking}"
        file = folder / "results" / f"{name}.yaml"
        shutil.rmtree(folder / "results" / name, ignore_errors=True)
        file.parent.mkdir(exist_ok=True)
        file.write_text(yaml.safe_dump({**settings, "name": name, "variant": None}))
        words = [sys.executable, "-m", "snakemake", "--cores", "1", "--configfile", str(file)]
        with open(file.with_suffix(".log"), "w") as log:
            runs[ranking] = subprocess.Popen(["taskset", "-c", str(core), *words], cwd=folder, stdout=log, stderr=log)
    if any([run.wait() for run in runs.values()]):
        raise RuntimeError(f"a run has failed; see {folder}/results/ranking_cost_*.log")
    found = {}
    for ranking, settings in experiments.items():
        layout = Layout(str(folder / "results"), f"ranking_cost_{ranking}")
        history = lineage(schedule_history(settings["schedules"][0]))
        first, last = (
            (layout.round(0, name) / "labeled.parquet").stat().st_mtime for name in (history[0], history[-1])
        )
        found[ranking] = (last - first) / (len(history) - 1)
    return found


def main(
    out: str, pairs: str = "12", experiments: Mapping[str, Mapping[str, Any]] | None = None, folder: Path = ROOT
) -> None:
    """Run the pairs, print what each took, and write them to the CSV `out`."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("error: the two rankings run side by side, and this machine has one core")
    rows = []
    for pair in range(int(pairs)):
        took = run_pair(experiments or laptop(), cores[::-1] if pair % 2 else cores, folder)
        rows.append({"pair": pair + 1, **took, "share": 1 - took["likelihood"] / took["leon"]})
        print(f"pair {pair + 1}: ", ", ".join(f"{took[ranking]:.2f} s by {ranking}" for ranking in RANKINGS), end="")
        print(f": {rows[-1]['share']:.1%} of a round", flush=True)
    shares = np.array([row["share"] for row in rows])
    error = f" ± {2 * shares.std(ddof=1) / len(shares) ** 0.5:.1%}" if len(shares) > 1 else ""
    print(f"a ranking by LEON is {shares.mean():.1%}{error} of a round (two standard errors)")
    with replacing(Path(out)) as temporary, open(temporary, "w", newline="") as file:
        writer = csv.DictWriter(file, ["pair", *RANKINGS, "share"], lineterminator="\n")
        writer.writeheader()
        writer.writerows(
            {"pair": row["pair"], **{name: f"{row[name]:.3f}" for name in (*RANKINGS, "share")}} for row in rows
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
