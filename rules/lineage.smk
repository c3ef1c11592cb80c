"""The names of every run's files, and what a round takes from the rounds before it (llome.paths names the rounds)."""

LAYOUT = paths.Layout("results", "{run}")
SEED, GA, BASE = (LAYOUT.round("{rep}", name) for name in (paths.SEED, "ga", "base"))
RIVAL = LAYOUT.round("{rep}", paths.rival("{rival}"))
ROUND = LAYOUT.round("{rep}", "{history}")
ANALYSIS = LAYOUT.analysis("{rep}", "{history}")
SEARCH = LAYOUT.search("{objective}")
POINT = SEARCH / "p{point}"
LAYOUTS = {run: paths.Layout("results", run) for run in EXPERIMENTS}
GRIDS = {(run, name): len(read_grid(grid)) for run, e in EXPERIMENTS.items() for name, grid in e.searches.items()}
# A target has no wildcards, and the report of an only run is one.
ONLY = next(iter(EXPERIMENTS)) if len(EXPERIMENTS) == 1 else None
REPORTED = LAYOUT if ONLY is None else LAYOUTS[ONLY]
# Several runs are the variants of one experiment, whose own folder has the report that compares them.
NAME = next(iter(EXPERIMENTS.values())).name
COMPARED = paths.Layout("results", NAME)
DRAWN = LAYOUTS if ONLY is not None else {**LAYOUTS, NAME: COMPARED}


def told(message):
    """What a job says, with its run where there are several."""
    return f"{{wildcards.run}}: {message}" if ONLY is None else message


def written_variants():
    """The experiment of all runs as a mapping that `llome report` reads: each variant with everything it says."""
    kept = {e.variant: e.as_dict() for e in EXPERIMENTS.values()}
    shared = {key: value for key, value in next(iter(kept.values())).items() if key in SHARED}
    for settings in kept.values():
        for key in ("variant", *shared):
            del settings[key]
    return {**shared, "variants": kept}


def setting(key):
    """What the run's experiment has under `key`: the file of a stage, or a number."""
    return lambda wc: getattr(EXPERIMENTS[wc.run], key)


def runs(genetic):
    """The runs whose first labels the genetic algorithm makes, or those that are given them, as a pattern."""
    return "|".join(re.escape(run) for run, each in EXPERIMENTS.items() if each.genetic == genetic) or "(?!)"


def given_columns(wc):
    """The columns of the given table, where they have names of their own."""
    seed = EXPERIMENTS[wc.run].seed
    named = {} if isinstance(seed, str) else {key: name for key, name in seed.items() if key != "table"}
    return "".join(f" --{key} {shlex.quote(name)}" for key, name in named.items())


def part(stage, file, number=None):
    """Where one of the jobs that share a stage's rows puts what one job would put into `file`: that, where there is one job."""
    count = SHARDS.get(stage, 1)
    named = f"{file.stem}-{'{shard}' if number is None else number}of{count}{file.suffix}"
    if count == 1:
        return file
    if file.suffix != ".parquet":
        return file.parent / named
    shard = file.parent / "shards" / named
    return temp(shard) if number is None else shard


def shard_option(stage, wc):
    return f" --shard {wc.shard}/{SHARDS[stage]}" if SHARDS.get(stage, 1) > 1 else ""


def summary_option(wc, input):
    """The last round's summary, which may raise the temperatures, the surrogate and the part of the seeds; one parameter, as ever."""
    return (
        f"{f'--summary {input.summary}' if input.summary else ''}{surrogate_option(input)}{shard_option('refine', wc)}"
    )


def which_part(stage):
    return f", part {{wildcards.shard}} of {SHARDS[stage]}" if SHARDS.get(stage, 1) > 1 else ""


def stage_seed(stage):
    """The random seed of a stage: the seeds and the base policy are nobody's round, so they go by their own names."""
    return lambda wc: EXPERIMENTS[wc.run].stage_seed(int(wc.rep), wc.get("history", stage), stage)


def rival_seed(wc):
    return EXPERIMENTS[wc.run].stage_seed(int(wc.rep), paths.rival(wc.rival), "seed")


def budget_option(wc):
    experiment = EXPERIMENTS[wc.run]
    limits = {"budget": experiment.budget, "round_budget": experiment.round_budget}
    return " ".join(f"--{name} {calls}" for name, calls in limits.items() if calls is not None)


