"""Neighbours and matched examples by edit distance, against the plain table."""

from __future__ import annotations

import numpy as np
import pytest
from lengths import edit_distance, plain

from llome.data.datamodule import PropEnDataModule
from llome.data.neighbours import find_neighbours
from llome.data.pairs import match_examples
from llome.domain import PAD, Domain
from llome.errors import ConfigError
from llome.policy.causal_lm import PolicyCard, build_small_policy, save_policy
from llome.tables import Labeled, Meta


def clustered(total, domain, seed=0):
    """Distinct sequences made of a few by insertions, deletions and substitutions."""
    rng = np.random.default_rng(seed)
    roots = rng.integers(domain.num_states, size=(4, domain.length)).tolist()
    rows = set()
    while len(rows) < total:
        row = roots[rng.integers(4)][: rng.integers(domain.least, domain.length + 1)]
        for _ in range(rng.integers(0, 4)):
            place = rng.integers(len(row))
            if rng.random() < 0.3 and len(row) > domain.least:
                del row[place]
            elif rng.random() < 0.5 and len(row) < domain.length:
                row.insert(place, int(rng.integers(domain.num_states)))
            else:
                row[place] = int(rng.integers(domain.num_states))
        rows.add(tuple(row))
    rows = sorted(rows)
    return np.array([[*rows[i], *[PAD] * (domain.length - len(rows[i]))] for i in rng.permutation(total)], np.int16)


def table_of(sequences):
    rows = [plain(row) for row in sequences]
    return np.array([[edit_distance(a, b) for b in rows] for a in rows])


@pytest.mark.parametrize(
    ("length", "shortest", "states", "k"), [(12, 8, 4, 9), (9, 1, 20, 30), (9, 9, 20, 5), (70, 60, 3, 4)]
)
@pytest.mark.parametrize("block", [1, 1000, 10**9])
def test_are_the_nearest_by_the_plain_table(length, shortest, states, k, block):
    sequences = clustered(70, Domain(states, length, "", shortest=shortest))
    indices, distances = find_neighbours(sequences, k, random_seed=3, distance="edit", block_elements=block)
    expected = table_of(sequences)
    np.testing.assert_array_equal(np.take_along_axis(expected, indices, axis=1), distances)
    np.fill_diagonal(expected, length + 1)
    np.testing.assert_array_equal(np.sort(expected, axis=1)[:, :k], distances)
    assert all(len(set(row)) == k for row in indices.tolist())
    near, capped = find_neighbours(sequences, k, random_seed=3, distance="edit", most=2, block_elements=block)
    np.testing.assert_array_equal(capped, np.minimum(distances, 3))
    within = distances <= 2
    np.testing.assert_array_equal(near[within], indices[within])


def test_ties_are_the_rule_of_all_distances():
    sequences = np.eye(50, dtype=np.int16)  # of one length, two substitutions apart in either distance
    for got, want in zip(
        find_neighbours(sequences, 4, random_seed=11, distance="edit"),
        find_neighbours(sequences, 4, random_seed=11),
        strict=True,
    ):
        np.testing.assert_array_equal(got, want)


@pytest.mark.parametrize("kind", ["pairs", "triples"])
def test_examples_are_all_there_are_within_a_share_of_the_longer(kind):
    domain = Domain(4, 12, "", shortest=6)
    sequences, scores = clustered(80, domain), np.random.default_rng(1).integers(4, size=80) / 3
    examples = match_examples(
        sequences, scores, kind=kind, num_neighbours=79, max_distance=0.25, max_infeasible=1.0,
        max_triples_per_source=10**6, random_seed=0, distance="edit",
    )  # fmt: skip
    apart, lengths = table_of(sequences), (sequences >= 0).sum(axis=1)
    near = (apart <= 0.25 * np.maximum(lengths[:, None], lengths)) & (apart > 0)
    better = near & (scores > scores[:, None])
    worse = near & (scores <= scores[:, None])
    if kind == "pairs":
        expected = {(int(a), int(b)) for a, b in zip(*np.nonzero(better), strict=True)}
    else:
        expected = {
            (a, int(b), int(c)) for a in range(80) for b in np.flatnonzero(better[a]) for c in np.flatnonzero(worse[a])
        }
    found = {(int(a), *map(int, b)) for a, b in zip(examples.sources, examples.targets, strict=True)}
    assert found == expected
    assert len(found) == len(examples) > 50


def test_the_module_takes_the_edit_distance_where_lengths_differ_and_refuses_hammings(tmp_path):
    domain = Domain(4, 12, "f" * 16, shortest=6)
    model, tokenizer = build_small_policy(4, 12, hidden_size=16, num_layers=1, num_heads=2, random_seed=0)
    save_policy(tmp_path / "model", model, tokenizer, PolicyCard("base", domain))
    Labeled(
        meta=Meta(domain, spent=80), sequence=clustered(80, domain), score=np.random.default_rng(1).integers(4, size=80) / 3,
        query=np.arange(80), round=np.zeros(80, np.int32), origin=np.array(["ga"] * 80, dtype=object),
    ).write(tmp_path / "labeled.parquet")  # fmt: skip

    def module(**settings):
        data = PropEnDataModule(str(tmp_path / "model"), [str(tmp_path / "labeled.parquet")], **settings)
        data.setup("fit")
        return data

    one, other = module(), module(distance="edit")
    np.testing.assert_array_equal(one.examples.targets, other.examples.targets)
    batch = next(iter(one.train_dataloader()))[0]
    assert len({int(n) for n in batch["completion_mask"].sum(dim=2).ravel()}) > 1
    with pytest.raises(ConfigError, match="distance is hamming, but sequences have lengths 6 to 12"):
        module(distance="hamming")
