"""Rough Mount Fuji: the formula by hand, the optimum by trying everything, pytorch-holo's own numbers, noise and repeats."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from llome.errors import ConfigError, OracleError
from llome.scoring import Budget, load_oracle, make_oracle, save_oracle


def fuji(**settings: Any) -> Any:
    return make_oracle({"name": "rough_mt_fuji", "alphabet": 2, "length": 8, "random_seed": 3} | settings)


def everything(states: int, length: int) -> np.ndarray:
    return np.array(list(itertools.product(range(states), repeat=length)))


@pytest.mark.parametrize("maximize", [True, False])
@pytest.mark.parametrize("states", [2, 3])
def test_the_formula(states, maximize):
    oracle = fuji(alphabet=states, length=6, additive_term=0.4, random_term_std=0.7, maximize=maximize)
    x = everything(states, 6)
    centre, random = np.array(oracle.drawn["centre"]), np.array(oracle.drawn["random"])
    assert (random[:, 0] == 0).all()
    by_hand = [
        -0.4 * sum(a != b for a, b in zip(s, centre, strict=True)) + sum(random[i, e] for i, e in enumerate(s))
        for s in x
    ]
    np.testing.assert_allclose(oracle(x), by_hand if maximize else np.negative(by_hand), atol=1e-12)
    assert oracle.optimum == pytest.approx(oracle(x).max())


def test_it_is_pytorch_holos():
    """Numbers of pytorch-holo 0.0.5: RoughMtFuji(dim=8, additive_term=0.3, random_term_std=0.8, random_seed=...) of 00000000, ..1, .10."""
    for seed, theirs in {
        0: [-1.8000000715255737, -1.3543708324432373, -1.9773082733154297],
        3: [-0.9000000357627869, 0.390333354473114, -0.7823600769042969],
    }.items():
        oracle = fuji(additive_term=0.3, random_term_std=0.8, random_seed=seed)
        np.testing.assert_allclose(oracle(everything(2, 8)[:3]), theirs, atol=1e-6)


def test_from_its_spec_nothing_is_drawn_again(tmp_path, monkeypatch):
    oracle = fuji(noise_std=0.1)
    save_oracle(oracle, tmp_path / "o.json")
    monkeypatch.setattr("torch.randn", lambda *a, **k: pytest.fail("drawn again"))
    loaded = load_oracle(tmp_path / "o.json")
    x = everything(2, 8)
    np.testing.assert_array_equal(loaded(x, query=5), oracle(x, query=5))
    assert (loaded.fingerprint, loaded.optimum, loaded.deterministic) == (oracle.fingerprint, oracle.optimum, False)
    assert loaded.initial_solution().tolist() == oracle.initial_solution().tolist()
    assert fuji(start="0 1 0 1 0 1 0 1").initial_solution().tolist() == [0, 1] * 4


def test_noise_goes_by_the_number_of_a_measurement_and_repeats_average_it():
    oracle, x = fuji(noise_std=0.5, repeats=4), everything(2, 8)[:10]
    labels = Budget(oracle, spent=100, batch_size=3).ask(x)
    for repeat in range(4):
        np.testing.assert_array_equal(labels.measurements[:, repeat], oracle(x, query=100 + 10 * repeat))
    np.testing.assert_allclose(labels.score, labels.measurements.mean(axis=1), atol=1e-15)
    parts = [Budget(oracle, spent=100).ask(x, rows=rows) for rows in (slice(0, 4), slice(4, 10))]
    np.testing.assert_array_equal(np.concatenate([p.measurements for p in parts]), labels.measurements)
    assert np.concatenate([p.query for p in parts]).tolist() == labels.query.tolist() == list(range(100, 110))


def test_refusals():
    for settings, words in [
        ({"length": [4, 8]}, "one length"),
        ({"noise_std": -1}, "noise_std is -1"),
        ({"additive_term": "x"}, "additive_term is 'x'"),
        ({"random_seed": -1}, "random_seed is -1"),
        ({"num_states": 2}, "unknown key 'num_states'"),
    ]:
        with pytest.raises(ConfigError, match=words):
            fuji(**settings)
    with pytest.raises(OracleError, match="outside"):
        fuji()(everything(2, 8) + 1)