def parent_file(name):
    return lambda wc: LAYOUTS[wc.run].round(wc.rep, paths.parent(wc.history)) / name


def parent_policy(wc):
    before = paths.parent(wc.history)
    return LAYOUTS[wc.run].round(wc.rep, "base" if before == paths.SEED else before) / "model" / "llome.json"


def surrogate_of(stage):
    """The surrogate that a stage of a round asks, where it asks one."""

    def file(wc):
        if stage not in EXPERIMENTS[wc.run].judged:
            return []
        return LAYOUTS[wc.run].round(wc.rep, wc.history) / "surrogate" / "surrogate.json"

    return file


def surrogate_option(input):
    return f" --surrogate {shlex.quote(str(Path(input.surrogate).parent))}" if input.surrogate else ""


def parent_surrogate(wc):
    """The surrogate of the round before, which this round's goes on from."""
    return [] if paths.parent(wc.history) == paths.SEED else parent_file("surrogate/surrogate.json")(wc)


def parent_summary(wc):
    return [] if paths.parent(wc.history) == paths.SEED else parent_file("summary.json")(wc)


def labeled_before(wc):
    return LAYOUTS[wc.run].parent_labels(wc.rep, wc.history)


def training_tables(wc):
    """What a round trains on: the last round's labels, as in the paper, or all labels so far."""
    return labeled_before(wc) if EXPERIMENTS[wc.run].train_on == "all" else labeled_before(wc)[-1:]


def chosen_values(wc):
    """The values in which the round's objective differs from its YAML: those given, or those that a search has chosen, if any."""
    experiment, objective = EXPERIMENTS[wc.run], paths.objective(wc.history)
    source = experiment.values_from(objective)
    return experiment.values.get(objective, []) if source is None else LAYOUTS[wc.run].search(source) / "values.yaml"


def overlays(wc, input):
    """The YAMLs that a round's training lays over its objective's: the values in which it differs, and the use of several devices."""
    return " ".join(f"--config {shlex.quote(str(file))}" for file in (input.values, input.strategy) if file)


def searched_from(wc):
    """The policy that the objective's first round starts from, in replicate 0."""
    before = paths.parent(EXPERIMENTS[wc.run].first_round(wc.objective))
    return LAYOUTS[wc.run].round(0, "base" if before == paths.SEED else before) / "model" / "llome.json"


def point_policies(wc):
    points = LAYOUTS[wc.run].search_points(wc.objective, GRIDS[wc.run, wc.objective])
    return [point / "llome.json" for point in points]


def split_seed(wc):
    """The training seed of the schedule's first round, whose held-out sources are the search's too."""
    experiment = EXPERIMENTS[wc.run]
    return experiment.stage_seed(0, paths.lineage(experiment.first_round(wc.objective))[0], "train")


def chain_summaries(wc):
    """The summaries of a schedule's rounds, up to the one that found the optimum, spent the budget or used up the hours."""
    summaries = []
    for history in paths.lineage(wc.history):
        summaries.append(checkpoints.summarize.get(run=wc.run, rep=wc.rep, history=history).output.summary)
        if EXPERIMENTS[wc.run].ends_with(summaries[-1]):
            break
    return summaries


def chain_analyses(wc):
    """The facts that the figures alone need, of as many rounds of a schedule as were run; none unless the experiment wants them."""
    if not EXPERIMENTS[wc.run].analyze:
        return []
    return [Path(summary).parent / "analysis" / "facts.json" for summary in chain_summaries(wc)]


def report_inputs(wc):
    """What the report of a run waits for: every chain of rounds, the genetic algorithm carried on, and its rivals."""
    run = wc.get("run", ONLY)
    experiment, layout = EXPERIMENTS[run], LAYOUTS[run]
    folders = [layout.replicate(rep) for rep in range(experiment.replicates)]
    return {
        "experiment": layout.root / "experiment.yaml",
        "chains": [folder / "chains" / f"{history}.txt" for folder in folders for history in experiment.histories],
        "ga": [folder / "ga" / "labeled.parquet" for folder in folders if experiment.carries_on],
        "rivals": [folder / paths.rival(name) / "labeled.parquet" for folder in folders for name in experiment.rivals],
    }
