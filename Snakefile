"""seed -> [train -> refine -> filter -> label -> summarize] x rounds -> report, for every schedule and replicate.

    snakemake --cores 2 --configfile configs/experiments/demo.yaml

A round is named by the history that led to it, so schedules that begin alike share those rounds. Settings live in the YAML
of each stage, which is an input of its rule. Chains of rounds are walked through the checkpoint `summarize`, side by side,
and end early at regret 0 or a spent budget. Profile: profiles/default.
"""

import os
import shlex
import sys
import time
from pathlib import Path

import yaml

from llome import paths
from llome.errors import LlomeError
from llome.experiment import check_experiment
from llome.search import read_grid

try:
    if not config:
        raise LlomeError("no experiment given; add --configfile configs/experiments/demo.yaml")
    EXPERIMENT = check_experiment(config, ", ".join(map(str, workflow.configfiles)))
except LlomeError as err:
    print(f"error: {err}", file=sys.stderr)
    sys.exit(2)

# Stages are the llome of this environment, and end when this process does, however that ends.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
os.environ.update(PATH=PATH, LLOME_WORKFLOW_PID=str(os.getpid()))
# Sums depend on how many threads share them: as many on every machine, whatever --cores says, so that the bytes agree.
shell.prefix("export OMP_NUM_THREADS=2 MKL_NUM_THREADS=2 MKL_DYNAMIC=FALSE; ")


include: "rules/lineage.smk"


# Built from containers/; used only with --software-deployment-method apptainer.
container: "containers/llome.sif"


STARTED = time.time()
SUMMARY = LAYOUT.report / "summary.txt"


# The last words of a run that drew the report.
onsuccess:
    if SUMMARY.is_file() and SUMMARY.stat().st_mtime >= STARTED:
        print(SUMMARY.read_text(), end="")


wildcard_constraints:
    rep=r"\d+",
    objective=r"[a-z]+",
    point=r"\d+",
    history=r"[a-z]+[1-9]\d*(-[a-z]+[1-9]\d*)*",


rule report:
    input:
        experiment=LAYOUT.root / "experiment.yaml",
        chains=[
            LAYOUT.replicate(rep) / "chains" / f"{history}.txt"
            for rep in range(EXPERIMENT.replicates)
            for history in EXPERIMENT.histories
        ],
        ga=[LAYOUT.round(rep, "ga") / "labeled.parquet" for rep in range(EXPERIMENT.replicates)],
    output:
        LAYOUT.report / "report.html",
    log:
        LAYOUT.root / "logs" / "report.log",
    message:
        "drawing the report"
    shell:
        "llome report --experiment {input.experiment:q} > {log:q} 2>&1"


include: "rules/search.smk"
include: "rules/round.smk"
include: "rules/analyze.smk"


rule chain:
    input:
        summaries=chain_summaries,
        analyses=chain_analyses,
    output:
        LAYOUT.replicate("{rep}") / "chains" / "{history}.txt",
    log:
        LAYOUT.replicate("{rep}") / "chains" / "{history}.log",
    message:
        "r{wildcards.rep} {wildcards.history}: the chain of rounds is complete"
    shell:
        "printf '%s\\n' {input.summaries:q} > {output:q} 2> {log:q}"


rule experiment:
    output:
        LAYOUT.root / "experiment.yaml",
    log:
        LAYOUT.root / "logs" / "experiment.log",
    params:
        text=yaml.safe_dump(EXPERIMENT.as_dict(), sort_keys=False),
    message:
        "writing down the experiment"
    shell:
        "printf '%s' {params.text:q} > {output:q} 2> {log:q}"


rule oracle:
    input:
        EXPERIMENT.oracle,
    output:
        LAYOUT.oracle,
    log:
        LAYOUT.root / "logs" / "oracle.log",
    message:
        "drawing the oracle of {input}"
    shell:
        "llome oracle --spec {input:q} --out {output:q} > {log:q} 2>&1"


rule seed:
    input:
        config=EXPERIMENT.seed,
        oracle=LAYOUT.oracle,
    output:
        SEED / "labeled.parquet",
        SEED / "population.json",
    log:
        SEED / "logs" / "seed.log",
    benchmark:
        SEED / "benchmarks" / "seed.tsv"
    params:
        out=subpath(output[0], parent=True),
        seed=stage_seed("seed"),
    message:
        "r{wildcards.rep} seed: labelling the first sequences with the genetic algorithm"
    shell:
        "llome seed --config {input.config:q} --oracle {input.oracle:q} --out {params.out:q}"
        " --random_seed {params.seed} > {log:q} 2>&1"


rule baseline:
    input:
        config=EXPERIMENT.seed,
        oracle=LAYOUT.oracle,
        labeled=SEED / "labeled.parquet",
        population=SEED / "population.json",
    output:
        GA / "labeled.parquet",
        GA / "population.json",
    log:
        GA / "logs" / "seed.log",
    benchmark:
        GA / "benchmarks" / "seed.tsv"
    params:
        resume=subpath(input.labeled, parent=True),
        out=subpath(output[0], parent=True),
        rounds=EXPERIMENT.baseline_rounds,
        seed=stage_seed("seed"),
    message:
        "r{wildcards.rep} ga: carrying the genetic algorithm on to {params.rounds} rounds"
    shell:
        "llome seed --config {input.config:q} --oracle {input.oracle:q} --out {params.out:q}"
        " --resume_from {params.resume:q} --rounds {params.rounds} --random_seed {params.seed} > {log:q} 2>&1"


rule base:
    input:
        config=EXPERIMENT.base,
        labeled=SEED / "labeled.parquet",
    output:
        BASE / "model" / "llome.json",
    log:
        BASE / "logs" / "base.log",
    benchmark:
        BASE / "benchmarks" / "base.tsv"
    threads: 2
    params:
        out=subpath(output[0], parent=True),
        seed=stage_seed("base"),
    message:
        "r{wildcards.rep} base: making the starting policy"
    shell:
        "llome base --config {input.config:q} --labeled {input.labeled:q} --out {params.out:q}"
        " --random_seed {params.seed} > {log:q} 2>&1"
