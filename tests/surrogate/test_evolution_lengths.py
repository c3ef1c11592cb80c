"""Searching a surrogate where lengths differ or edits are limited: whole sequences, within the limits, and the optimum found."""

from __future__ import annotations

import numpy as np
import pytest
from lengths import draw_sequences, edit_distance, plain
from surrogate_fixtures import SwapsOneByOne

from llome.distances import edit_distances, sequence_lengths
from llome.domain import PAD, Domain
from llome.limits import keeps_limits
from llome.surrogate.evolution import candidates
from llome.surrogate.files import SurrogateCard, load_surrogate, save_surrogate
from llome.surrogate.fitting import fit
from llome.surrogate.known import Known
from llome.surrogate.network import Ensemble
from llome.surrogate.settings import Evolution
from llome.surrogate.states import as_sequences, as_states, count_states
from llome.surrogate.targets import Target
from llome.surrogate.variation import Pool, insert_or_delete
from llome.tables import row_keys

V, L = 4, 12
TARGET = [0, 1, 2, 3, 0, 2, 1, 3, 0]


class Nearness(SwapsOneByOne):
    """A judge that counts the edits to the target."""

    members = 2

    def score(self, member, sequences):
        rows = np.where(sequences == V, PAD, sequences)
        target = np.tile([*TARGET, *[PAD] * (L - len(TARGET))], (len(rows), 1))
        return -edit_distances(rows, target).astype(np.float32)


def search(domain, count=60, seed=0, rows=None, **settings):
    rows = draw_sequences(120, domain, seed=5) if rows is None else rows
    rows = rows[np.unique(row_keys(rows), return_index=True)[1]]
    scores = np.linspace(1, 0.1, len(rows))
    known = Known.of(as_states(rows, domain), scores, count_states(domain), domain)
    settings = {
        "generations": 25, "restarts": 1, "restart_generations": 25, "population": 600, "novelty": [0.1], "drift": 6,
    } | settings  # fmt: skip
    empty = known.pool.take(np.zeros(0, dtype=np.int64))
    judge = Nearness()
    found, facts = candidates(judge, Evolution(**settings), known, empty, count, num_states=V, random_seed=seed)
    return as_sequences(found.sequences, domain), as_sequences(found.sources, domain), rows, facts


LIMITS = [
    {"shortest": 5},
    {"shortest": 1, "max_edits": 1},
    {"shortest": 6, "max_edits": 3},
    {"shortest": 1, "max_edits": 4, "wild_type": tuple(TARGET[:7]), "edits_from": "wild_type"},
    {"max_edits": 1},
    {"max_edits": 2, "protected": (0, 1, 2, 3)},
    {"protected": tuple(range(1, L))},
    {"max_edits": 3, "wild_type": (0, 1) * 6, "edits_from": "wild_type"},
]


@pytest.mark.parametrize("settings", LIMITS)
def test_candidates_are_whole_new_and_within_the_limits_of_their_ancestors(settings):
    domain = Domain(V, L, "", **settings)
    found, sources, rows, facts = search(domain)
    lengths = sequence_lengths(found)
    assert ((lengths >= domain.least) & (lengths <= L)).all()
    np.testing.assert_array_equal(found >= 0, np.arange(L) < lengths[:, None])
    assert found.max() < V
    keys = row_keys(found)
    assert len(set(keys.tolist())) == len(keys) == 60
    assert not np.isin(keys, row_keys(rows)).any()
    assert np.isin(row_keys(sources), row_keys(rows)).all()
    assert keeps_limits(found, sources, domain).all()
    if domain.max_edits is not None and domain.edits_from == "parent":
        for row, source in zip(found, sources, strict=True):
            assert edit_distance(plain(row), plain(source)) <= domain.max_edits
    assert facts["guided"] > 0


