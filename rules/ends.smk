"""How a run begins and ends: it holds its results and keeps its stages warm; its last words are its reports, or what is to be measured."""


def print_drawn():
    """Print the summary of each report that was drawn since the start."""
    for run, layout in DRAWN.items():
        summary = layout.report / "summary.txt"
        if summary.is_file() and summary.stat().st_mtime >= STARTED:
            print(f"\n{run}\n" if ONLY is None else "", summary.read_text(), sep="", end="")


def print_waiting():
    """Say what a laboratory has to measure before the same command can go on: the last words of `llome label`."""
    for layout in LAYOUTS.values():
        for table in sorted(layout.root.glob("r*/*/to_label.csv")):
            log = table.parent / "logs" / "label.log"
            words = log.read_text().splitlines()[-1:] if log.is_file() else []
            print("", "This is no error: the run waits for people.", *words, sep="\n", file=sys.stderr)


def hold_results():
    """Keep other runs out of the results until this process ends; ends it where another has them."""
    global held
    held = exclusive(COMPARED.root, ".run.lock", "another snakemake is at work on")
    try:
        held.__enter__()
    except LlomeError as err:
        print(f"error: {err}", file=sys.stderr)
        sys.exit(2)


def keep_warm():
    """Start what lets stages start at once (llome.warm), where they run on this machine; it ends when this process does."""
    global warm
    here = workflow.local_exec and not workflow.deployment_settings.deployment_method
    if not here or not hasattr(os, "pidfd_open"):
        return
    door = str(Path(tempfile.mkdtemp(prefix="llome-"), "warm"))
    os.environ.update(LLOME_WARM=door)
    warm = subprocess.Popen(
        [sys.executable, "-m", "llome.cli", "--warm", door],
        env=os.environ | SUMS,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
