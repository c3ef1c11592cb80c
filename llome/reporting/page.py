"""The page of one run's report: what is missing on top, then the result, the paper's claims, figures, rounds, settings and files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from html import escape
from typing import Any

from llome import provenance
from llome.reporting import figures
from llome.reporting.best import best_cells
from llome.reporting.claims import Finding, claim_section
from llome.reporting.findings import UNKNOWN, build_rows, headline, rival_label
from llome.reporting.html import csv_link, document, figure, table
from llome.reporting.plots import Plot
from llome.reporting.runs import Run
from llome.reporting.search import Point, draw_search, search_cells, search_csv
from llome.reporting.table import format_rows
from llome.search import Grid
from llome.seconds import STAGES


def render(
    name: str,
    run: Run,
    plots: Sequence[Plot],
    settings: Mapping[str, str],
    searches: Mapping[str, tuple[Grid, list[Point]]],
    unanalysed: Sequence[str] = (),
    claims: tuple[Sequence[Finding], Sequence[str]] = ((), ()),
    stopped: Sequence[str] = (),
) -> str:
    """The page. `settings` are the texts of the experiment's files by their names, `searches` those of its objectives,
    `unanalysed` the rounds whose proposals should have been scored and are not, `claims` the paper's: what was found of some, and
    what the others need, `stopped` the chains whose hours were used up.
    """
    domain = run.domain
    lengths = f"{domain.length}" if domain.fixed_length else f"{domain.least} to {domain.length}"
    problem = f"Oracle {domain.fingerprint}: sequences of length {lengths} over {domain.num_states} states"
    optimum = "its optimum is unknown" if run.optimum is None else f"its optimum is {run.optimum:g}"
    body = [
        f"<header><h1>LLOME: {escape(name)}</h1><p class=sub>{escape(f'{problem}; {optimum}.')}</p>",
        f"<p class=headline>{escape(' '.join(headline(run)))}</p>",
        *_notices(run, unanalysed, stopped),
        "</header>",
        "<section><h2>Result</h2>",
        table(format_rows(build_rows(run))),
        f"<p class=note>{escape(_result_note(run))}</p></section>",
        "<section><h2>Best sequences</h2>",
        table(best_cells(run), "wide"),
        f"<p class=note>{escape(_BEST_NOTE)}</p></section>",
        *claim_section(*claims),
        "<section><h2>Figures</h2><div class=figures>",
        *(figure(plot) for plot in plots),
        "</div></section>",
        "<section><h2>Every round</h2>",
        table(_round_cells(run), "wide") if run.every_round() else "<p>No round has been labelled yet.</p>",
        f"<p class=note>{escape(_ROUND_NOTE + _EDIT_NOTES[domain.fixed_length])}</p></section>",
        *_searches(searches),
        "<section><h2>Settings</h2>",
        *(
            f"<details><summary>{escape(file)}</summary><pre>{escape(text)}</pre></details>"
            for file, text in settings.items()
        ),
        "</section>",
        "<section><h2>Versions and files</h2>",
        table([["package", "version"], *([n, ", ".join(v)] for n, v in sorted(run.versions.items()))]),
        table(_maker_cells(run), "wide") if run.makers else "",
        "<details><summary>Tables and their hashes</summary>",
        table([["table", "rows", "SHA-256 (first 16 digits)"], *_file_cells(run)]),
        "</details></section>",
    ]
    return document(f"{name} · LLOME report", body)


_BEST_NOTE = (
    "The best that were labelled, each once, of equals those labelled first; genetic algorithms beside the method are left out."
    " All of them: llome export."
)
_ROUND_NOTE = (
    "Generated, well-formed, unique and new count the policy's proposals (new: unique and not labelled before); labelled and"
    " feasible, the sequences sent to the oracle. Best: highest score among them. Average regret: theirs, an infeasible one at"
    " score 0, ± two standard errors. Average and maximum reward: the gain of a labelled edit in score over the sequence that its"
    " trajectory started from, 0 where there is none; improved: labelled edits that gained. Edit: "
)
_EDIT_NOTES = {
    True: "mean share of positions that a proposal changed.",
    False: "mean edit distance (substitutions, insertions, deletions) of a proposal and its source, as a share of the longer's length.",
}
"""By whether all sequences have one length."""


_SEARCH_NOTE = (
    "Each point is trained on the first round's data; loss, perplexity and accuracy are those of its held-out examples, the shares those"
    " of its greedy outputs on held-out sequences. Chosen: the lowest loss among the points that are valid often enough (paper, appendix"
    " A.4). A strength (beta, lambda) scales its own loss, so that losses of different strengths are no fair comparison; perplexity and"
    " accuracy are."
)


def _notices(run: Run, unanalysed: Sequence[str], stopped: Sequence[str]) -> list[str]:
    notices = []
    if run.missing:
        notices.append("Unfinished. Not run yet: " + "; ".join(run.missing) + ".")
    if stopped:
        notices.append(f"Unfinished. {'; '.join(stopped)}.")
    if unanalysed:
        notices.append(f"Not analysed, so left out of figures 4, 5, 6 and 12: {'; '.join(unanalysed)}.")
    notices += mixed_versions(run.versions) + mixed_programs(run.programs)
    return [f"<p class=warning role=note>{escape(text)}</p>" for text in notices]


def mixed_versions(versions: Mapping[str, Sequence[str]]) -> list[str]:
    """A sentence on the packages of which several versions were used, if there are any."""
    mixed = {name: used for name, used in versions.items() if len(used) > 1}
    found = "; ".join(f"{name} {' and '.join(used)}" for name, used in sorted(mixed.items()))
    return [f"Mixed versions: {found}. Delete the older rounds to have them made again."] if mixed else []


def mixed_programs(programs: Mapping[str, AbstractSet[str]]) -> list[str]:
    """A sentence on the oracle's files that were changed between labels, if there are any."""
    changed = sorted(name for name, contents in programs.items() if len(contents) > 1)
    if not changed:
        return []
    return [
        f"{' and '.join(changed)} changed while the run went on: scores of several versions of the oracle stand side by side."
        " Give the experiment another name to have all sequences scored by one."
    ]


