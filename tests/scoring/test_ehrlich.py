"""The Ehrlich function against pytorch-holo's golden instances, a naive implementation, and its own optimum."""

from __future__ import annotations

import json
import time
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from llome.errors import ConfigError, OracleError
from llome.scoring import Ehrlich, make_oracle
from llome.scoring.budget import Budget
from llome.scoring.oracle import read_settings

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = sorted((ROOT / "tests" / "golden").glob("ehr_*.json"))
PUBLISHED = sorted((ROOT / "configs" / "oracles").glob("ehr_*.yaml"))


def naive(oracle: Ehrlich, x: list[int]) -> float:
    """Eqs. 4 and 5 element by element."""
    if any(oracle.transition_matrix[a, b] == 0 for a, b in pairwise(x)):
        return -np.inf
    k, product = oracle.motif_length, 1.0
    step = -(-k // oracle.quantization)
    for motif, spacing in zip(oracle.motifs.tolist(), oracle.spacings.tolist(), strict=True):
        place = [sum(spacing[:j]) for j in range(k)]
        most = max(sum(x[start + place[j]] == motif[j] for j in range(k)) for start in range(len(x) - place[-1]))
        h = (most // step) / (k / step)
        product *= h * (1 + oracle.epistasis_factor * h * (h - 1))
    return product


def test_there_are_eleven_golden_instances_and_six_published():
    assert len(GOLDEN) == 11
    assert len(PUBLISHED) == 6


@pytest.mark.parametrize("path", GOLDEN, ids=lambda p: p.stem)
def test_golden(path):
    golden = json.loads(path.read_text())
    oracle = Ehrlich(**golden["function"])
    matrix = oracle.transition_matrix
    assert matrix.dtype == np.float32
    np.testing.assert_array_equal(np.round(matrix.astype(np.float64), 9), golden["transition_matrix"])
    np.testing.assert_array_equal(matrix == 0, np.array(golden["transition_matrix"]) == 0)
    assert oracle.motifs.tolist() == golden["motifs"]
    assert oracle.spacings.tolist() == golden["spacing_increments"]
    assert oracle.initial_solution().tolist() == golden["initial_solution"]
    assert oracle.optimal_solution().tolist() == golden["optimal_solution"]
    scores = oracle(np.array(golden["sequences"]))
    expected = np.array([-np.inf if s is None else s for s in golden["scores"]])
    assert scores.dtype == np.float64
    np.testing.assert_array_equal(scores == -np.inf, expected == -np.inf)
    feasible = expected > -np.inf
    np.testing.assert_allclose(scores[feasible], expected[feasible], rtol=0, atol=1e-6)


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda p: p.stem)
def test_published_configs_are_the_golden_instances(path):
    golden = json.loads((ROOT / "tests" / "golden" / f"{path.stem}_seed50494.json").read_text())
    oracle = make_oracle(read_settings(path))
    assert oracle.arguments == golden["function"]
    assert oracle.initial_solution().tolist() == golden["initial_solution"]


def test_initial_scores_of_the_published_functions():
    expected = {
        "ehr_v32_l32_c4_k4_q4": 0.0469,
        "ehr_v32_l32_c4_k4_q2": 0.0,
        "ehr_v32_l128_c4_k4_q4": 0.0039,
        "ehr_v32_l128_c4_k4_q2": 0.0,
        "ehr_v8_l128_c8_k8_q8": 0.126,
        "ehr_v32_l128_c8_k8_q8": 0.00015,
    }
    for path in PUBLISHED:
        oracle = make_oracle(read_settings(path))
        score = oracle(oracle.initial_solution()[None])[0]
        assert score == pytest.approx(expected[path.stem], abs=1e-3 if score > 0.1 else 6e-5)


@pytest.mark.parametrize(
    ("v", "dim", "c", "k", "q", "eps"),
    [
        (3, 9, 2, 2, 2, 0.0),
        (4, 12, 3, 4, 2, 0.7),
        (8, 12, 2, 3, 3, 0.0),
        (20, 40, 4, 6, 2, 4.0),
        (300, 24, 2, 4, 3, 1.0),
    ],
)
def test_against_naive(v, dim, c, k, q, eps):
    rng = np.random.default_rng(v)
    for seed in range(4):
        oracle = Ehrlich(v, dim, c, k, q, epistasis_factor=eps, random_seed=seed)
        best = oracle.optimal_solution()
        near = np.repeat(best[None], 60, axis=0)  # random sequences are mostly infeasible; edits of the optimum are not
        mask = rng.random(near.shape) < rng.random((60, 1)) * 0.3
        near[mask] = rng.integers(v, size=near.shape)[mask]
        repeats = np.repeat(rng.integers(v, size=(20, 1)), dim, axis=1)
        x = np.concatenate([best[None], near, repeats, rng.integers(v, size=(40, dim))])
        expected = np.array([naive(oracle, row) for row in x.tolist()])
        assert (expected > -np.inf).sum() > 20
        np.testing.assert_allclose(oracle(x), expected, rtol=1e-12, atol=0)
        assert oracle(x)[0] == oracle.optimum == 1.0


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.int32, np.int64])
def test_dtype_order_and_blocks_change_nothing(dtype, monkeypatch):
    oracle = Ehrlich(8, 20, 2, 4, 4, random_seed=1)
    x = np.random.default_rng(0).integers(8, size=(500, 20))
    expected = oracle(x)
    np.testing.assert_array_equal(oracle(np.asfortranarray(x.astype(dtype))), expected)
    monkeypatch.setattr("llome.scoring.ehrlich._BLOCK", 60)
    np.testing.assert_array_equal(oracle(x.astype(dtype)), expected)
    assert oracle(x[:0]).shape == (0,)


