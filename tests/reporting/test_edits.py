from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from llome.domain import Domain
from llome.errors import TableError
from llome.reporting.edits import original_scores, rewards
from llome.tables import Labeled, Meta, Proposals, Selected

META = Meta(Domain(5, 3, "oracle"), spent=100)
INFEASIBLE = -np.inf


def sequences(*texts: str) -> np.ndarray:
    return np.array([[int(c) for c in t] for t in texts], dtype=np.int16).reshape(len(texts), 3)


def labeled(**scores: float) -> Labeled:
    """Sequences of digits by keyword, written `s001`."""
    n = len(scores)
    texts = [name[1:] for name in scores]
    origin = np.array(["ga"] * n, dtype=object)
    return Labeled(
        META, sequences(*texts), np.array([*scores.values()]), np.arange(n), np.ones(n, dtype=np.int32), origin
    )


def selected(*edits: tuple[str, str]) -> Selected:
    return Selected(META, sequences(*(e[0] for e in edits)), sequences(*(e[1] for e in edits)), np.zeros(len(edits)))


def proposals(*rows: tuple[str, str, int, int]) -> Proposals:
    """Rows of sequence, source, trajectory, step."""
    trajectory, step = (np.array([row[i] for row in rows], dtype=np.int32) for i in (2, 3))
    n = len(rows)
    texts, sources = (sequences(*(row[i] for row in rows)) for i in (0, 1))
    zeros = np.zeros(n)
    return Proposals(
        META, texts, sources, trajectory, step, zeros.astype(np.float32), zeros, zeros, np.ones(n, dtype=bool)
    )


BEFORE = [("seed", labeled(s000=INFEASIBLE, s001=0.25)), ("sft1", labeled(s002=0.5))]


def originals(labels: Labeled, chosen: Selected, proposed: Proposals) -> list[float]:
    found = original_scores(("labels", labels), ("selected", chosen), ("proposals", proposed), BEFORE)
    assert found.shape == (len(labels),)
    return list(found.tolist())


def test_reward_is_the_gain_or_nothing() -> None:
    before = np.array([0.25, 0.5, 0.5, INFEASIBLE, 0.5, INFEASIBLE])
    after = np.array([0.75, 0.25, 0.5, 0.5, INFEASIBLE, INFEASIBLE])
    assert rewards(before, after).tolist() == [0.5, 0.0, 0.0, 0.5, 0.0, 0.0]
    assert rewards(np.empty(0), np.empty(0)).shape == (0,)


def test_an_edit_of_an_edit_is_measured_from_where_its_trajectory_began() -> None:
    # trajectory 7: 001 -> 111 -> 112 -> 113; trajectory 3: 002 -> 211; the rows in any order
    proposed = proposals(
        ("113", "112", 7, 2), ("211", "002", 3, 0), ("112", "111", 7, 1), ("111", "001", 7, 0), ("212", "002", 3, 0)
    )
    chosen = selected(("113", "112"), ("211", "002"), ("111", "001"))
    assert originals(labeled(s113=1.0, s211=1.0, s111=1.0), chosen, proposed) == [0.25, 0.5, 0.25]


def test_the_order_of_the_labels_counts_and_candidates_may_lack_labels() -> None:
    proposed = proposals(("101", "001", 0, 0), ("102", "002", 1, 0), ("100", "000", 2, 0))
    chosen = selected(("101", "001"), ("102", "002"), ("100", "000"))
    assert originals(labeled(s100=1.0, s101=INFEASIBLE), chosen, proposed) == [INFEASIBLE, 0.25]


def test_of_several_trajectories_the_first_row_with_the_selected_source_counts() -> None:
    # 400 was written from 300 in trajectories 5 and 2, which began at 002 and 001; and from 000, which was not selected
    proposed = proposals(
        ("300", "001", 2, 0), ("300", "002", 5, 0), ("400", "000", 1, 0), ("400", "300", 5, 1), ("400", "300", 2, 1)
    )
    assert originals(labeled(s400=1.0), selected(("400", "300")), proposed) == [0.5]


def test_nothing_labelled() -> None:
    assert originals(labeled(), selected(), proposals()) == []
    assert originals(labeled(), selected(("101", "001")), proposals(("101", "001", 0, 0))) == []


@pytest.mark.parametrize(
    ("labels", "chosen", "proposed", "message"),
    [
        (
            labeled(s101=1.0, s102=1.0),
            selected(("101", "001")),
            proposals(("101", "001", 0, 0)),
            r"labels has a label of \[1, 0, 2\], which selected does not hold \(1 such in all\)",
        ),
        (
            labeled(s101=1.0),
            selected(("101", "001")),
            proposals(("101", "002", 0, 0)),
            r"selected has a candidate \[1, 0, 1\], which proposals does not hold with its source",
        ),
        (
            labeled(s101=1.0),
            selected(("101", "011")),
            proposals(("011", "004", 0, 0), ("101", "011", 0, 1)),
            r"proposals starts a trajectory from \[0, 0, 4\], which none of seed, sft1 has a label of",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    labels: Labeled, chosen: Selected, proposed: Proposals, message: str
) -> None:
    with pytest.raises(TableError, match=message):
        originals(labels, chosen, proposed)


def test_what_was_evolved_is_measured_from_the_labelled_sequence_that_it_descends_from() -> None:
    """A proposal chosen as it was written still counts from where its trajectory began."""
    proposed = proposals(("111", "001", 0, 0), ("112", "111", 0, 1))
    edits = selected(("112", "111"), ("344", "002"))
    evolved = Selected(replace(META, settings={"evolve": {"generations": 8}}), *list(vars(edits).values())[1:])
    assert originals(labeled(s112=1.0, s344=1.0), evolved, proposed) == [0.25, 0.5]
    with pytest.raises(TableError, match=r"has a candidate \[3, 4, 4\], which proposals does not hold"):
        originals(labeled(s112=1.0, s344=1.0), edits, proposed)
