"""What the scores of all proposals say of a round: every number below can be had with a pencil."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from llome.domain import Domain
from llome.errors import TableError
from llome.reporting.analysis.bins import (
    DISTANCES,
    LIKELIHOODS,
    as_json,
    bin_means,
    distance_bins,
    from_json,
    likelihood_bins,
    pool_means,
)
from llome.reporting.analysis.facts import (
    best_by_iteration,
    build_facts,
    calibration,
    choices,
    expected_best,
    feasible_by_distance,
    rank_correlation,
)
from llome.reporting.analysis.scored import Matched, Scored, match
from llome.tables import Labeled, Meta, Proposals, Selected

META = Meta(Domain(5, 3, "oracle"), spent=100)
INFEASIBLE = -np.inf


def sequences(*texts: str) -> np.ndarray:
    return np.array([[int(c) for c in t] for t in texts], dtype=np.int16).reshape(len(texts), 3)


def labeled(**scores: float) -> Labeled:
    """Sequences of digits by keyword, written `s001`."""
    n = len(scores)
    origin = np.array(["ga"] * n, dtype=object)
    texts = sequences(*(name[1:] for name in scores))
    return Labeled(META, texts, np.array([*scores.values()]), np.arange(n), np.ones(n, dtype=np.int32), origin)


def selected(*texts: str) -> Selected:
    return Selected(META, sequences(*texts), sequences(*["000"] * len(texts)), np.zeros(len(texts)))


def proposals(*rows: tuple[str | None, str, int, int, float]) -> Proposals:
    """Rows of sequence (None: not parsed), source, trajectory, step and mean token likelihood."""
    parsed = np.array([row[0] is not None for row in rows])
    written = sequences(*(row[0] or "000" for row in rows))
    written[~parsed] = -1
    trajectory, step = (np.array([row[i] for row in rows], dtype=np.int32) for i in (2, 3))
    logp = np.log([row[4] for row in rows])
    temperature = np.zeros(len(rows), dtype=np.float32)
    return Proposals(
        META, written, sequences(*(r[1] for r in rows)), trajectory, step, temperature, logp, 4 * logp, parsed
    )


# round 2: known are 000, 001, 002 and 010, 011 from before, 100, 101, 102, 103 of the round; 111 was proposed and not selected
LABELS = [
    ("seed", labeled(s000=INFEASIBLE, s001=0.25, s002=0.0)),
    ("sft1", labeled(s010=0.5, s011=INFEASIBLE)),
    ("sft2", labeled(s100=0.5, s101=INFEASIBLE, s102=0.25, s103=0.75)),
]
CHOSEN = ("selected", selected("103", "100", "101", "102"))
PROPOSED = proposals(
    ("111", "001", 0, 0, 0.95),
    ("100", "000", 1, 0, 0.55),
    ("000", "000", 1, 0, 0.55),
    (None, "000", 1, 0, 0.35),
    ("101", "010", 2, 0, 0.15),
    ("100", "010", 2, 0, 0.15),
    ("103", "111", 0, 1, 0.95),
    ("102", "100", 1, 1, 0.55),
    ("102", "100", 2, 1, 0.15),
)


@pytest.fixture
def matched() -> Matched:
    return match(LABELS, ("proposals", PROPOSED), CHOSEN)


def filled(columns: dict[str, list], *names: str) -> dict[float, tuple]:
    """The bins that hold something, by their upper end."""
    rows = zip(*(columns[name] for name in ("high", "count", *names)), strict=True)
    return {high: (count, *values) for high, count, *values in rows if count}


def test_rows_are_matched_with_what_is_known(matched: Matched) -> None:
    assert matched.labeled.tolist() == [INFEASIBLE, 0.25, 0.0, 0.5, INFEASIBLE, 0.5, INFEASIBLE, 0.25, 0.75]
    assert matched.before == 5
    assert matched.new.tolist() == [[1, 1, 1]]
    assert matched.proposal.tolist() == [9, 5, 0, -1, 6, 5, 8, 7, 7]
    assert matched.source.tolist() == [1, 0, 0, 0, 3, 3, 9, 5, 5]
    assert matched.selected.tolist() == [8, 5, 6, 7]
    assert matched.distinct.tolist() == [9, 5, 0, 6, 8, 7]
    assert matched.pool.tolist() == [9, 5, 6, 8, 7]


@pytest.mark.parametrize(
    ("labels", "chosen", "proposed", "message"),
    [
        (
            labeled(s104=0.0),
            selected("104"),
            PROPOSED,
            r"selected has a candidate \[1, 0, 4\], which proposals does not",
        ),
        (
            labeled(s100=0.5),
            selected("103"),
            PROPOSED,
            r"selected has a candidate \[1, 0, 3\], which last has no label",
        ),
        (
            labeled(s100=0.5),
            selected("000"),
            PROPOSED,
            r"selected has a candidate \[0, 0, 0\], which last has no label",
        ),
        (
            labeled(s100=0.5, s101=0.5),
            selected("100"),
            PROPOSED,
            r"last has a label of \[1, 0, 1\], which selected does",
        ),
        (
            labeled(s100=0.5),
            selected("100"),
            proposals(("100", "004", 0, 0, 0.5)),
            r"proposals edits \[0, 0, 4\], which neither it nor any of seed, last holds \(1 such in all\)",
        ),
        (
            labeled(s100=0.5),
            selected("100"),
            proposals((None, "000", 0, 0, 0.5)),
            r"selected has a candidate \[1, 0, 0\], which proposals does not hold",
        ),
    ],
)
def test_files_that_do_not_belong_together_are_refused(
    labels: Labeled, chosen: Selected, proposed: Proposals, message: str
) -> None:
    with pytest.raises(TableError, match=message):
        match([LABELS[0], ("last", labels)], ("proposals", proposed), ("selected", chosen))


def test_facts_of_a_round(matched: Matched) -> None:
    facts = build_facts(PROPOSED, matched, np.append(matched.labeled, 1.0))
    assert (facts["generated"], facts["parsed"], facts["distinct"]) == (9, 8, 6)
    # inputs of the first iteration 000, 001, 010; of the second 111 and 100
    assert [tuple(entry.values()) for entry in facts["iterations"]] == [
        (0, 3, 0.5, 3, 0.5),
        (1, 5, 1.0, 2, 1.0),
        (2, 3, 0.75, None, None),
    ]
    # four of 111 (1), 103 (.75), 100 (.5), 102 (.25), 101 (infeasible): one choice in five leaves 111 out
    assert facts["selection"] == {
        "count": 4,
        "pool": 5,
        "best_selected": 0.75,
        "mean_selected": 0.375,
        "best_oracle": 1.0,
        "mean_oracle": 0.625,
        "best_random": pytest.approx(0.8 * 1.0 + 0.2 * 0.75),
        "mean_random": 0.5,
    }
    # changed positions 2, 1, 0, 3, 2, 2, 1, 1 of 3: two thirds lie in (.65, .7], one third in (.3, .35]
    share = filled(facts["distance"], "feasible", "se_feasible")
    assert share == {0.0: (1, 0.0, None), 0.35: (3, 1.0, 0.0), 0.7: (3, 1.0, 0.0), 1.0: (1, 0.0, None)}
    # gains over 001 (.25) .75 and .5; over 000 (infeasible) .5, 0 and .25; over 010 (.5) none
    assert filled(facts["likelihood"], "score", "reward") == {
        0.2: (3, pytest.approx(0.25), 0.0),
        0.6: (3, pytest.approx(0.25), pytest.approx(0.25)),
        1.0: (2, 0.875, 0.625),
    }
    # ranks of 111, 100, 000, 101, 103, 102 less 3.5: 2, -.5, -.5, -2.5, 2, -.5 by likelihood, 2.5, .5, -2, -2, 1.5, -.5 by score
    assert facts["rank_correlation"] == pytest.approx(14 / np.sqrt(15 * 17))


def test_an_iteration_that_wrote_nothing_has_no_best() -> None:
    none, some = np.array([-1]), np.array([0])
    facts = best_by_iteration(some, none, some, np.array([INFEASIBLE]))
    assert [(entry["written"], entry["best"]) for entry in facts] == [(1, 0.0), (0, None)]
    empty = np.empty(0, dtype=np.int64)
    assert best_by_iteration(empty, empty, empty, np.array([0.5])) == [
        {"iteration": 0, "written": 0, "best": None, "passed_on": None, "best_passed_on": None}
    ]


def test_the_best_of_a_random_choice_is_exact() -> None:
    values = np.array([1.0, 0.25, 0.0, 0.5])
    # of six pairs 1 is the best in three, .5 in two, .25 in one
    assert expected_best(values, 2) == pytest.approx((3 * 1.0 + 2 * 0.5 + 0.25) / 6)
    assert expected_best(values, 1) == pytest.approx(values.mean())
    assert expected_best(values, 4) == 1.0
    ties = np.array([0.0, 0.0, 0.7, 0.2, 0.2, 0.9, 0.0])
    for k in range(1, 8):
        assert expected_best(ties, k) == pytest.approx(np.mean([max(c) for c in itertools.combinations(ties, k)]))
    # one sequence of score 1 among 60,000 is drawn with probability 2,000 / 60,000
    assert expected_best(np.arange(60_000) == 59_999, 2000) == pytest.approx(1 / 30)


def test_nothing_selected_leaves_nothing_to_compare() -> None:
    facts = choices(np.empty(0), np.array([0.5, INFEASIBLE]))
    assert (facts["count"], facts["pool"]) == (0, 2)
    assert {value for name, value in facts.items() if name not in ("count", "pool")} == {None}


def test_bins_of_the_size_of_an_edit() -> None:
    def bins(length: int, *changed: int) -> list[int]:
        edits = np.array([[1] * c + [0] * (length - c) for c in changed])
        return list(distance_bins(edits, np.zeros_like(edits), Domain(2, length, "")).tolist())

    assert bins(20, 0, 1, 2, 19, 20) == [0, 1, 2, 19, 20]  # an edge belongs to the bin below it
    assert bins(32, 0, 1, 2, 8, 32) == [0, 1, 2, 5, 20]  # .03, .06, .25, 1
    assert DISTANCES[[0, 1, 5, 20]].tolist() == [[0.0, 0.0], [0.0, 0.05], [0.2, 0.25], [0.95, 1.0]]
    edits = np.array([[0, 0], [0, 0], [1, 0], [0, 1], [2, 0], [1, 1]])
    scores = np.array([0.0, 0.5, 0.25, INFEASIBLE, INFEASIBLE, 0.0])
    facts = feasible_by_distance(edits, np.zeros_like(edits), scores, META.domain)
    # one of three feasible: sqrt(1/3 2/3 / 2)
    expected = {0.0: (2, 1.0, 0.0), 0.5: (3, pytest.approx(1 / 3), pytest.approx(1 / 3)), 1.0: (1, 1.0, None)}
    assert filled(facts, "feasible", "se_feasible") == expected


def test_bins_of_edits_where_lengths_differ() -> None:
    domain = Domain(3, 20, "", shortest=1)
    sources = np.array([[0, 1] * 10, [0, 1] * 10, [*[0] * 10, *[-1] * 10], [0, *[-1] * 19]])
    edits = np.array([[*[1, 0] * 9, 1, -1], [0, 1] * 10, [*[0] * 10, 2, *[-1] * 9], [1, 2, *[-1] * 18]])
    # one deletion of 20, none, one insertion to 11, a substitution and an insertion of 2
    assert distance_bins(edits, sources, domain).tolist() == [1, 0, 2, 20]


def test_bins_of_likelihood_and_their_means() -> None:
    likelihood = np.array([0.05, 0.15, 0.15, 0.95, 1.0])
    assert likelihood_bins(np.append(np.log(likelihood), 1e-12)).tolist() == [0, 1, 1, 9, 9, 9]
    facts = calibration(
        np.log(likelihood), np.array([INFEASIBLE, 0.5, 1.0, 0.25, 0.25]), np.array([0.0, 0.25, 0.75, 0.0, 0.0])
    )
    assert filled(facts, "score", "se_score", "reward", "se_reward") == {
        0.1: (1, 0.0, None, 0.0, None),
        0.2: (2, 0.75, pytest.approx(0.25), 0.5, pytest.approx(0.25)),
        1.0: (2, 0.25, 0.0, 0.0, 0.0),
    }
    assert len(facts["low"]) == len(LIKELIHOODS) == 10


def test_rounds_pooled_from_their_means_are_the_rounds_binned_at_once() -> None:
    bins = np.array([0, 0, 1, 0, 1, 3, 0, 3])
    values = np.array([0.5, 0.25, 1.0, 0.0, 0.5, 0.75, 1.0, 0.75])
    whole = bin_means(bins, values, 4)
    parts = [bin_means(bins[rows], values[rows], 4) for rows in (slice(0, 3), slice(3, 6), slice(6, 8), slice(0, 0))]
    back = [from_json(as_json(np.zeros((4, 2)), value=part), "value") for part in parts]
    pooled = pool_means(back)
    assert pooled.count.tolist() == whole.count.tolist() == [4, 2, 0, 2]
    # .5, .25, 0, 1: mean .4375, squares .546875 / (3 x 4)
    assert (whole.mean[0], whole.se[0]) == (0.4375, pytest.approx(np.sqrt(0.546875 / 12)))
    np.testing.assert_allclose(pooled.mean, whole.mean)
    np.testing.assert_allclose(pooled.se, whole.se)
    assert np.isnan(whole.mean[2])


def test_rank_correlation() -> None:
    ranks = np.array([1.0, 2.0, 3.0, 4.0])
    assert rank_correlation(ranks, np.exp(ranks)) == pytest.approx(1.0)
    assert rank_correlation(ranks, -ranks) == pytest.approx(-1.0)
    # infeasible ones share rank 1.5: products 3.5, squares 5 and 4.5
    assert rank_correlation(ranks, np.array([INFEASIBLE, INFEASIBLE, 0.5, 0.25])) == pytest.approx(3.5 / np.sqrt(22.5))
    assert rank_correlation(ranks, np.zeros(4)) is None
    assert rank_correlation(np.empty(0), np.empty(0)) is None


def test_scores_keep_the_invariants_of_a_table(tmp_path) -> None:
    table = Scored(META, sequences("000", "001"), np.array([0.5, INFEASIBLE]))
    table.write(tmp_path / "scored.parquet")
    assert Scored.read(tmp_path / "scored.parquet").score.tolist() == [0.5, INFEASIBLE]
    for bad, message in (
        (Scored(META, sequences("000", "000"), np.zeros(2)), "1 duplicate sequences"),
        (Scored(META, sequences("000"), np.array([np.nan])), "row 0 has score nan"),
    ):
        with pytest.raises(TableError, match=message):
            bad.write(tmp_path / "bad.parquet")