def test_the_optimum_is_found_through_insertions_and_deletions():
    domain = Domain(V, L, "", shortest=5)
    rows = draw_sequences(150, domain, seed=2)
    target = np.array([[*TARGET, *[PAD] * (L - len(TARGET))]])
    assert edit_distances(rows, np.repeat(target, len(rows), axis=0)).min() >= 3
    found, _, _, _ = search(domain, rows=rows, drift=0, generations=40, population=1500)
    assert (found == target).all(axis=1).any()
    again = search(domain, rows=rows, drift=0, generations=40, population=1500)[0]
    np.testing.assert_array_equal(found, again)


def test_candidates_keep_their_edit_distance():
    domain = Domain(V, L, "", shortest=5)
    found, _, _, facts = search(domain, count=20, min_distance=3, explore=0.0, drift=0, restarts=0, population=2000)
    half = found[: facts["guided"] // 2]  # of one member
    apart = [edit_distance(plain(a), plain(b)) for i, a in enumerate(half) for b in half[:i]]
    assert min(apart) >= 3


def test_one_element_comes_or_goes():
    domain = Domain(V, L, "", shortest=2)
    rows = as_states(draw_sequences(3000, domain), domain)
    seen = np.ones((V + 1, V + 1), dtype=bool)
    seen[V, :V] = False
    made = as_sequences(insert_or_delete(rows, seen, V, np.random.default_rng(0)), domain)
    before = as_sequences(rows, domain)
    change = sequence_lengths(made) - sequence_lengths(before)
    assert set(change.tolist()) == {-1, 1}
    assert (edit_distances(made, before) == 1).all()
    assert 0.3 < (change == 1).mean() < 0.55  # none where there is no room
    np.testing.assert_array_equal(made >= 0, np.arange(L) < sequence_lengths(made)[:, None])
    assert (made.astype(int).max(), before.shape) == (V - 1, made.shape)


def test_an_inserted_element_has_been_seen_between_its_neighbours():
    row = np.array([[0, 2, 3, 3]])
    seen = np.zeros((4, 4), dtype=bool)
    seen[0, 1] = seen[1, 2] = seen[1, 0] = seen[0, 2] = seen[2, 3] = seen[3, 3] = True
    made = insert_or_delete(np.repeat(row, 500, axis=0), seen, 3, np.random.default_rng(0))
    middle = made[(made[:, 0] == 0) & (made[:, 1] != 2) & (made[:, 2] == 2)]
    assert len(middle) > 20
    assert (middle[:, 1] == 1).all()


def test_an_ensemble_learns_where_sequences_end(tmp_path):
    domain = Domain(V, L, "f" * 16, shortest=2)
    rows = draw_sequences(400, domain)
    scores = sequence_lengths(rows) / L
    ensemble = Ensemble(count_states(domain), L, members=2, filters=16, random_seed=0)
    target = Target.of(scores)
    states, weights = as_states(rows, domain), np.full(400, 1 / 400)
    error = fit(
        ensemble, states, scores, weights, target=target, steps=300, batch_size=64, learning_rate=3e-3, random_seed=0
    )  # fmt: skip
    assert error < 0.1
    other = draw_sequences(200, domain, seed=1)
    guess = ensemble.score(0, as_states(other, domain))
    assert np.corrcoef(guess, target.standardise(sequence_lengths(other) / L))[0, 1] > 0.9
    save_surrogate(tmp_path / "surrogate", ensemble, SurrogateCard(domain, 2, 16, {}))
    again, _ = load_surrogate(tmp_path / "surrogate")
    np.testing.assert_array_equal(again.score(1, as_states(other, domain)), ensemble.score(1, as_states(other, domain)))


def test_states_and_back():
    domain, fixed = Domain(V, L, "", shortest=1), Domain(V, L, "")
    rows = draw_sequences(30, domain)
    states = as_states(rows, domain)
    assert (states.min(), states.max(), count_states(domain), count_states(fixed)) == (0, V, V + 1, V)
    np.testing.assert_array_equal(as_sequences(states, domain), rows)
    assert as_states(rows, fixed) is rows
    pool = Pool(states, states)
    assert Known.of(states, np.ones(30), V + 1, domain).keeps(pool).all()
