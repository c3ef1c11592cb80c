"""Exact counts against every sequence scored one by one, against recurrences in whole numbers, and by hand."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from llome.errors import ConfigError, OracleError, TooManyStatesError
from llome.scoring import Ehrlich, make_oracle, markov, motifs
from llome.scoring.counting import count_feasible, count_optimal
from llome.scoring.oracle import read_settings

ORACLES = Path(__file__).resolve().parents[2] / "configs" / "oracles"


def counted(allowed: np.ndarray, elements, spacings, length: int) -> tuple[int, int]:
    optimal = count_optimal(allowed=allowed, motifs=np.array(elements), spacings=np.array(spacings), length=length)
    return count_feasible(allowed=allowed, length=length), optimal


def counted_of(oracle: Ehrlich) -> tuple[int, int]:
    return counted(oracle.transition_matrix > 0, oracle.motifs, oracle.spacings, oracle.length)


def everything(num_states: int, length: int) -> np.ndarray:
    """(V^L, L), all sequences there are."""
    return np.indices((num_states,) * length, dtype=np.uint8).reshape(length, -1).T


def by_force(oracle: Ehrlich) -> tuple[int, int]:
    scores = oracle.score(everything(oracle.num_states, oracle.length))
    return int((scores > -np.inf).sum()), int((scores == oracle.optimum).sum())


def by_windows(allowed: np.ndarray, elements, spacings, length: int) -> int:
    """Optimal sequences by another way: whole windows of past elements and the motifs found so far, in whole numbers."""
    places = motifs.offsets(np.array(spacings)).tolist()
    width = 1 + max(place[-1] for place in places)
    counts = Counter({((), frozenset()): 1})
    for _ in range(length):
        following: Counter = Counter()
        for (window, found), number in counts.items():
            for element in range(len(allowed)):
                if window and not allowed[window[-1], element]:
                    continue
                now = (*window, element)
                ended = {
                    i
                    for i, (motif, place) in enumerate(zip(elements, places, strict=True))
                    if len(now) > place[-1]
                    and all(now[p - place[-1] - 1] == m for p, m in zip(place, motif, strict=True))
                }
                following[now[1 - width :] if len(now) == width else now, found | ended] += number
        counts = following
    return sum(number for (_, found), number in counts.items() if len(found) == len(elements))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("v", "dim", "c", "k", "q", "eps"),
    [
        (3, 9, 3, 3, 3, 0.0),
        (4, 6, 1, 3, 3, 0.0),
        (4, 8, 2, 2, 2, 4.0),
        (4, 8, 2, 3, 1, 0.0),
        (4, 8, 2, 4, 2, 1.0),
        (4, 8, 4, 2, 1, 0.0),
        (5, 7, 1, 3, 3, 0.5),
        (5, 7, 2, 3, 3, 0.0),
        (6, 6, 2, 2, 2, 0.0),
    ],
)
def test_drawn_functions_by_force(v, dim, c, k, q, eps, seed):
    oracle = Ehrlich(v, dim, c, k, q, epistasis_factor=eps, random_seed=seed)
    feasible, optimal = by_force(oracle)
    assert 0 < optimal < feasible <= v**dim
    assert counted_of(oracle) == (feasible, optimal)


HAND_MADE = {
    "overlaps itself": ([[0, 0, 0]], [[2, 1]]),
    "elements repeat at a distance": ([[0, 1, 0, 1]], [[2, 1, 2]]),
    "mirror images": ([[0, 1, 0], [1, 0, 1]], [[1, 2], [2, 1]]),
    "twice the same": ([[1, 2], [1, 2]], [[3], [3]]),
    "same elements, other distances": ([[0, 1], [0, 1]], [[1], [3]]),
    "same start": ([[0, 1, 1], [0, 0, 1]], [[1, 1], [1, 1]]),
    "one symbol, two shapes": ([[2, 2, 2], [2, 2, 2]], [[1, 1], [2, 1]]),
    "tail of one is head of the next": ([[0, 0], [0, 1], [1, 1]], [[2], [1], [2]]),
    "fit into each other's gaps": ([[3, 2], [2, 2]], [[3], [3]]),
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_hand_made_functions_by_force(name):
    elements, spacings = HAND_MADE[name]
    allowed = np.ones((4, 4), dtype=bool)
    allowed[[0, 3, 1], [2, 1, 3]] = False
    oracle = Ehrlich.from_arrays(
        transition_matrix=allowed / allowed.sum(axis=1, keepdims=True),
        motifs=np.array(elements),
        spacings=np.array(spacings),
        initial_solution=np.zeros(8, dtype=int),
    )
    assert counted_of(oracle) == by_force(oracle)


def test_by_hand():
    """A 1 is never followed by a 0: 0000, 0001, 0011, 0111, 1111."""
    allowed = np.array([[True, True], [False, True]])
    assert counted(allowed, [[0, 1]], [[2]], 4) == (5, 3)  # 0001, 0011, 0111
    assert counted(allowed, [[0, 1], [1, 1]], [[2], [1]], 4) == (5, 2)  # 0011, 0111
    assert counted(allowed, [[0, 1], [0, 0]], [[2], [2]], 4) == (5, 1)  # 0001
    assert counted(allowed, [[1, 0]], [[3]], 4) == (5, 0)  # no way back
    assert counted(allowed, [[0, 1]], [[4]], 4) == (5, 0)  # too long
    assert counted(allowed, [[1]], np.zeros((1, 0), dtype=int), 1) == (2, 1)


@pytest.mark.parametrize(
    ("elements", "spacings"),
    [([[0, 1]], [[2]]), ([[2, 2], [0, 3]], [[1], [2]]), ([[2, 0]], [[1]]), ([[0, 2]], [[3]]), ([[3, 3]], [[1]])],
)
def test_states_that_lead_nowhere_or_come_from_nowhere(elements, spacings):
    """2 is only ever reached from itself, 3 ends a sequence: no Ehrlich function, but the counts hold for any graph."""
    allowed = np.array([[1, 1, 0, 1], [1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 0, 0]], dtype=bool)
    columns = everything(4, 7).T
    feasible = ~markov.has_forbidden(columns, ~allowed)
    full = feasible.copy()
    for motif, place in zip(np.array(elements, dtype=np.uint8), motifs.offsets(np.array(spacings)), strict=True):
        full &= motifs.best_matches(columns, motif, place) == len(motif)
    assert counted(allowed, elements, spacings, 7) == (feasible.sum(), full.sum())


@pytest.mark.parametrize("seed", range(3))
def test_longer_than_a_machine_word(seed):
    oracle = Ehrlich(4, 8, 2, 3, random_seed=seed)
    allowed = oracle.transition_matrix > 0
    feasible, optimal = counted(allowed, oracle.motifs, oracle.spacings, 48)
    assert feasible > 1 << 64
    assert optimal == by_windows(allowed, oracle.motifs.tolist(), oracle.spacings.tolist(), 48)


def recurrence(v: int, length: int, following) -> int:
    """Term `length` of a sequence of whole numbers; `following` makes a term of all before it, the first of which is 1."""
    terms = [1]
    for _ in range(length):
        terms.append(following(v, terms))
    return terms[length]


def test_as_long_and_wide_as_the_published_functions():
    """V = 32, L = 128: numbers of 640 bits, to the last."""
    allowed = np.ones((32, 32), dtype=bool)

    def without_0123(v, terms):
        return v * terms[-1] - (terms[-4] if len(terms) >= 4 else 0)

    def without_000(v, terms):
        return v * terms[-1] if len(terms) < 3 else (v - 1) * sum(terms[-3:])

    def without_01(v, terms):
        return v * terms[-1] - (terms[-2] if len(terms) >= 2 else 0)

    whole = 32**128
    assert counted(allowed, [[0, 1, 2, 3]], [[1, 1, 1]], 128) == (whole, whole - recurrence(32, 128, without_0123))
    assert counted(allowed, [[0, 0, 0]], [[1, 1]], 128) == (whole, whole - recurrence(32, 128, without_000))
    apart = recurrence(32, 32, without_01) ** 4  # a distance of 4: four sequences of length 32, interleaved
    assert counted(allowed, [[0, 1]], [[4]], 128) == (whole, whole - apart)


def test_feasible_sequences_are_walks():
    allowed = make_oracle(read_settings(ORACLES / "ehr_v32_l32_c4_k4_q4.yaml")).transition_matrix > 0
    walks = np.linalg.matrix_power(allowed.astype(float), 31).sum()
    assert count_feasible(allowed=allowed, length=32) == pytest.approx(walks, rel=1e-12)
    assert count_feasible(allowed=allowed, length=1) == 32


def test_only_full_motifs_reach_the_maximum():
    for k in range(2, 10):
        for q in range(1, k + 1):
            if k % -(-k // q) == 0:  # the others define no function
                for eps in (0.0, 0.5, 4.0):
                    responses = motifs.responses(k, q, eps)
                    assert responses[k] == 1
                    assert responses[:k].max() < 1


PUBLISHED = {
    "tiny": 2580195,
    "ehr_v32_l32_c4_k4_q4": 1150542932229106117491735573,
}
"""Optimal sequences, as an automaton of partial matches counts them as well (modulo 2^31 - 1, and in float64)."""

LARGE = {
    "ehr_v8_l128_c8_k8_q8": 107779786370280711336625400919514683529826065566731959649614109129236606394235377790,
    "ehr_v32_l128_c8_k8_q8": int(
        "674162470516635360567778074033231386930110601027207457258708816746627302422852375326511447475200000"
    ),
}
"""Too large for that automaton, which agrees on two and three of their motifs at a time."""


@pytest.mark.parametrize("name", [*PUBLISHED, *(pytest.param(name, marks=pytest.mark.slow) for name in LARGE)])
def test_shipped_functions(name):
    assert counted_of(make_oracle(read_settings(ORACLES / f"{name}.yaml")))[1] == (PUBLISHED | LARGE)[name]


def test_quantization_changes_nothing():
    fine, coarse = (make_oracle(read_settings(ORACLES / f"ehr_v32_l32_c4_k4_q{q}.yaml")) for q in (4, 2))
    assert fine.motifs.tolist() == coarse.motifs.tolist()
    assert counted_of(fine) == counted_of(coarse)


def test_too_many_states():
    oracle = make_oracle(read_settings(ORACLES / "ehr_v32_l128_c4_k4_q4.yaml"))
    arguments = {
        "allowed": oracle.transition_matrix > 0,
        "motifs": oracle.motifs,
        "spacings": oracle.spacings,
        "length": 128,
    }
    with pytest.raises(TooManyStatesError) as caught:
        count_optimal(**arguments, max_states=1000)
    for words in ("motifs [0, 1, 2, 3]", "max_states = 1,000", "at position ", " of 128; raise max_states"):
        assert words in str(caught.value)
    assert isinstance(caught.value, OracleError)
    with pytest.raises(ConfigError, match="max_states is 0"):
        count_optimal(**arguments, max_states=0)


def test_the_largest_set_of_motifs_decides():
    """As many states as it takes, and one fewer."""
    allowed = np.ones((3, 3), dtype=bool)
    arguments = {"allowed": allowed, "motifs": np.array([[0, 1]]), "spacings": np.array([[2]]), "length": 6}
    expected = 3**6 - 21 * 21  # of 27 ways to fill every second position, 21 have no 0 before a 1
    assert count_optimal(**arguments, max_states=4) == expected  # nothing, 1 next, 1 after next, both
    with pytest.raises(TooManyStatesError):
        count_optimal(**arguments, max_states=3)


def test_progress_hears_of_every_position():
    oracle, heard = Ehrlich(5, 9, 3, 2), []
    allowed = oracle.transition_matrix > 0
    count_optimal(allowed=allowed, motifs=oracle.motifs, spacings=oracle.spacings, length=9, progress=heard.append)
    assert sum(heard) == 7 * 9


def test_what_makes_no_function():
    allowed = np.ones((3, 3), dtype=bool)
    for change, words in [
        ({"allowed": allowed[:2]}, r"\(2, 3\)"),
        ({"length": 0}, "length is 0"),
        ({"spacings": np.array([[1, 1]])}, r"\(1, 2\), \(1, 2\)"),
        ({"motifs": np.array([[0, 3]])}, r"outside 0\.\.2"),
        ({"spacings": np.array([[0]])}, "below 1"),
    ]:
        arguments = {"allowed": allowed, "motifs": np.array([[0, 1]]), "spacings": np.array([[1]]), "length": 5}
        with pytest.raises(OracleError, match=words):
            count_optimal(**arguments | change)
