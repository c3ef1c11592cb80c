"""The best sequences of a run, as its report names them."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from llome import paths
from llome.domain import Domain
from llome.reporting.best import best_cells, best_lines, best_sequences
from llome.reporting.runs import Replicate, Round, Run
from llome.tables import Labeled, Meta

DOMAIN = Domain(4, 3, "", letters=tuple("ACGT"), maximize=False)


def table(texts: list[str], scores: list[float], first: int) -> Labeled:
    rows = np.array([["ACGT".index(letter) for letter in text] for text in texts], dtype=np.int16)
    n = len(rows)
    query = first + np.arange(n)
    return Labeled(
        Meta(DOMAIN, spent=first + n), rows, np.array(scores), query, np.ones(n, np.int32), np.array(["ga"] * n, object)
    )


def run() -> Run:
    """Scores are higher is better within, so these are energies of 3, 1, 2 and so on."""
    seed = table(["AAA", "CCC", "GGG"], [-3.0, -1.0, -np.inf], 0)
    later = Round("sft1", table(["TTT", "ACG"], [-1.0, -0.5], 3), None, last=False)
    other = Round("sft1", table(["ACG", "TTA"], [-0.5, -2.0], 3), None, last=False)
    return Run(
        paths.Layout(Path("results"), "mine"),
        ["sft1"],
        [Replicate(0, seed, table(["GTG"], [9.0], 3), {"sft1": later}), Replicate(1, seed, None, {"sft1": other})],
        2,
        None,
        DOMAIN,
        [],
    )


def test_each_once_the_best_first_in_peoples_sense() -> None:
    found = best_sequences(run())
    assert [text for text, _, _ in found] == ["ACG", "CCC", "TTT", "TTA", "AAA"]
    assert [score for _, score, _ in found] == [0.5, 1.0, 1.0, 2.0, 3.0]
    assert [where for _, _, where in found] == ["r1 sft1", "r0 seed", "r0 sft1", "r1 sft1", "r0 seed"]
    assert len(best_sequences(run(), 2)) == 2
    assert best_cells(run())[1] == ["ACG", "0.5", "r1 sft1"]


def test_the_line_says_how_to_get_all() -> None:
    assert best_lines(run()) == [
        "best: ACG (0.5, r1 sft1)",
        "all, best first: llome export --table results/mine/r*/*/labeled.parquet --out best.csv",
    ]
