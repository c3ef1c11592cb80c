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
