"""The names of an experiment's files, and what a round takes from the rounds before it (llome.paths names the rounds)."""

LAYOUT = paths.Layout("results", EXPERIMENT.name)
SEED, GA, BASE = (LAYOUT.round("{rep}", name) for name in (paths.SEED, "ga", "base"))
ROUND = LAYOUT.round("{rep}", "{history}")
ANALYSIS = LAYOUT.analysis("{rep}", "{history}")
SEARCH = LAYOUT.search("{objective}")
POINT = SEARCH / "p{point}"
GRIDS = {name: len(read_grid(grid)) for name, grid in EXPERIMENT.searches.items()}
BUDGET = "" if EXPERIMENT.budget is None else f"--budget {EXPERIMENT.budget}"


def stage_seed(stage):
    """The random seed of a stage: the seeds and the base policy are nobody's round, so they go by their own names."""
    return lambda wc: EXPERIMENT.stage_seed(int(wc.rep), wc.get("history", stage), stage)


def parent_file(name):
    return lambda wc: LAYOUT.round(wc.rep, paths.parent(wc.history)) / name


def parent_policy(wc):
    before = paths.parent(wc.history)
    return LAYOUT.round(wc.rep, "base" if before == paths.SEED else before) / "model" / "llome.json"


def parent_summary(wc):
    return [] if paths.parent(wc.history) == paths.SEED else parent_file("summary.json")(wc)


def labeled_before(wc):
    return LAYOUT.parent_labels(wc.rep, wc.history)


def training_tables(wc):
    """What a round trains on: the last round's labels, as in the paper, or all labels so far."""
    return labeled_before(wc) if EXPERIMENT.train_on == "all" else labeled_before(wc)[-1:]


def chosen_values(wc):
    """The values that a search has chosen for the round's objective, where the experiment has one."""
    source = EXPERIMENT.values_from(paths.objective(wc.history))
    return [] if source is None else LAYOUT.search(source) / "values.yaml"


def searched_from(wc):
    """The policy that the objective's first round starts from, in replicate 0."""
    before = paths.parent(EXPERIMENT.first_round(wc.objective))
    return LAYOUT.round(0, "base" if before == paths.SEED else before) / "model" / "llome.json"


def point_policies(wc):
    return [point / "llome.json" for point in LAYOUT.search_points(wc.objective, GRIDS[wc.objective])]


def split_seed(wc):
    """The training seed of the schedule's first round, whose held-out sources are the search's too."""
    return EXPERIMENT.stage_seed(0, paths.lineage(EXPERIMENT.first_round(wc.objective))[0], "train")


def chain_summaries(wc):
    """The summaries of a schedule's rounds, up to the one that found the optimum or spent the budget."""
    summaries = []
    for history in paths.lineage(wc.history):
        summaries.append(checkpoints.summarize.get(rep=wc.rep, history=history).output.summary)
        if EXPERIMENT.ends_with(summaries[-1]):
            break
    return summaries


def chain_analyses(wc):
    """The facts that the figures alone need, of as many rounds of a schedule as were run; none unless the experiment wants them."""
    if not EXPERIMENT.analyze:
        return []
    return [Path(summary).parent / "analysis" / "facts.json" for summary in chain_summaries(wc)]
