"""One round: proposals, surrogate, candidates, labels and summary, against each other and all that was labelled before."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llome import paths
from llome.errors import LlomeError
from llome.limits import keeps_limits
from llome.reporting.counts import count_labels, count_proposals, count_rewards
from llome.reporting.edits import original_scores, rewards
from llome.tables import Labeled, Proposals, Selected, row_keys
from llome.verification.ledger import Ledger

if TYPE_CHECKING:
    from llome.verification.replicates import Replicate

STAGES = ("model", "proposals.parquet", "selected.parquet", "labeled.parquet", "summary.json")
"""What a finished round holds."""
_AGAIN = "run the stage that writes it again"
_TOLERANCE = 1e-12
"""Of a mean that is taken again; counts are equal."""


def check_round(replicate: Replicate, history: str, ledger: Ledger) -> None:
    """Check the tables of a round that are there."""
    here = replicate.folder / history
    earlier = [replicate.labeled(h) for h in (paths.SEED, *paths.lineage(history)[:-1])]
    before = [replicate.labels.get(h) for h in (paths.SEED, *paths.lineage(history)[:-1])]
    proposals = _read(Proposals, here / "proposals.parquet", ledger)
    selected = _read(Selected, here / "selected.parquet", ledger)
    labeled = _read(Labeled, replicate.labeled(history), ledger)
    replicate.labels[history] = labeled
    labels_so_far = ledger.hash_all(earlier)
    on_disk: dict[str, dict[str, tuple[Path | str, str | None]]] = {
        "proposals": {
            "model": (here / "model", ledger.hash(here / "model")),
            "labeled": (_named(earlier), labels_so_far),
        },
        "selected": {
            "proposals": (here / "proposals.parquet", ledger.hash(here / "proposals.parquet")),
            "labeled": (_named(earlier), labels_so_far),
        },
        "labeled": {
            "oracle": (replicate.oracle, ledger.hash(replicate.oracle)),
            "selected": (here / "selected.parquet", ledger.hash(here / "selected.parquet")),
            "parent": (earlier[-1], ledger.hash(earlier[-1])),
        },
    }
    if (here / "surrogate" / "surrogate.json").is_file():
        for asking in (proposals, selected):
            if asking is not None and {"evolve", "rank"} & asking.meta.settings.keys():
                on_disk[asking.name]["surrogate"] = (here / "surrogate", ledger.hash(here / "surrogate"))
        _check_surrogate(here / "surrogate", labels_so_far, _named(earlier), ledger)
    for table in (proposals, selected, labeled):
        if table is not None:
            file = here / f"{table.name}.parquet"
            _check_fingerprint(replicate, file, table.meta.domain.fingerprint, ledger)
            for role, (what, now) in on_disk[table.name].items():
                ledger.match(file, table.meta.inputs.get(role), now, what)
    parent = before[-1]
    if parent is not None:
        for found in (proposals, selected):
            if found is not None and found.meta.spent != parent.meta.spent:
                _refuse_spent(here / f"{found.name}.parquet", parent.meta.spent, found.meta.spent, ledger)
        if labeled is not None:
            _check_queries(replicate.labeled(history), history, labeled, parent, ledger)
    _check_rows(here, proposals, selected, labeled, [t for t in before if t is not None], ledger)
    whole = [table for table in before if table is not None]
    if len(whole) == len(before) and proposals is not None and selected is not None and labeled is not None:
        _check_summary(replicate, here, (proposals, selected, labeled), whole, earlier, ledger)


def _read(kind: Any, file: Path, ledger: Ledger) -> Any:
    return ledger.read(kind, file) if file.exists() else None


def _named(files: list[Path]) -> str:
    return str(files[0]) if len(files) == 1 else f"{files[0]} to {files[-1]}"


def _check_fingerprint(replicate: Replicate, file: Path, fingerprint: str, ledger: Ledger) -> None:
    if replicate.fingerprint is not None and fingerprint != replicate.fingerprint:
        expected = f"oracle {replicate.fingerprint} ({replicate.oracle})"
        ledger.refuse(file, expected, f"oracle {fingerprint}", "use files of one run")


def _refuse_spent(file: Path, expected: int, found: int, ledger: Ledger) -> None:
    ledger.refuse(file, f"{expected} oracle calls counted so far", str(found), _AGAIN)


def _check_surrogate(folder: Path, labels: str | None, named: str, ledger: Ledger) -> None:
    card = ledger.read_json(folder / "surrogate.json")
    if card is None:
        return
    weights = folder / "model.safetensors"
    ledger.check(weights)
    if ledger.hash(weights) != card.get("weights"):
        ledger.refuse(weights, f"hash {card.get('weights')} (in surrogate.json)", str(ledger.hash(weights)), _AGAIN)
    ledger.match(folder / "surrogate.json", card.get("inputs", {}).get("labeled"), labels, named)


def _check_queries(file: Path, history: str, table: Labeled, parent: Labeled, ledger: Ledger) -> None:
    """Calls are numbered on from the parent's, one a row, failed or not; the rows say whose they are."""
    first, count, facts = parent.meta.spent, len(table) + len(table.failed), table.meta.facts
    calls = count * facts.get("repeats", 1) + facts.get("again", 0)
    if table.meta.spent != first + calls:
        ledger.refuse(file, f"{first} + {calls} = {first + calls} calls spent", str(table.meta.spent), _AGAIN)
    queries = np.sort(np.concatenate([table.query, table.failed.query])) if len(table.failed) else table.query
    wrong = queries != np.arange(first, first + count)
    if wrong.any():
        row = int(wrong.argmax())
        ledger.refuse(file, f"query {first + row} in row {row}", str(int(queries[row])), _AGAIN)
    others = set(table.origin) - {history}
    if others:
        ledger.refuse(
            file, f"labels of {history!r}", f"labels of {min(others)!r}", "put each round's files in its own folder"
        )
    if (table.round != paths.round_number(history)).any():
        ledger.refuse(
            file, f"labels of round {paths.round_number(history)}", f"of round {int(table.round.max())}", _AGAIN
        )


