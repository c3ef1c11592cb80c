"""One round of a chain: train (-> surrogate) -> refine -> filter -> label -> summarize, each a stage of the command line."""


rule train:
    input:
        config=lambda wc: EXPERIMENTS[wc.run].train[paths.objective(wc.history)],
        values=chosen_values,
        strategy=lambda wc: EXPERIMENTS[wc.run].strategy or [],
        parent=parent_policy,
        labeled=training_tables,
    output:
        ROUND / "model" / "llome.json",
    log:
        ROUND / "logs" / "train.log",
    benchmark:
        ROUND / "benchmarks" / "train.tsv"
    threads: THREADS
    resources:
        mem_mb=memory("train"),
        runtime=minutes("train"),
        gpu=gpus("train"),
        launch=launch("train"),
    params:
        values=overlays,
        parent=subpath(input.parent, parent=True),
        out=subpath(output[0], parent=True),
        seed=stage_seed("train"),
    message:
        told("r{wildcards.rep} {wildcards.history}: training")
    shell:
        "{resources.launch} llome train fit --config {input.config:q} {params.values} --parent {params.parent:q}"
        " --labeled {input.labeled:q} --out {params.out:q} --random_seed {params.seed} > {log:q} 2>&1"


rule refine:
    input:
        config=setting("refine"),
        model=ROUND / "model" / "llome.json",
        labeled=labeled_before,
        summary=parent_summary,
        surrogate=surrogate_of("refine"),
    output:
        part("refine", ROUND / "proposals.parquet"),
    log:
        part("refine", ROUND / "logs" / "refine.log"),
    benchmark:
        part("refine", ROUND / "benchmarks" / "refine.tsv")
    threads: THREADS
    resources:
        mem_mb=memory("refine"),
        runtime=minutes("refine"),
        gpu=gpus("refine"),
        launch=launch("refine"),
    params:
        model=subpath(input.model, parent=True),
        summary=summary_option,
        seed=stage_seed("refine"),
    message:
        told(
            f"r{{wildcards.rep}} {{wildcards.history}}: letting the policy edit its best sequences{which_part('refine')}"
        )
    shell:
        "{resources.launch} llome refine --config {input.config:q} --model {params.model:q} --labeled {input.labeled:q}"
        " {params.summary} --out {output:q} --random_seed {params.seed} > {log:q} 2>&1"


rule surrogate:
    input:
        config=setting("surrogate"),
        parent=parent_surrogate,
        labeled=labeled_before,
    output:
        ROUND / "surrogate" / "surrogate.json",
    log:
        ROUND / "logs" / "surrogate.log",
    benchmark:
        ROUND / "benchmarks" / "surrogate.tsv"
    threads: THREADS
    resources:
        mem_mb=memory("surrogate"),
        runtime=minutes("surrogate"),
    params:
        parent=lambda wc, input: f" --parent {shlex.quote(str(Path(input.parent).parent))}" if input.parent else "",
        out=subpath(output[0], parent=True),
        seed=stage_seed("surrogate"),
    message:
        told("r{wildcards.rep} {wildcards.history}: fitting the surrogate")
    shell:
        "llome surrogate --config {input.config:q}{params.parent} --labeled {input.labeled:q} --out {params.out:q}"
        " --random_seed {params.seed} > {log:q} 2>&1"


rule filter:
    input:
        config=setting("filter"),
        proposals=ROUND / "proposals.parquet",
        surrogate=surrogate_of("filter"),
        labeled=labeled_before,
    output:
        ROUND / "selected.parquet",
    log:
        ROUND / "logs" / "filter.log",
    benchmark:
        ROUND / "benchmarks" / "filter.tsv"
    threads: THREADS
    resources:
        mem_mb=memory("filter"),
        runtime=minutes("filter"),
    params:
        surrogate=lambda wc, input: surrogate_option(input),
        seed=stage_seed("filter"),
    message:
        told("r{wildcards.rep} {wildcards.history}: choosing candidates")
    shell:
        "llome filter --config {input.config:q} --proposals {input.proposals:q}{params.surrogate}"
        " --labeled {input.labeled:q} --out {output:q} --random_seed {params.seed} > {log:q} 2>&1"


rule label:
    input:
        oracle=LAYOUT.oracle,
        selected=ROUND / "selected.parquet",
        parent=parent_file("labeled.parquet"),
    output:
        part("label", ROUND / "labeled.parquet"),
    log:
        part("label", ROUND / "logs" / "label.log"),
    benchmark:
        part("label", ROUND / "benchmarks" / "label.tsv")
    resources:
        mem_mb=memory("label"),
        runtime=minutes("label"),
    params:
        budget=lambda wc: f"{budget_option(wc)}{shard_option('label', wc)}",
    message:
        told(f"r{{wildcards.rep}} {{wildcards.history}}: calling the oracle{which_part('label')}")
    shell:
        "llome label --oracle {input.oracle:q} --selected {input.selected:q} --parent {input.parent:q}"
        " --history {wildcards.history} {params.budget} --out {output:q} > {log:q} 2>&1"


# One rule for each table that several jobs make in parts.
for stage, table in {"refine": "proposals", "label": "labeled"}.items():
    if SHARDS.get(stage, 1) > 1:

        rule:
            name:
                f"gather_{table}"
            input:
                [part(stage, ROUND / f"{table}.parquet", n) for n in range(1, SHARDS[stage] + 1)],
            output:
                ROUND / f"{table}.parquet",
            log:
                ROUND / "logs" / f"gather_{table}.log",
            resources:
                mem_mb=memory("gather"),
                runtime=minutes("gather"),
            message:
                told(f"r{{wildcards.rep}} {{wildcards.history}}: joining the parts of the {table}")
            shell:
                "llome gather --parts {input:q} --out {output:q} > {log:q} 2>&1"


checkpoint summarize:
    input:
        oracle=LAYOUT.oracle,
        labeled=labeled_before,
        this=ROUND / "labeled.parquet",
        proposals=ROUND / "proposals.parquet",
        selected=ROUND / "selected.parquet",
        model=ROUND / "model" / "llome.json",
    output:
        summary=ROUND / "summary.json",
    log:
        ROUND / "logs" / "summarize.log",
    params:
        model=subpath(input.model, parent=True),
        benchmarks=str(ROUND / "benchmarks"),
    message:
        told("r{wildcards.rep} {wildcards.history}: counting")
    shell:
        "llome summarize --oracle {input.oracle:q} --history {wildcards.history}"
        " --labeled {input.labeled:q} {input.this:q} --proposals {input.proposals:q}"
        " --selected {input.selected:q} --model {params.model:q} --benchmarks {params.benchmarks:q}"
        " --out {output.summary:q} 2> {log:q}"
