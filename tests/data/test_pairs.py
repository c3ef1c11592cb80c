"""Algorithm 2 against its definition, the caps, the split, and what is said when nothing matches."""

import numpy as np
import pytest

from llome.data.neighbours import find_neighbours
from llome.data.pairs import Examples, match_examples, select_best, split_by_source
from llome.errors import ConfigError, LlomeError

SETTINGS = {
    "num_neighbours": 8,
    "max_distance": 0.25,
    "max_infeasible": 0.1,
    "max_triples_per_source": 5,
    "random_seed": 7,
}


@pytest.fixture(scope="module")
def population():
    rng = np.random.default_rng(1)
    base = rng.integers(6, size=(6, 12))
    rows = base[rng.integers(6, size=500)]
    rows = np.where(rng.random(rows.shape) < 0.1, rng.integers(6, size=rows.shape), rows)
    sequences = np.unique(rows, axis=0).astype(np.int16)
    sequences = sequences[rng.permutation(len(sequences))]
    scores = rng.integers(4, size=len(sequences)) / 4
    scores[rng.random(len(sequences)) < 0.4] = -np.inf
    return sequences, scores


def expected_examples(sequences, scores, kind):
    indices, distances = find_neighbours(sequences, 8, random_seed=7)
    found = set()
    for i in range(len(sequences)):
        near = [j for j, d in zip(indices[i].tolist(), distances[i].tolist(), strict=True) if d / 12 <= 0.25]
        for j in near:
            if scores[j] > scores[i]:
                if kind == "pairs":
                    found.add((i, j))
                else:
                    found.update((i, j, k) for k in near if scores[i] >= scores[k])
    return found


def rows_of(examples):
    return list(zip(examples.sources.tolist(), *examples.targets.T.tolist(), strict=True))


@pytest.mark.parametrize("kind", ["pairs", "triples"])
def test_is_algorithm_2(population, kind):
    sequences, scores = population
    settings = SETTINGS | {"max_infeasible": 1.0, "max_triples_per_source": 10**6}
    rows = rows_of(match_examples(sequences, scores, kind=kind, **settings))
    assert len(rows) > 300
    assert len(rows) == len(set(rows))
    assert set(rows) == expected_examples(sequences, scores, kind)


@pytest.mark.parametrize("kind", ["pairs", "triples"])
def test_infeasible_sources_are_capped_by_a_stable_choice(population, kind):
    sequences, scores = population
    everything = match_examples(sequences, scores, kind=kind, **SETTINGS | {"max_infeasible": 1.0})
    capped = match_examples(sequences, scores, kind=kind, **SETTINGS)
    infeasible = np.isneginf(scores[capped.sources])
    num_feasible = int((~infeasible).sum())
    assert num_feasible == int(np.isfinite(scores[everything.sources]).sum())
    assert infeasible.sum() == int(num_feasible * 0.1 / 0.9)
    assert set(rows_of(capped)) <= set(rows_of(everything))
    fewer = match_examples(sequences, scores, kind=kind, **SETTINGS | {"max_infeasible": 0.05})
    assert set(rows_of(fewer)) < set(rows_of(capped))  # keyed: a lower cap drops rows, it draws no others
    none = match_examples(sequences, scores, kind=kind, **SETTINGS | {"max_infeasible": 0.0})
    assert np.isfinite(scores[none.sources]).all()


def test_where_all_feasible_ones_are_alike_what_is_feasible_is_learnt():
    """A coarse function, and a seed that has found nothing: every feasible sequence scores 0."""
    rng = np.random.default_rng(0)
    sequences = np.unique(rng.integers(0, 3, (60, 8)), axis=0)
    scores = np.where(np.arange(len(sequences)) % 2, 0.0, -np.inf)
    settings = SETTINGS | {"max_distance": 1.0}
    found = match_examples(sequences, scores, kind="pairs", **settings)
    assert len(found) > 100
    assert np.isneginf(scores[found.sources]).all()
    assert (scores[found.targets] == 0).all()
    with pytest.raises(LlomeError, match=r"none is left under max_infeasible 0.0; raise max_infeasible"):
        match_examples(sequences, scores, kind="pairs", **settings | {"max_infeasible": 0.0})
    scores[1] = 0.5
    assert np.isfinite(scores[match_examples(sequences, scores, kind="pairs", **settings).sources]).any()