def _check_rows(
    here: Path,
    proposals: Proposals | None,
    selected: Selected | None,
    labeled: Labeled | None,
    before: list[Labeled],
    ledger: Ledger,
) -> None:
    """Labels and failures are the candidates, row by row; candidates are proposals, unless they evolved; neither was asked for before."""
    known = np.concatenate([row_keys(table.asked) for table in before]) if before else None
    for table in (selected, labeled):
        if table is not None and known is not None:
            repeated = np.isin(row_keys(table.sequence), known)
            _refuse_rows(
                here / f"{table.name}.parquet",
                repeated,
                table.sequence,
                "sequences that no earlier round labelled",
                ledger,
            )
    if selected is not None and selected.meta.domain.limited:
        broken = ~keeps_limits(selected.sequence, selected.source, selected.meta.domain)
        _refuse_rows(
            here / "selected.parquet", broken, selected.sequence, "sequences within the limits on edits", ledger
        )
    if selected is not None and labeled is not None:
        _check_candidates(here, selected, labeled, ledger)
    if selected is not None and proposals is not None and "evolve" not in selected.meta.settings:
        parsed = row_keys(proposals.sequence[proposals.parsed])
        foreign = ~np.isin(row_keys(selected.sequence), parsed)
        _refuse_rows(
            here / "selected.parquet", foreign, selected.sequence, "parsed proposals of proposals.parquet", ledger
        )


def _check_candidates(here: Path, selected: Selected, labeled: Labeled, ledger: Ledger) -> None:
    """What was labelled or failed is what was selected, in order, but for what the lab was never asked to measure."""
    asked = labeled.asked
    if len(labeled.failed):
        asked = asked[np.argsort(np.concatenate([labeled.query, labeled.failed.query]), kind="stable")]
    unmeasured = labeled.meta.facts.get("unmeasured", 0)
    wanted = selected.sequence
    if unmeasured:
        wanted = wanted[np.isin(row_keys(wanted), row_keys(asked))]
    if len(asked) + unmeasured == len(selected) and np.array_equal(wanted, asked):
        return
    expected = f"the {len(selected)} candidates of selected.parquet, in order"
    found = f"{len(asked)} labels"
    if len(asked) == len(wanted):
        found = _first_difference(wanted, asked)
    ledger.refuse(here / "labeled.parquet", expected, found, "label the round again")


def _first_difference(expected: np.ndarray, found: np.ndarray) -> str:
    row = int((expected != found).any(axis=1).argmax())
    return f"{found[row].tolist()} in row {row}"


def _refuse_rows(file: Path, bad: np.ndarray, sequences: np.ndarray, expected: str, ledger: Ledger) -> None:
    if bad.any():
        row = int(bad.argmax())
        ledger.refuse(file, expected, f"{sequences[row].tolist()} in row {row} ({int(bad.sum())} such in all)", _AGAIN)


def _check_summary(
    replicate: Replicate,
    here: Path,
    tables: tuple[Proposals, Selected, Labeled],
    before: list[Labeled],
    earlier: list[Path],
    ledger: Ledger,
) -> None:
    """Every count and mean of the summary, taken again from the tables."""
    file = here / "summary.json"
    if not file.exists() or (summary := ledger.read_json(file)) is None:
        return
    proposals, selected, labeled = tables
    expected: dict[str, Any] = {
        "history": here.name,
        "round": paths.round_number(here.name),
        **count_proposals(proposals, before),
        "selected": len(selected),
        **count_labels([*before, labeled], replicate.optimum),
    }
    try:
        named = list(zip(map(str, earlier), before, strict=True))
        rows = [(str(here / f"{table.name}.parquet"), table) for table in tables]
        original = original_scores(rows[2], rows[1], rows[0], named)  # type: ignore[arg-type]
        expected |= count_rewards(rewards(original, labeled.score))
    except LlomeError:  # rows that do not belong together have their own lines
        pass
    for key, value in expected.items():
        if not _equal(summary.get(key), value):
            ledger.refuse(
                file, f"{key} {value} (counted from the tables)", str(summary.get(key)), "run `llome summarize` again"
            )


def _equal(found: Any, expected: Any) -> bool:
    if isinstance(expected, float) and isinstance(found, int | float):
        return abs(found - expected) <= _TOLERANCE * max(1.0, abs(expected))
    return bool(found == expected)