def _result_note(run: Run) -> str:
    rows = build_rows(run)
    shared = ", ".join(f"{n:,}" for n in sorted({r.seed.meta.spent for r in run.replicates}))
    text = (
        f"All counts include the {shared} counted evaluations of the seeds, which every method shares"
        + (
            ", and the GA's repeats; LLOME labels no sequence twice. “GA's regret then”: the genetic algorithm's at the same"
            " counted evaluations."
            if run.genetic
            else ": labels that the run was given."
        )
        + " Feasible: share of the evaluations after the seeds. Unique: share of what was generated in a round (GA: in a generation)"
        " after the seeds, in the mean of the rounds. Mean and max reward: the gain of the labelled edits in score over the"
        " sequences that their trajectories started from, 0 where there is none. Seconds: all stages of a replicate, the seeds"
        " included."
    )
    if run.rivals:
        text += (
            f" {', '.join(map(rival_label, run.rivals))}: genetic algorithms with other settings, from scratch; their shares are"
            " those of the generations after as many counted evaluations as the seeds have."
        )
    if any(row.replicates > 1 for row in rows):
        text += f" Means over {max(row.replicates for row in rows)} replicates ± two standard errors"
        text += " (the best score's is that of the regret)." if run.optimum is not None else "."
    return text


def _searches(searches: Mapping[str, tuple[Grid, list[Point]]]) -> list[str]:
    lines = ["<section><h2>Searched settings</h2>"] if searches else []
    for objective, (grid, points) in searches.items():
        key = f"search_{objective}"
        title = f"{objective}: {len(points)} points of {grid.file}"
        drawn = draw_search(points, grid)
        width = 1.35 * float(drawn.split('viewBox="')[1].split()[2])  # as large as its letters ask for
        svg = figures.for_page(drawn, key, escape(title))
        lines += [
            f'<div class=search id="{key}"><h3>{escape(title)}</h3><div style="max-width: {width:.0f}px">{svg}</div>',
            table(search_cells(points, grid), "wide"),
            f"<p class=note>{escape(_SEARCH_NOTE)} {csv_link(search_csv(points, grid), key)}</p></div>",
        ]
    return [*lines, "</section>"] if searches else []


def _round_cells(run: Run) -> list[list[str]]:
    counts = ["counted", "distinct", "generated", "well-formed", "unique", "new", "labelled", "feasible"]
    scores = ["best", "regret so far", "average regret", "average reward", "maximum reward", "improved"]
    header = ["round", *counts, *scores, "edit", *(f"{stage}, s" for stage in STAGES)]
    several = run.planned_replicates > 1
    cells = []
    for replicate, entry in run.every_round():
        s: dict[str, Any] = entry.summary or {"counted": entry.labeled.meta.spent, "labeled": len(entry.labeled)}
        cells.append(
            [
                f"r{replicate} {entry.history}" if several else entry.history,
                *(
                    _number(s.get(k), ",d")
                    for k in ("counted", "distinct", "generated", "parsed", "unique", "novel", "labeled", "feasible")
                ),
                *(_number(s.get(k), ".3f") for k in ("best_of_round", "regret")),
                _mean(s, "mean_regret", "se_regret"),
                _mean(s, "reward_mean", "se_reward"),
                _number(s.get("reward_max"), ".3f"),
                _number(s.get("improved"), ",d"),
                _number(s.get("mean_hamming", s.get("mean_edit_distance")), ".3f"),
                *(_number(s.get("seconds", {}).get(stage), ",.0f") for stage in STAGES),
            ]
        )
    return [header, *cells]


def _number(value: float | None, pattern: str) -> str:
    return UNKNOWN if value is None else format(value, pattern)


def _mean(summary: dict[str, Any], key: str, error: str) -> str:
    text = _number(summary.get(key), ".3f")
    return text if summary.get(error) is None else f"{text} ± {2 * summary[error]:.3f}"


def _maker_cells(run: Run) -> list[list[str]]:
    """A row for each machine, image and state of the code: which stages it made, and what can be told of it."""
    cells = []
    for maker, stages in run.makers:
        commit = maker.get("commit")
        code = UNKNOWN if commit is None else commit[:12] + (" and changes" if maker.get("dirty") else "")
        shown = f"{stages[0]} to {stages[-1]} ({len(stages)})" if len(stages) > 2 else ", ".join(stages)
        machine = f"{maker.get('system')}, {maker.get('cpu') or 'CPU'} x {maker.get('cores')}"
        gpus = ", ".join(maker.get("gpu") or []) or UNKNOWN
        known = (maker.get(key) or UNKNOWN for key in ("lock", "image", "python"))
        cells.append([shown, code, *known, machine, gpus])
    return [["made", "code", "lock file", "image", "Python", "machine", "GPU"], *cells]


def _file_cells(run: Run) -> list[list[str]]:
    cells = []
    for replicate in run.replicates:
        for history, labeled in replicate.tables.items():
            path = run.layout.round(replicate.number, history) / "labeled.parquet"
            cells.append([str(path.relative_to(run.layout.root)), f"{len(labeled):,}", provenance.hash_file(path)])
    return cells
