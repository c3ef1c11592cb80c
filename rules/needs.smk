"""What each job asks of the machine it runs on, for whatever schedules it: llome.needs says how much, a profile may overrule it."""

NEEDS = {run: Needs(experiment) for run, experiment in EXPERIMENTS.items()}


def memory(stage):
    """Megabytes of memory, twice as many with each attempt."""
    return lambda wc, attempt: NEEDS[wc.run].memory(stage, attempt)


def minutes(stage):
    """Minutes at most; the next attempt goes on where this one was."""
    return lambda wc: NEEDS[wc.run].minutes(stage)


def launch(stage):
    """What comes before the command of a job: how many GPUs it may claim; in a profile, what starts a process for each of several nodes."""
    return lambda wc: (
        f"LLOME_GPUS={NEEDS[wc.run].gpus(stage, wc.history)}" if NEEDS[wc.run].gpus(stage, wc.history) else ""
    )


def gpus(stage):
    """GPUs on one node."""
    return lambda wc: NEEDS[wc.run].gpus(stage, wc.history)


# What Snakemake and its executor for SLURM read (of version 2.8; it declares no list), and the rules' own launch.
RESOURCES = (
    "mem mem_mb disk disk_mb tmpdir runtime gpu gpu_model slurm_account slurm_partition slurm_extra slurm_cluster cluster clusters"
    " constraint qos nodes tasks tasks_per_node tasks_per_gpu cpus_per_task cpus_per_gpu mem_mb_per_cpu gres mpi threads launch"
).split()


def check_profile():
    """Ends it where a profile only misspells what it sets, or for which of the rules. Snakemake itself would go on without it."""
    asked, rules = workflow.resource_settings, [each.name for each in workflow.rules]
    known = {*RESOURCES, *asked.resources}
    default = {"default-resources": asked.default_resources or {}}
    misspelt = {}
    for place, wanted in (asked.overwrite_resources | default).items():
        for name, names in ((place, [*rules, *default]), *((name, known) for name in wanted)):
            if name not in names and (close := difflib.get_close_matches(name, names, n=1, cutoff=0.8)):
                misspelt[name] = f"{place}: there is no {name!r}, did you mean {close[0]!r}?"
    if misspelt:
        print(f"error: the profile sets resources of {'; '.join(misspelt.values())}", file=sys.stderr)
        sys.exit(2)
