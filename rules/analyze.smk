"""What the figures alone need (paper Figs. 4-6, 12, 13), where an experiment says `analyze: true`.

Scores what a round proposed and did not label, on a budget of its own. Nothing but the report takes any of it as input.
"""


rule analyze:
    input:
        oracle=LAYOUT.oracle,
        labeled=labeled_before,
        this=ROUND / "labeled.parquet",
        proposals=ROUND / "proposals.parquet",
        selected=ROUND / "selected.parquet",
        surrogate=surrogate_of("analyze"),
    output:
        ANALYSIS / "scored.parquet",
        ANALYSIS / "facts.json",
    log:
        ROUND / "logs" / "analyze.log",
    resources:
        mem_mb=memory("analyze"),
        runtime=minutes("analyze"),
    params:
        out=subpath(output[0], parent=True),
        surrogate=lambda wc, input: surrogate_option(input),
    message:
        told("r{wildcards.rep} {wildcards.history}: scoring what was not labelled, for the figures alone")
    shell:
        "llome analyze --oracle {input.oracle:q} --history {wildcards.history}"
        " --labeled {input.labeled:q} {input.this:q} --proposals {input.proposals:q}"
        " --selected {input.selected:q}{params.surrogate} --out {params.out:q} > {log:q} 2>&1"
