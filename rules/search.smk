"""Hyperparameter searches (appendix A.4): each point of a grid is trained on the first round's data, and the best one's values are used.

    snakemake tune --cores 2 --configfile configs/experiments/objectives.yaml

The policy of a point is the one that the objective's first round starts from; the data are the seeds, split into training and
validation by the seed of the schedule's first round. So a point that starts from that round's policy is judged on sources which that
round held out as well (all of them for pairs, nearly all for triples); a policy of later rounds may have seen them. Points are small
and many: each runs on one core.
"""


rule tune:
    input:
        [LAYOUTS[run].search(name) / "values.yaml" for run, name in GRIDS],
    message:
        "the searches are complete"


rule point:
    input:
        grid=lambda wc: EXPERIMENTS[wc.run].searches[wc.objective],
        config=lambda wc: EXPERIMENTS[wc.run].train[wc.objective],
    output:
        POINT / "values.yaml",
    log:
        POINT / "logs" / "grid.log",
    params:
        number=lambda wc: int(wc.point),
    message:
        told("{wildcards.objective}: writing point {wildcards.point} of {input.grid}")
    shell:
        "llome grid --grid {input.grid:q} --train {input.config:q} --point {params.number}"
        " --out {output:q} > {log:q} 2>&1"


rule try_point:
    input:
        config=lambda wc: EXPERIMENTS[wc.run].train[wc.objective],
        values=POINT / "values.yaml",
        parent=searched_from,
        labeled=LAYOUT.round(0, paths.SEED) / "labeled.parquet",
    output:
        POINT / "model" / "llome.json",
    log:
        POINT / "logs" / "train.log",
    benchmark:
        POINT / "benchmarks" / "train.tsv"
    threads: 1
    resources:
        mem_mb=memory("train"),
        runtime=minutes("train"),
    params:
        parent=subpath(input.parent, parent=True),
        out=subpath(output[0], parent=True),
        seed=split_seed,
    message:
        told("{wildcards.objective}: training point {wildcards.point}")
    shell:
        "OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 llome train fit --config {input.config:q} --config {input.values:q}"
        " --parent {params.parent:q} --labeled {input.labeled:q} --out {params.out:q} --export facts"
        " --random_seed {params.seed} > {log:q} 2>&1"


rule choose:
    input:
        grid=lambda wc: EXPERIMENTS[wc.run].searches[wc.objective],
        points=point_policies,
    output:
        SEARCH / "values.yaml",
        SEARCH / "points.csv",
        SEARCH / "points.svg",
    log:
        SEARCH / "choose.log",
    params:
        points=lambda wc, input: [str(Path(point).parent) for point in input.points],
        out=subpath(output[0], parent=True),
    message:
        told("{wildcards.objective}: choosing among the points of {input.grid}")
    shell:
        "llome choose --grid {input.grid:q} --points {params.points:q} --out {params.out:q} > {log:q} 2>&1"
