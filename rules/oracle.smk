"""The problem of a run: drawn once, and counted exactly where an experiment wants it."""


rule oracle:
    input:
        setting("oracle"),
    output:
        LAYOUT.oracle,
    log:
        LAYOUT.root / "logs" / "oracle.log",
    message:
        told("drawing the oracle of {input}")
    shell:
        "llome oracle --spec {input:q} --out {output:q} > {log:q} 2>&1"


rule count:
    input:
        LAYOUT.oracle,
    output:
        LAYOUT.counts,
    log:
        LAYOUT.root / "logs" / "count.log",
    message:
        told("counting the feasible and the optimal sequences")
    shell:
        "llome count --oracle {input:q} --out {output:q} > {log:q} 2>&1"
