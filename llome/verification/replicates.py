"""One replicate, from its seed to the last round of every chain: each file against its records, each round against those before it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llome import paths
from llome.errors import ConfigError
from llome.policy.causal_lm import PolicyCard
from llome.tables import Labeled, Table
from llome.verification.ledger import Ledger
from llome.verification.rounds import STAGES, check_round

AGAIN = "run the stage that writes it again"


@dataclass
class Replicate:
    """A replicate's folder, what the run's oracle is, and the tables read so far."""

    folder: Path
    oracle: Path
    fingerprint: str | None
    optimum: float | None
    labels: dict[str, Labeled | None] = field(default_factory=dict)
    """Of the seed and the rounds, by history; None where the file does not hold."""

    def labeled(self, history: str) -> Path:
        """The labelled table of a round or of the seed."""
        return self.folder / history / "labeled.parquet"


def histories(folder: Path) -> list[str]:
    """The rounds that have a folder in a replicate, parents first."""
    found = []
    for entry in sorted(folder.iterdir()):
        if not entry.is_dir() or entry.name in (paths.SEED, "ga", "base") or entry.name.startswith("ga-"):
            continue
        try:
            paths.parse_history(entry.name)
        except ConfigError:
            continue
        found.append(entry.name)
    return sorted(found, key=paths.round_number)


def check_replicate(folder: Path, oracle: Path, ledger: Ledger) -> None:
    """Check all that a replicate's folder holds; what is not there yet is said, and no problem."""
    spec = ledger.read_json(oracle) or {}
    replicate = Replicate(folder, oracle, spec.get("fingerprint"), spec.get("optimum"))
    if not replicate.labeled(paths.SEED).is_file():
        ledger.unfinished.append(f"{folder}: the seed is not labelled yet")
        return
    seed = replicate.labels[paths.SEED] = ledger.read(Labeled, replicate.labeled(paths.SEED))
    for name in sorted(entry.name for entry in folder.iterdir() if entry.name == "ga" or entry.name.startswith("ga-")):
        if replicate.labeled(name).is_file():
            check_genetic(replicate, name, ledger.read(Labeled, replicate.labeled(name)), ledger)
    check_genetic(replicate, paths.SEED, seed, ledger)
    card = check_policy(replicate, folder / "base" / "model", None, ledger)
    if card is not None and card.data is not None:
        ledger.match(
            folder / "base" / "model" / "llome.json",
            card.data,
            ledger.hash(replicate.labeled(paths.SEED)),
            replicate.labeled(paths.SEED),
        )
    for history in histories(folder):
        here = folder / history
        if not replicate.labeled(paths.parent(history)).is_file():
            ledger.unfinished.append(
                f"{here}: its parent {paths.parent(history)} is not labelled, so it was not checked"
            )
            continue
        missing = [name for name in STAGES if not (here / name).exists()]
        if missing:
            ledger.unfinished.append(f"{here}: not finished, it lacks {', '.join(missing)}")
        check_policy(replicate, here / "model", history, ledger)
        check_round(replicate, history, ledger)


def check_oracle(file: Path, fingerprint: str | None, recomputed: str, ledger: Ledger) -> None:
    """The spec is the one that was drawn."""
    if fingerprint != recomputed:
        ledger.refuse(
            file,
            f"fingerprint {fingerprint}",
            recomputed,
            "it was changed after it was drawn; draw it again with `llome oracle`",
        )


def check_fingerprint(replicate: Replicate, file: Path, table: Table | PolicyCard, ledger: Ledger) -> None:
    """A table or policy belongs to the run's oracle."""
    domain = table.domain if isinstance(table, PolicyCard) else table.meta.domain
    if replicate.fingerprint is not None and domain.fingerprint != replicate.fingerprint:
        ledger.refuse(
            file,
            f"oracle {replicate.fingerprint} ({replicate.oracle})",
            f"oracle {domain.fingerprint}",
            "use files of one run",
        )


def check_inputs(
    file: Path, recorded: dict[str, Any], on_disk: dict[str, tuple[Path, str | None]], ledger: Ledger
) -> None:
    """The inputs that a file names are those that lie there: `on_disk` has what each is, and its hash."""
    for role, (path, now) in on_disk.items():
        if role not in recorded:
            ledger.refuse(file, f"the hash of its input {role!r}", "none", AGAIN)
        else:
            ledger.match(file, recorded[role], now, path)


def check_genetic(replicate: Replicate, name: str, table: Labeled | None, ledger: Ledger) -> None:
    """The seed, the baseline or a rival: its oracle, the seed that it went on from, its queries and what it counted."""
    file = replicate.labeled(name)
    if table is None:
        return
    check_fingerprint(replicate, file, table, ledger)
    on_disk = {"oracle": (replicate.oracle, ledger.hash(replicate.oracle))}
    if name == "ga":
        on_disk["resume_from"] = (replicate.labeled(paths.SEED), ledger.hash(replicate.labeled(paths.SEED)))
    check_inputs(file, table.meta.inputs, on_disk, ledger)
    if (np.diff(table.query) <= 0).any():
        row = int((np.diff(table.query) <= 0).argmax()) + 1
        ledger.refuse(file, "queries that rise from row to row", f"query {int(table.query[row])} in row {row}", AGAIN)
    counted = [generation["counted"] for generation in table.meta.facts.get("rounds", [])]
    if counted and counted[-1] != table.meta.spent:
        ledger.refuse(file, f"{counted[-1]} calls counted by its generations", f"{table.meta.spent} spent", AGAIN)


def check_policy(replicate: Replicate, directory: Path, history: str | None, ledger: Ledger) -> PolicyCard | None:
    """A policy's files, oracle, parent and data; None where there is none, or it does not hold. `history` None: the base."""
    if not (directory / "llome.json").exists():
        return None
    card, file = ledger.read_card(directory), directory / "llome.json"
    if card is None:
        return None
    check_fingerprint(replicate, file, card, ledger)
    if history is None:
        return card
    before = paths.parent(history)
    parent = replicate.folder / ("base" if before == paths.SEED else before) / "model"
    ledger.match(file, card.parent, ledger.hash(parent), parent)
    earlier = [replicate.labeled(h) for h in (paths.SEED, *paths.lineage(history)[:-1])]
    known = [ledger.hash_all(earlier[-1:]), ledger.hash_all(earlier)]  # train_on: last, or all
    if None not in known and card.data not in known:
        ledger.refuse(
            file,
            f"labels of hash {known[0]} ({earlier[-1]}) or {known[1]} (all so far)",
            str(card.data),
            "they have changed since; train it again",
        )
    return card
