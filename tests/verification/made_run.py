"""A finished run of two rounds, made by hand and in a moment: every hash, count and query as the stages would have left them.

`changed` has functions by the name of a file (`sft2/labeled`); each gets what would be written and gives what is written instead, so that
files made from it later agree with it and exactly one thing is wrong.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from llome import paths
from llome.domain import Domain
from llome.policy.causal_lm import PolicyCard, hash_policy
from llome.provenance import hash_file, hash_json, write_json
from llome.reporting.counts import count_labels, count_proposals, count_rewards
from llome.tables import Labeled, Meta, Proposals, Selected

SPEC: dict[str, Any] = {"kind": "made", "optimum": 1.0, "num_states": 5, "dim": 3}
DOMAIN = Domain(5, 3, hash_json(SPEC))
SCORES = {"seed": [-np.inf, 0.25, 0.0], "ga": [-np.inf, 0.25, 0.0, 0.5], "sft1": [0.5, -np.inf], "sft2": [0.25, 0.75]}
FIRST = {"seed": 0, "ga": 0, "sft1": 10, "sft2": 20}
"""Number of the first sequence of each table; 3 digits to base 5."""
SPENT = {"seed": 5, "ga": 9, "sft1": 7, "sft2": 9}

Change = Callable[[Any], Any]


def sequences(first: int, count: int) -> np.ndarray:
    numbers = np.arange(first, first + count)
    return np.stack([numbers // 25, numbers // 5 % 5, numbers % 5], axis=1).astype(np.int16)


def write_run(root: Path, changed: dict[str, Change] | None = None) -> Path:
    """Write the run to `root` and return its replicate's folder."""
    changes = changed or {}

    def change(name: str, value: Any) -> Any:
        return changes.get(name, lambda same: same)(value)

    folder, oracle = root / "r0", root / "oracle.json"
    write_json(oracle, change("oracle", {**SPEC, "fingerprint": DOMAIN.fingerprint}))
    for name, more in (("seed", {}), ("ga", {"resume_from": folder / "seed" / "labeled.parquet"})):
        inputs = {role: hash_file(path) for role, path in {"oracle": oracle, **more}.items()}
        facts = {"rounds": [{"counted": SPENT[name]}]}
        table = _labeled(name, "ga", Meta(DOMAIN, inputs, {}, SPENT[name], facts), np.arange(len(SCORES[name])))
        change(f"{name}/labeled", table).write(folder / name / "labeled.parquet")
    seed = folder / "seed" / "labeled.parquet"
    _write_model(folder / "base" / "model", change("base/model", PolicyCard("base", DOMAIN, data=hash_file(seed))))
    for history in ("sft1", "sft2"):
        _write_round(folder, oracle, history, change)
    return folder


def _write_round(folder: Path, oracle: Path, history: str, change: Callable[[str, Any], Any]) -> None:
    here, before = folder / history, paths.parent(history)
    earlier = [folder / h / "labeled.parquet" for h in ("seed", *paths.lineage(history)[:-1])]
    tables = [Labeled.read(path) for path in earlier]
    parent = folder / ("base" if before == "seed" else before) / "model"
    card = PolicyCard("sft", DOMAIN, parent=hash_policy(parent), data=hash_json([hash_file(earlier[-1])]))
    _write_model(here / "model", change(f"{history}/model", card))
    known, spent, count = hash_json([hash_file(path) for path in earlier]), SPENT[before], len(SCORES[history])
    written = sequences(FIRST[history], count + 1)
    source = np.repeat(tables[0].sequence[1:2], len(written), axis=0)
    number, zeros = np.arange(len(written), dtype=np.int32), np.zeros(len(written))
    meta = Meta(DOMAIN, {"model": hash_policy(here / "model"), "labeled": known}, {}, spent)
    proposals = change(
        f"{history}/proposals",
        Proposals(meta, written, source, number, 0 * number, zeros.astype(np.float32), zeros, zeros, zeros == 0),
    )
    proposals.write(here / "proposals.parquet")
    meta = Meta(DOMAIN, {"proposals": hash_file(here / "proposals.parquet"), "labeled": known}, {}, spent)
    selected = change(f"{history}/selected", Selected(meta, written[:count], source[:count], zeros[:count]))
    selected.write(here / "selected.parquet")
    inputs = {"oracle": oracle, "selected": here / "selected.parquet", "parent": earlier[-1]}
    meta = Meta(DOMAIN, {role: hash_file(path) for role, path in inputs.items()}, {}, spent + count)
    table = replace(_labeled(history, history, meta, np.arange(spent, spent + count)), sequence=selected.sequence)
    labeled = change(f"{history}/labeled", table)
    labeled.write(here / "labeled.parquet")
    gains = np.maximum(
        np.where(np.isfinite(labeled.score), labeled.score, 0) - 0.25, 0
    )  # all are edits of the seed's second
    summary = {
        "history": history,
        "round": paths.round_number(history),
        **count_proposals(proposals, tables),
        "selected": len(selected),
        **count_labels([*tables, labeled], 1.0),
        **count_rewards(gains),
    }
    write_json(here / "summary.json", change(f"{history}/summary", summary))


def _labeled(name: str, origin: str, meta: Meta, query: np.ndarray) -> Labeled:
    scores = SCORES[name]
    number = np.full(len(scores), 1 if origin == "ga" else paths.round_number(origin), dtype=np.int32)
    origins = np.array([origin] * len(scores), dtype=object)
    return Labeled(meta, sequences(FIRST[name], len(scores)), np.array(scores), query, number, origins)


def _write_model(directory: Path, card: PolicyCard) -> None:
    directory.mkdir(parents=True)
    weights = directory / "model.safetensors"
    weights.write_bytes(b"weights of " + str(directory.parent.name).encode())
    files = card.files or {weights.name: [weights.stat().st_size, hash_file(weights)]}
    write_json(directory / "llome.json", asdict(card) | {"files": files})