def test_triples_are_capped_a_source(population):
    sequences, scores = population
    settings = SETTINGS | {"max_infeasible": 1.0}
    counts = np.bincount(match_examples(sequences, scores, kind="triples", **settings).sources, minlength=len(scores))
    everything = expected_examples(sequences, scores, "triples")
    full = np.bincount([i for i, _, _ in everything], minlength=len(scores))
    np.testing.assert_array_equal(counts, np.minimum(full, 5))
    one = match_examples(sequences, scores, kind="triples", **settings)
    other = match_examples(sequences, scores, kind="triples", **settings | {"random_seed": 8})
    assert rows_of(one) == rows_of(match_examples(sequences, scores, kind="triples", **settings))
    assert rows_of(one) != rows_of(other)


def test_split_keeps_a_source_on_one_side(population):
    sequences, scores = population
    examples = match_examples(sequences, scores, kind="pairs", **SETTINGS)
    train, val = split_by_source(examples, sequences, 0.2, random_seed=3)
    assert sorted([*train, *val]) == list(range(len(examples)))
    of_train, of_val = set(examples.sources[train].tolist()), set(examples.sources[val].tolist())
    assert not of_train & of_val
    assert len(of_val) == round(0.2 * len(of_train | of_val))
    wider = split_by_source(examples, sequences, 0.4, random_seed=3)[1]
    assert set(val.tolist()) < set(wider.tolist())
    assert set(split_by_source(examples, sequences, 0.2, random_seed=4)[1].tolist()) != set(val.tolist())


def test_split_follows_the_sequences_not_their_order(population):
    sequences, scores = population
    examples = match_examples(sequences, scores, kind="pairs", **SETTINGS)
    val = split_by_source(examples, sequences, 0.1, random_seed=3)[1]
    order = np.random.default_rng(0).permutation(len(sequences))
    moved = Examples(np.argsort(order)[examples.sources], np.argsort(order)[examples.targets])
    moved_val = split_by_source(moved, sequences[order], 0.1, random_seed=3)[1]
    assert val.tolist() == moved_val.tolist()


@pytest.mark.parametrize(
    ("sources", "fraction", "held_out"), [([0, 0, 0], 0.05, 0), ([0, 1], 0.05, 1), ([0, 1], 0.99, 1), ([0, 1], 0.0, 0)]
)
def test_split_of_few_sources(sources, fraction, held_out):
    examples = Examples(np.array(sources), np.full((len(sources), 1), 2))
    train, val = split_by_source(examples, np.arange(6).reshape(3, 2), fraction, random_seed=0)
    assert len(val) == held_out
    assert len(train) == len(sources) - held_out


def test_no_example_names_the_counts_and_the_settings(population):
    sequences, scores = population
    with pytest.raises(
        LlomeError, match=r"no training pairs: of \d+ labelled sequences \(\d+ feasible\), 0 have .*raise max_distance"
    ):
        match_examples(sequences, scores, kind="pairs", **SETTINGS | {"max_distance": 0.0})
    with pytest.raises(LlomeError, match="0 a better one"):
        match_examples(sequences, np.zeros(len(scores)), kind="triples", **SETTINGS)
    with pytest.raises(LlomeError, match="no training pairs: of 1 labelled"):
        match_examples(sequences[:1], scores[:1], kind="pairs", **SETTINGS)


@pytest.mark.parametrize(
    ("name", "value"),
    [("num_neighbours", 0), ("max_distance", 1.5), ("max_infeasible", -0.1), ("max_triples_per_source", 0)],
)
def test_settings_out_of_range(population, name, value):
    with pytest.raises(ConfigError, match=f"{name} is {value}"):
        match_examples(*population, kind="pairs", **SETTINGS | {name: value})
    with pytest.raises(ConfigError, match="val_fraction is 1"):
        split_by_source(Examples(np.array([0]), np.array([[1]])), population[0], 1.0, random_seed=0)


@pytest.mark.parametrize(
    ("scores", "count", "kept"),
    [
        ([0.1, 0.9, -np.inf, 0.5, 0.5], 3, [1, 3, 4]),
        ([0.5, 0.9, -np.inf, 0.5, 0.5], 2, [0, 1]),  # of equal ones the first labelled
        ([0.9, 0.9, 0.9, 0.5, 0.1, 0.5], 2, [0, 3]),  # alike, they teach nothing: half may be
        ([0.9, 0.9, 0.9, 0.5, 0.1, 0.5], 4, [0, 1, 3, 5]),
        ([0.9, 0.9, 0.9, 0.1, 0.5, -np.inf], 5, [0, 1, 2, 3, 4]),
        ([0.9, 0.9, 0.9], 4, [0, 1]),
        ([-np.inf, 0.9], 5, [0, 1]),
    ],
)
def test_selection_keeps_the_best_and_something_to_improve_on(scores, count, kept):
    assert select_best(np.array(scores), np.arange(len(scores)), count).tolist() == kept
