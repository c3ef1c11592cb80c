"""A replicate's first labels, by the genetic algorithm or given; the baseline that carries it on, and its rivals, run from scratch."""


rule seed:
    input:
        config=setting("seed_file"),
        oracle=LAYOUT.oracle,
    output:
        SEED / "labeled.parquet",
        SEED / "population.json",
    log:
        SEED / "logs" / "seed.log",
    benchmark:
        SEED / "benchmarks" / "seed.tsv"
    wildcard_constraints:
        run=runs(genetic=True),
    resources:
        mem_mb=memory("seed"),
        runtime=minutes("seed"),
    params:
        out=subpath(output[0], parent=True),
        seed=stage_seed("seed"),
    message:
        told("r{wildcards.rep} seed: labelling the first sequences with the genetic algorithm")
    shell:
        "llome seed --config {input.config:q} --oracle {input.oracle:q} --out {params.out:q}"
        " --random_seed {params.seed} > {log:q} 2>&1"


# Labels that somebody has, in the genetic algorithm's place.
rule given:
    input:
        oracle=LAYOUT.oracle,
        table=setting("seed_file"),
    output:
        SEED / "labeled.parquet",
    log:
        SEED / "logs" / "import.log",
    benchmark:
        SEED / "benchmarks" / "seed.tsv"
    wildcard_constraints:
        run=runs(genetic=False),
    resources:
        mem_mb=memory("import"),
        runtime=minutes("import"),
    params:
        columns=given_columns,
    message:
        told("r{wildcards.rep} seed: taking over the labels of {input.table}")
    shell:
        "llome import --oracle {input.oracle:q} --table {input.table:q}{params.columns} --out {output:q} > {log:q} 2>&1"


rule baseline:
    input:
        config=setting("seed_file"),
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
    resources:
        mem_mb=memory("seed"),
        runtime=minutes("seed"),
    params:
        resume=subpath(input.labeled, parent=True),
        out=subpath(output[0], parent=True),
        rounds=setting("baseline_rounds"),
        seed=stage_seed("seed"),
    message:
        told("r{wildcards.rep} ga: carrying the genetic algorithm on to {params.rounds} rounds")
    shell:
        "llome seed --config {input.config:q} --oracle {input.oracle:q} --out {params.out:q}"
        " --resume_from {params.resume:q} --rounds {params.rounds} --random_seed {params.seed} > {log:q} 2>&1"


rule rival:
    input:
        config=lambda wc: EXPERIMENTS[wc.run].rivals[wc.rival],
        oracle=LAYOUT.oracle,
    output:
        RIVAL / "labeled.parquet",
        RIVAL / "population.json",
    log:
        RIVAL / "logs" / "seed.log",
    benchmark:
        RIVAL / "benchmarks" / "seed.tsv"
    resources:
        mem_mb=memory("seed"),
        runtime=minutes("seed"),
    params:
        out=subpath(output[0], parent=True),
        rounds=lambda wc: EXPERIMENTS[wc.run].rival_rounds(wc.rival),
        seed=rival_seed,
    message:
        told("r{wildcards.rep} ga-{wildcards.rival}: the genetic algorithm of {input.config}, {params.rounds} rounds")
    shell:
        "llome seed --config {input.config:q} --oracle {input.oracle:q} --out {params.out:q}"
        " --rounds {params.rounds} --random_seed {params.seed} > {log:q} 2>&1"
