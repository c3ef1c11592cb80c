"""The variants of a file side by side: the report that compares them, once each has its own."""


rule comparison:
    input:
        experiment=COMPARED.root / "experiment.yaml",
        reports=[layout.report / "report.html" for layout in LAYOUTS.values()],
        counts=[LAYOUTS[run].counts for run, experiment in EXPERIMENTS.items() if not experiment.schedules],
    output:
        COMPARED.report / "report.html",
    log:
        COMPARED.root / "logs" / "report.log",
    message:
        "comparing the variants"
    shell:
        "llome report --experiment {input.experiment:q} > {log:q} 2>&1"


rule experiments:
    output:
        COMPARED.root / "experiment.yaml",
    log:
        COMPARED.root / "logs" / "experiment.log",
    params:
        text=yaml.safe_dump(written_variants(), sort_keys=False),
    message:
        "writing down the variants"
    shell:
        "printf '%s' {params.text:q} > {output:q} 2> {log:q}"