def test_defaults_are_pytorch_holos():
    oracle = Ehrlich()
    assert oracle.arguments == {
        "num_states": 5,
        "dim": 7,
        "num_motifs": 1,
        "motif_length": 3,
        "quantization": 3,
        "epistasis_factor": 0.0,
        "noise_std": 0.0,
        "random_seed": 0,
    }
    assert (oracle.length, oracle.deterministic, oracle.optimum) == (7, True, 1.0)


def test_initial_solutions_are_feasible():
    for seed in range(20):
        oracle = Ehrlich(12, 24, 2, 4, 4, random_seed=seed)
        assert oracle(oracle.initial_solution()[None])[0] >= 0


def test_fast_enough():
    oracle = Ehrlich(32, 128, 8, 8, 8, random_seed=50494)
    x = np.random.default_rng(0).integers(32, size=(20_000, 128))
    seconds = []
    for _ in range(3):
        start = time.process_time()
        oracle(x)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3


def test_repeated_observations_are_averaged_and_each_is_paid_for():
    oracle = Ehrlich(8, 12, 2, 3, noise_std=0.25, random_seed=5, repeats=3)
    sequences = np.tile(oracle.optimal_solution(), (40, 1))
    with Budget(oracle, total=7 + 120, spent=7) as budget:
        labels = budget.ask(sequences)
    by_hand = np.stack([oracle(sequences, query=7 + 40 * number) for number in range(3)], axis=1)
    np.testing.assert_array_equal(labels.measurements, by_hand)
    np.testing.assert_allclose(labels.score, by_hand.mean(axis=1), rtol=1e-15)
    assert budget.spent == 127
    again = Ehrlich.from_spec(json.loads(json.dumps(oracle.spec())))
    assert (again.repeats, again.fingerprint) == (3, oracle.fingerprint)
    assert oracle.fingerprint != Ehrlich(8, 12, 2, 3, noise_std=0.25, random_seed=5).fingerprint


def test_noise_is_keyed_by_query_number():
    oracle = Ehrlich(8, 12, 2, 3, noise_std=0.25, random_seed=5)
    assert not oracle.deterministic
    x = np.repeat(oracle.optimal_solution()[None], 4000, axis=0)
    whole = oracle(x, query=100)
    split = np.concatenate([oracle(x[:7], query=100), oracle(x[7:8], query=107), oracle(x[8:], query=108)])
    np.testing.assert_array_equal(split, whole)
    noise = (whole - 1) / 0.25
    assert abs(noise.mean()) < 4 / np.sqrt(4000)
    assert noise.std() == pytest.approx(1, abs=0.05)
    assert abs(np.corrcoef(noise[1:], noise[:-1])[0, 1]) < 4 / np.sqrt(4000)
    assert np.abs(noise).max() > 3
    other = Ehrlich(8, 12, 2, 3, noise_std=0.25, random_seed=6)
    assert (other(np.repeat(other.optimal_solution()[None], 10, axis=0), query=100) != whole[:10]).all()
    infeasible = np.argwhere(oracle.transition_matrix == 0)[0]
    row = np.concatenate([infeasible, np.full(10, infeasible[1])])
    assert oracle(row[None])[0] == -np.inf


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"dim": 11, "num_motifs": 4, "motif_length": 3}, ["4 motifs", "length 3", "12 positions", "dim = 11"]),
        ({"dim": 20, "motif_length": 5, "quantization": 3}, ["quantization = 3", "by 2", "divide 5", "[1, 5]"]),
        ({"quantization": 4}, ["quantization = 4", "1..3"]),
        ({"quantization": 0}, ["quantization = 0", "at least 1"]),
        ({"num_states": 2}, ["num_states = 2", "at least 3"]),
        ({"num_states": 40_000}, ["num_states = 40000", "32767"]),
        ({"noise_std": -0.1}, ["noise_std = -0.1"]),
        ({"repeats": 2}, ["repeats = 2", "without noise"]),
        ({"repeats": 0, "noise_std": 0.1}, ["repeats = 0"]),
        ({"noise_std": float("nan")}, ["noise_std = nan"]),
        ({"epistasis_factor": 4.5}, ["epistasis_factor = 4.5", "0..4"]),
        ({"epistasis_factor": "x"}, ["epistasis_factor = 'x'"]),
        ({"motif_length": 1}, ["motif_length = 1"]),
        ({"num_motifs": 0}, ["num_motifs = 0"]),
        ({"dim": 7.0}, ["dim = 7.0"]),
        ({"num_states": True}, ["num_states = True"]),
        ({"random_seed": -1}, ["random_seed = -1"]),
        ({"random_seed": 1 << 63}, ["random_seed"]),
    ],
)
def test_impossible_arguments(arguments, words):
    with pytest.raises(OracleError) as caught:
        Ehrlich(**arguments)
    for word in words:
        assert word in str(caught.value)


