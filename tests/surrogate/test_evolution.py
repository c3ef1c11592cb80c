"""Searching a surrogate: what candidates keep to, and that a judge's optimum is found."""

from dataclasses import dataclass, replace

import numpy as np
import pytest
from surrogate_fixtures import SwapsOneByOne

from llome.errors import ConfigError
from llome.surrogate.evolution import _drift, candidates
from llome.surrogate.known import Known
from llome.surrogate.settings import Evolution
from llome.surrogate.variation import Pool
from llome.tables import row_keys

V, L = 5, 12
TARGET = np.array([0, 1, 2, 3, 4, 0, 2, 4, 1, 3, 0, 1])


@dataclass
class Matches(SwapsOneByOne):
    """A judge that counts the elements of the target; it is asked for single members alone."""

    members: int = 2

    def score(self, member, sequences):
        assert 0 <= member < self.members
        return (sequences == TARGET).sum(axis=1).astype(np.float32)


def sequences(count, seed=0):
    return np.random.default_rng(seed).integers(0, V, (count, L)).astype(np.int16)


def known_of(rows, scores=None):
    return Known.of(rows, np.linspace(1, 0.1, len(rows)) if scores is None else scores, V)


def search(known, written=None, count=50, seed=3, members=2, **settings):
    settings = {
        "generations": 12,
        "restarts": members - 1,
        "restart_generations": 20,
        "population": 600,
        "novelty": [0.5],
        "drift": 5,
    } | settings
    rows = sequences(20, 9) if written is None else written
    found, facts = candidates(
        Matches(members), Evolution(**settings), known, Pool(rows, rows), count, num_states=V, random_seed=seed
    )
    return found, facts


def test_what_the_labels_say():
    rows = np.array([[0, 1, 2], [0, 2, 1], [1, 1, 1], [2, 0, 0]], dtype=np.int16)
    known = Known.of(rows, np.array([1.0, 0.6, 0.2, -np.inf]), 3)
    assert len(known.pool) == 3
    assert sorted(zip(*np.nonzero(known.seen), strict=True)) == [(0, 1), (0, 2), (1, 1), (1, 2), (2, 1)]
    assert not known.forbidden.any()  # 2 0 0 has two new transitions: either may be the fault
    assert known.feasible(np.array([[0, 2, 1], [2, 0, 1]])).tolist() == [True, False]
    assert row_keys(rows).tolist() == known.labeled.tolist()  # the infeasible one too: it is paid for
    # fewer than 100 good ones: all three feasible sequences count
    assert known.untried[0] == pytest.approx([1 / np.sqrt(3), 1 / np.sqrt(2), 1])
    assert known.novelty(np.array([[0, 0, 0]])) == pytest.approx([(1 / np.sqrt(3) + 2) / 3])


def test_an_infeasible_sequence_with_one_new_transition_shows_that_it_is_forbidden():
    rows = np.array([[0, 1, 2], [0, 2, 1], [0, 1, 0]], dtype=np.int16)
    known = Known.of(rows, np.array([1.0, 0.6, -np.inf]), 3)
    assert np.argwhere(known.forbidden).tolist() == [[1, 0]]
    # 1 0 is known, 1 1 and 2 2 are tried by the first rows that try nothing else new
    asked = np.array([[0, 1, 0], [0, 1, 1], [1, 1, 2], [1, 1, 1], [2, 2, 0], [0, 2, 2], [0, 1, 2]])
    assert known.tests(asked).tolist() == [1, 5]


def test_only_sequences_at_least_half_as_good_as_the_best_have_tried_an_element():
    rows = np.repeat(np.array([[0, 0], [1, 1]], dtype=np.int16), 150, axis=0)
    known = Known.of(rows, np.repeat([0.8, 0.39], 150), 2)
    assert known.untried == pytest.approx(np.array([[1 / np.sqrt(151), 1]] * 2))


def test_the_best_are_drawn_among_equals():
    rows = sequences(50)
    known = known_of(rows, np.repeat([1.0, 0.5, 0.25], [10, 30, 10]))
    drawn = [known.best(20, np.random.default_rng(seed)).sequences for seed in (0, 0, 1)]
    for found in drawn:
        assert set(row_keys(found[:10]).tolist()) == set(row_keys(rows[:10]).tolist())
        assert set(row_keys(found[10:]).tolist()) < set(row_keys(rows[10:40]).tolist())
    assert np.array_equal(drawn[0], drawn[1])
    assert not np.array_equal(drawn[0], drawn[2])
    assert len(known.best(300, np.random.default_rng(0))) == 50


def test_candidates_keep_to_seen_transitions_but_for_tests_of_one():
    rows = sequences(400) % 4  # a fifth element is known of nobody
    rows[:10, 5] = 4
    bad = np.full((1, L), 4, dtype=np.int16)  # one that is infeasible: so transitions may be forbidden
    known = known_of(np.concatenate([rows, bad]), np.append(np.linspace(1, 0.1, len(rows)), -np.inf))
    assert 9 < known.seen.sum() < 25
    found, facts = search(known, rows[:0], count=100, explore=0.4)
    unseen = (~known.seen[found.sequences[:, :-1], found.sequences[:, 1:]]).sum(axis=1)
    assert not unseen[:60].any()
    assert facts["tests"] == (unseen[60:] == 1).sum() > 0
    assert unseen.max() == 1


