"""seed -> [train -> refine -> filter -> label -> summarize] x rounds -> report, for every schedule and replicate.

    snakemake --cores 2 --configfile configs/experiments/demo.yaml

A round is named by the history that led to it, so schedules that begin alike share those rounds. Settings live in the YAML
of each stage, which is an input of its rule. Chains of rounds are walked through the checkpoint `summarize`, side by side,
and end early at regret 0, a spent budget or used-up hours. A `run` is the experiment's name, or name/variant for each of its
variants, and the folder of its results; runs share nothing and go side by side. Profile: profiles/default.
"""

import difflib
import gc
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml
from snakemake.settings.types import DeploymentMethod

from llome import paths
from llome.errors import LlomeError
from llome.experiment import check_experiments
from llome.needs import Needs
from llome.provenance import exclusive
from llome.search import read_grid
from llome.variants import SHARED

IMAGE = "containers/llome.sif"  # used only with --software-deployment-method apptainer

try:
    if not config:
        raise LlomeError("no experiment given; add --configfile configs/experiments/demo.yaml")
    EXPERIMENTS = check_experiments(config, ", ".join(map(str, workflow.configfiles)))
    if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method and not Path(IMAGE).is_file():
        raise LlomeError(f"there is no image {IMAGE}; build it with make sif, or leave out apptainer to run without it")
except LlomeError as err:
    print(f"error: {err}", file=sys.stderr)
    sys.exit(2)

# The plan of a large experiment is millions of objects and no garbage: looking for some as often as usual takes a quarter of its time.
gc.set_threshold(50_000)
# Stages are the llome of this environment, and end when this process does, however that ends.
PATH = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # a cluster's warning before a time limit is training's to answer
os.environ.update(PATH=PATH, LLOME_WORKFLOW_PID=str(os.getpid()))
# Sums depend on how many threads share them, as many on every machine, whatever --cores says, so that the bytes agree; and, but for
# MKL's reproducible mode, they may depend on which thread is ready first.
THREADS = next(iter(EXPERIMENTS.values())).threads or 2  # the same in all variants
SHARDS = next(iter(EXPERIMENTS.values())).shards
SUMS = {"OMP_NUM_THREADS": str(THREADS), "MKL_NUM_THREADS": str(THREADS), "MKL_DYNAMIC": "FALSE", "MKL_CBWR": "AUTO"}
shell.prefix(f"export {' '.join(f'{name}={value}' for name, value in SUMS.items())}; ")


include: "rules/lineage.smk"
include: "rules/ends.smk"
include: "rules/needs.smk"


container: IMAGE


# On the machine that snakemake is called on, also where the others are a cluster's jobs: these take seconds.
localrules:
    all,
    tune,
    report,
    chain,
    experiment,
    oracle,
    point,
    choose,
    summarize,


STARTED = time.time()


# One run at a time in a folder of results; the kernel drops the lock with this process.
onstart:
    hold_results()
    keep_warm()


# The last words: the reports that were drawn, which a run that failed does not keep from the others.
onsuccess:
    print_drawn()


onerror:
    print_drawn()
    print_waiting()


wildcard_constraints:
    run="|".join(map(re.escape, EXPERIMENTS)),
    rep=r"\d+",
    objective=r"[a-z]+",
    point=r"\d+",
    rival=r"[a-z][a-z0-9]*",
    shard=r"\d+",
    history=r"[a-z]+[1-9]\d*(-[a-z]+[1-9]\d*)*",


rule report:
    input:
        unpack(report_inputs),
    output:
        # what `snakemake --report` shows beside the provenance of all files
        report(REPORTED.report / "report.html", category=ONLY or "{run}"),
    log:
        REPORTED.root / "logs" / "report.log",
    message:
        told("drawing the report")
    shell:
        "llome report --experiment {input.experiment:q} > {log:q} 2>&1"


# The target where there are several runs; the report of the only one is a target itself.
rule all:
    default_target: ONLY is None
    input:
        [layout.report / "report.html" for layout in DRAWN.values()],
    message:
        "every report is drawn"


if ONLY is None:

    include: "rules/comparison.smk"


include: "rules/oracle.smk"
include: "rules/search.smk"
include: "rules/genetic.smk"
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
        told("r{wildcards.rep} {wildcards.history}: the chain of rounds is complete")
    shell:
        "printf '%s\\n' {input.summaries:q} > {output:q} 2> {log:q}"


rule experiment:
    output:
        LAYOUT.root / "experiment.yaml",
    log:
        LAYOUT.root / "logs" / "experiment.log",
    priority: 1  # before all else: a report that is drawn by hand in the meantime is older, and will be drawn again
    params:
        text=lambda wc: yaml.safe_dump(EXPERIMENTS[wc.run].as_dict(), sort_keys=False),
    message:
        told("writing down the experiment")
    shell:
        "printf '%s' {params.text:q} > {output:q} 2> {log:q}"


rule base:
    input:
        config=setting("base"),
        labeled=SEED / "labeled.parquet",
    output:
        BASE / "model" / "llome.json",
    log:
        BASE / "logs" / "base.log",
    benchmark:
        BASE / "benchmarks" / "base.tsv"
    threads: THREADS
    resources:
        mem_mb=memory("base"),
        runtime=minutes("base"),
    params:
        out=subpath(output[0], parent=True),
        seed=stage_seed("base"),
    message:
        told("r{wildcards.rep} base: making the starting policy")
    shell:
        "llome base --config {input.config:q} --labeled {input.labeled:q} --out {params.out:q}"
        " --random_seed {params.seed} > {log:q} 2>&1"


if workflow.is_main_process:
    check_profile()
