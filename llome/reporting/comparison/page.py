"""The page that compares the variants of an experiment: what is missing, one table, the paper's claims, figures, how hard each is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from llome.reporting.claims import Finding, check_claims, claim_cells
from llome.reporting.comparison.difficulty import (
    build_difficulty_plots,
    difficulty_cells,
    difficulty_claims,
    find_ladders,
)
from llome.reporting.comparison.rankings import Choice, choice_cells, choice_csv, find_choices
from llome.reporting.comparison.summary import Verdicts, build_regret_plot, result_cells, result_csv
from llome.reporting.comparison.variants import Variant, alike, group_by_function, method_colours
from llome.reporting.comparison.volumes import Arena, build_frontiers, find_arena, volume_cells, volume_claims
from llome.reporting.html import csv_link, document, figure, table
from llome.reporting.page import mixed_versions
from llome.reporting.plots import Plot


@dataclass(frozen=True)
class Comparison:
    """All that the page shows."""

    variants: list[Variant]
    missing: list[str]
    plots: list[Plot]
    arena: Arena | None
    verdicts: Verdicts
    across: list[Finding]
    """Of claims across variants (Figs. 7 and 10)."""
    choices: list[Choice]
    """Of the rankings, where rounds were analysed with a surrogate."""

    def tables(self) -> dict[str, str]:
        """The data of the tables, by the name of their CSV."""
        tables = {"results": result_csv(self.variants), "claims": self.verdicts.csv(self.across)}
        return tables | ({"rankings": choice_csv(self.choices)} if self.choices else {})


def compare(variants: Sequence[Variant], missing: Sequence[str]) -> Comparison:
    """Compute and lay out everything, from what there is; `missing` says what there is not."""
    shown, colours = alike(variants), method_colours(variants)
    grouped = group_by_function(variants)  # what one function is optimised by in several ways is no sum over functions
    arena, ladders = None if grouped else find_arena(variants), find_ladders(shown)
    plots = [build_regret_plot(shown, colours)] + ([] if arena is None else [build_frontiers(arena, colours)])
    if ladders:
        plots += build_difficulty_plots(shown, ladders, colours)
    # what asks a surrogate is none of the paper's methods
    evolved = {v.name for v in variants if not v.experiment.judged <= {"analyze"}}
    findings = {
        v.name: check_claims(v.run, v.analyses)[0] for v in variants if v.run.schedules and v.name not in evolved
    }
    across = [] if evolved else ([] if arena is None else volume_claims(arena)) + difficulty_claims(ladders)
    choices = find_choices(variants)
    return Comparison(list(variants), list(missing), plots, arena, Verdicts(findings), across, choices)


def render(name: str, found: Comparison, settings: str, file: str) -> str:
    """The page of experiment `name`, whose `file` says `settings`."""
    count = len(found.variants)
    versions: dict[str, set[str]] = {}
    for v in found.variants:
        for package, used in v.run.versions.items():
            versions.setdefault(package, set()).update(used)
    notices = [f"Unfinished. Not run yet: {'; '.join(found.missing)}."] if found.missing else []
    notices += mixed_versions({package: sorted(used) for package, used in versions.items()})
    data = found.tables()
    body = [
        f"<header><h1>LLOME: {escape(name)}</h1><p class=sub>{count} variant{'s' * (count != 1)}, each with a report of its own:",
        ", ".join(f'<a href="../{quote(v.name)}/report/report.html">{escape(v.name)}</a>' for v in found.variants),
        "</p>",
        *(f"<p class=warning role=note>{escape(text)}</p>" for text in notices),
        "</header>",
        "<section><h2>Result</h2>",
        table(result_cells(found.variants)),
        f"<p class=note>{escape(_RESULT_NOTE)} {csv_link(data['results'], 'results')}</p></section>",
        *_claims(found, data["claims"]),
        "<section><h2>Figures</h2><div class=figures>",
        *(figure(plot) for plot in found.plots),
        "</div></section>",
        *_volumes(found.arena),
        *_rankings(found.choices, data.get("rankings", "")),
        "<section><h2>How hard they are</h2>",
        table(difficulty_cells(found.variants)),
        f"<p class=note>{escape(_DIFFICULTY_NOTE + _uncounted(found.variants))}</p></section>",
        "<section><h2>Settings</h2>",
        f"<details><summary>{escape(file)}</summary><pre>{escape(settings)}</pre></details></section>",
    ]
    return document(f"{name} · LLOME comparison", body)


def _claims(found: Comparison, data: str) -> list[str]:
    cells, across = found.verdicts.cells(), claim_cells(found.across)
    if len(cells) + len(across) == 2:
        return []
    return [
        "<section><h2>The paper says, we see</h2>",
        *([table(across, "prose")] if found.across else []),
        *([table(cells, "prose")] if len(cells) > 1 else []),
        f"<p class=note>{escape(_CLAIM_NOTE)} {csv_link(data, 'claims')}</p></section>",
    ]


def _volumes(arena: Arena | None) -> list[str]:
    if arena is None:
        return []
    reached = "; ".join(f"{v.name} {end:,}" for v, end in zip(arena.variants, arena.ends, strict=True))
    note = f"{_VOLUME_NOTE} Last budgets, in counted evaluations: {reached}."
    return [
        "<section><h2>Average hypervolume (paper Fig. 7)</h2>",
        table(volume_cells(arena)),
        f"<p class=note>{escape(note)}</p></section>",
    ]


def _rankings(choices: Sequence[Choice], data: str) -> list[str]:
    if not choices:
        return []
    return [
        "<section><h2>What each ranking would have chosen</h2>",
        table(choice_cells(choices)),
        f"<p class=note>{escape(_RANKING_NOTE)} {csv_link(data, 'rankings')}</p></section>",
    ]


def _uncounted(variants: Sequence[Variant]) -> str:
    reasons = [f"{v.name}: {v.counts['why_not']}" for v in variants if v.counts and v.counts.get("why_not")]
    return f" Optimal sequences were not counted for {'; '.join(reasons)}." if reasons else ""


_RESULT_NOTE = (
    "A row a variant and method; all counts include the seeds and the genetic algorithm's repeats. ±: two standard errors over the"
    " replicates. Feasible: share of the evaluations after the seeds. Unique: share of what was generated in a round (GA: in a generation)"
    " after the seeds, in the mean of the rounds."
)
_CLAIM_NOTE = (
    "Claims of section 5 of arXiv 2410.22296, in our words; across the variants first, then each variant apart, whose own report has"
    " the numbers. Yes or no: the mean difference over replicates is beyond two standard errors. One replicate is seen once and decides"
    " nothing."
)
_VOLUME_NOTE = (
    "Lower is better in both. Share not dominated: evaluations over the last budget and regret over the optimum span a unit square;"
    " its part in which nothing was found as good as early, the reference point being the worst corner. Evaluations × regret: the"
    " caption of the paper's figure word by word, in the mean of 30 budgets up to the last. Both are means over the variants of means"
    " over replicates, up to the last budget that all methods have reached, for the methods that all variants have; ±: two standard"
    " errors from the replicates."
)
_RANKING_NOTE = (
    "Of each variant's proposals without a label, as many as the round labelled: how much of the mean score that the oracle's own choice"
    " has above chance theirs has (1: all of it, 0: chance), and the rank correlation with the scores. Rankings know what was labelled"
    " before the round, and no more; the scores are from an analysis after the fact. Rounds and replicates count alike; ±: two standard"
    " errors over the replicates. Each variant's own report has them round by round (beside paper Figs. 5 and 6)."
)
_DIFFICULTY_NOTE = (
    "V states, L length, c motifs of length k, q quantization. Feasible and optimal: exact shares of all sequences, where `llome count`"
    " was run."
)