def test_the_judges_optimum_is_found_far_from_any_start():
    rows = sequences(40)
    assert (rows == TARGET).sum(axis=1).max() < 8
    found, facts = search(known_of(rows))
    assert (found.sequences == TARGET).all(axis=1).any()
    assert facts["guided"] == 40
    assert facts["explored"] == 10


@dataclass
class FirstHalf(Matches):
    """A judge that looks at the first half alone."""

    def score(self, member, sequences):
        return super().score(member, np.where(np.arange(L) < L // 2, sequences, TARGET))


def test_what_does_not_matter_drifts():
    """Every transition is seen, so that any element may follow."""
    known = known_of(np.concatenate([sequences(400), np.tile(TARGET, (1, 1)).astype(np.int16)]))
    rows = np.tile(TARGET, (300, 1)).astype(np.int16)
    found = _drift(FirstHalf(), 0, Pool(rows, rows), 40, known, np.random.default_rng(0))
    assert (found[:, : L // 2] == TARGET[: L // 2]).all()
    shares = np.array([np.bincount(column, minlength=V) for column in found[:, L // 2 :].T]) / len(found)
    assert shares.min() > 0.1  # 0.2 each, were they drawn for ever
    assert len(np.unique(row_keys(found))) > 280
    assert (_drift(FirstHalf(), 0, Pool(rows, rows), 0, known, np.random.default_rng(0)) == rows).all()


def test_candidates_are_new_distinct_and_apart():
    rows = np.concatenate([sequences(40), TARGET[None].astype(np.int16)])
    found, facts = search(known_of(rows), count=25, members=1, min_distance=3, population=3000, drift=0)
    keys = row_keys(found.sequences)
    assert len(set(keys.tolist())) == 25
    assert not np.isin(keys, row_keys(rows)).any()
    guided = found.sequences[: facts["guided"]]
    apart = (guided[:, None] != guided).sum(axis=2)
    assert len(guided) == 20
    assert apart[~np.eye(20, dtype=bool)].min() == 3
    assert np.isin(row_keys(found.sources), row_keys(np.concatenate([rows, sequences(20, 9)]))).all()


def test_without_generations_it_is_the_choice_among_proposals():
    rows = sequences(40)
    better = np.tile(TARGET, (30, 1)).astype(np.int16)
    better[np.arange(30), np.arange(30) % L] = (better[np.arange(30), np.arange(30) % L] + 1 + np.arange(30) // L) % V
    known = known_of(np.concatenate([rows, sequences(400, 5)]))  # every transition seen
    found, facts = search(
        known, better, 20, generations=0, restarts=0, min_distance=1, explore=0.0, novelty=[0.0], drift=0
    )
    assert facts == {"guided": 20, "proposed": 20, "explored": 0, "tests": 0}
    assert np.isin(row_keys(found.sequences), row_keys(better)).all()


def test_proposals_are_started_from_unless_they_are_left_out():
    """The target itself is proposed: without generations it can come from nowhere else."""
    known = known_of(sequences(400))
    for used in (True, False):
        found, facts = search(
            known, TARGET[None].astype(np.int16), 20, generations=0, restart_generations=0, proposals=used, drift=0
        )
        assert (found.sequences == TARGET).all(axis=1).any() == used
        assert facts["proposed"] == used


def test_the_seed_decides():
    known = known_of(sequences(40))
    first, again, other = (search(known, seed=seed)[0].sequences for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_small_space_is_exhausted_and_no_more():
    """Of 2^4 sequences six are labelled."""
    space = np.stack(np.unravel_index(np.arange(16), (2,) * 4), axis=1).astype(np.int16)

    class Flat(SwapsOneByOne):
        members = 1

        def score(self, member, rows):
            return np.zeros(len(rows), dtype=np.float32)

    known = Known.of(space[:6], np.ones(6), 2)
    known = replace(known, seen=np.ones((2, 2), dtype=bool))
    settings = Evolution(generations=2, restarts=0, population=50, min_distance=1)
    empty = Pool(space[:0], space[:0])
    found, _ = candidates(Flat(), settings, known, empty, 100, num_states=2, random_seed=0)
    assert sorted(map(tuple, found.sequences.tolist())) == sorted(map(tuple, space[6:].tolist()))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("generations", -1),
        ("population", 0),
        ("min_distance", 0),
        ("drift", -1),
        ("novelty", []),
        ("novelty", [-1.0]),
        ("explore", 1.5),
    ],
)
def test_impossible_settings(setting, value):
    with pytest.raises(ConfigError, match=rf"evolve\.{setting} is .*{'' if value == [] else str(value).strip('[]')}"):
        Evolution(**{setting: value})
