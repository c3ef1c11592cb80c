"""Where no label is infeasible, nothing says that a transition is forbidden."""

from __future__ import annotations

import numpy as np

from llome.surrogate.known import Known


def test_without_an_infeasible_label_every_transition_may_be_tried() -> None:
    rows = np.array([[0, 1, 2], [0, 2, 1]], dtype=np.int16)
    everything = np.stack(np.meshgrid(*[np.arange(3)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    known = Known.of(rows, np.array([1.0, 0.5]), 3)
    assert known.feasible(everything).all()
    assert not len(known.tests(everything))
    warned = Known.of(np.concatenate([rows, [[2, 2, 2]]]), np.array([1.0, 0.5, -np.inf]), 3)
    assert everything[warned.feasible(everything)].tolist() == [[0, 1, 2], [0, 2, 1], [1, 2, 1], [2, 1, 2]]
