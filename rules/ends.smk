"""How a run begins and ends: it holds its results, and its last words are its reports, or what somebody has to measure."""


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