def test_unknown_keys_name_the_nearest():
    with pytest.raises(ConfigError, match=r"'num_motif'.*'num_motifs'"):
        make_oracle({"name": "ehrlich", "num_motif": 2}, "x.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml: name 'erlich' is unknown, did you mean 'ehrlich'"):
        make_oracle({"name": "erlich"}, "x.yaml")
    with pytest.raises(ConfigError, match="name is missing"):
        make_oracle({"num_states": 8})


def test_from_arrays_draws_nothing_and_refuses_what_has_no_optimum(monkeypatch):
    drawn = Ehrlich(8, 12, 2, 3, random_seed=2)
    monkeypatch.setattr(Ehrlich, "_draw", lambda self: pytest.fail("drawn again"))
    arrays = {
        "transition_matrix": drawn.transition_matrix,
        "motifs": drawn.motifs,
        "spacings": drawn.spacings,
        "initial_solution": drawn.initial_solution(),
    }
    same = Ehrlich.from_arrays(**arrays, random_seed=2)
    assert same.fingerprint == drawn.fingerprint
    assert Ehrlich.from_arrays(**arrays, random_seed=3).fingerprint != drawn.fingerprint
    first, second = np.argwhere(drawn.transition_matrix == 0)[0]
    motifs = drawn.motifs.copy()
    motifs[0, :2] = first, second
    with pytest.raises(OracleError, match="score -inf, not 1"):
        Ehrlich.from_arrays(**arrays | {"motifs": motifs})
    for change, words in [
        ({"spacings": drawn.spacings + 9}, "do not fit"),
        ({"spacings": drawn.spacings * 0}, "do not fit"),
        ({"spacings": drawn.spacings[:1]}, "shapes"),
        ({"motifs": drawn.motifs + 8}, r"outside 0\.\.7"),
        ({"motifs": drawn.motifs[0]}, "num_motifs = 0"),
        ({"transition_matrix": np.eye(8)}, "every state"),
        ({"transition_matrix": drawn.transition_matrix * 2}, "sum to 1"),
    ]:
        with pytest.raises(OracleError, match=words):
            Ehrlich.from_arrays(**arrays | change)


def test_bad_sequences():
    oracle = Ehrlich(8, 12, 2, 3)
    good = oracle.initial_solution()[None].repeat(3, axis=0)
    bad = good.copy()
    bad[2, 4] = 8
    with pytest.raises(OracleError, match=r"sequence 2 has an element outside 0\.\.7"):
        oracle(bad)
    with pytest.raises(OracleError, match=r"outside 0\.\.7"):
        oracle(good - 8)
    with pytest.raises(OracleError, match=r"\(3, 11\).*\(N, 12\)"):
        oracle(good[:, :-1])
    with pytest.raises(OracleError, match="float64"):
        oracle(good.astype(float))


def test_integers_of_any_size_and_byte_order_are_read_as_numbers():
    function = Ehrlich(num_states=8, dim=12, num_motifs=2, motif_length=3, random_seed=0)
    rows = np.stack([function.initial_solution(), function.optimal_solution()])
    for dtype in ("<i8", ">i8", ">i2", "i1", "u1", ">u4"):
        assert function.score(rows.astype(dtype)).tolist() == function.score(rows).tolist()
    for dtype in (">i8", "i1"):
        with pytest.raises(OracleError, match=r"sequence 1 has an element outside 0..7"):
            function.score(np.stack([rows[0], rows[1] - 20]).astype(dtype))
