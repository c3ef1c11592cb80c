"""What becomes of a patient on a dose of warfarin, in a synthetic world: the ground truth of LEON's dosing task.

The best dose is that of the pharmacogenetic algorithm of the International Warfarin Pharmacogenetics Consortium (NEJM 360:753, 2009,
appendix) for the patient as he is, whatever his record lacks, and the outcome falls with the square of the distance from it. It is
asked twice: for the outcomes of doses that the source population was given, and for the doses that methods ended with, after all of
them have ended. Like every oracle it is out of reach of llome.leon. Research software, not medical advice.
"""

from __future__ import annotations

import numpy as np

from llome.errors import OracleError
from llome.leon.warfarin.patients import ANCESTRIES, UNKNOWN, Patients

_ANCESTRY = dict(zip(ANCESTRIES, (0.0, -0.1092, -0.2760, -0.1032), strict=True))
_VKORC1 = {"G/G": 0.0, "A/G": -0.8677, "A/A": -1.6974, UNKNOWN: -0.4854}
_CYP2C9 = {
    "*1/*1": 0.0,
    "*1/*2": -0.5211,
    "*1/*3": -0.9357,
    "*2/*2": -1.0616,
    "*2/*3": -1.9206,
    "*3/*3": -2.3312,
    UNKNOWN: -0.2188,
}


def best_dose(patients: Patients) -> np.ndarray:
    """(N,) mg a day by the pharmacogenetic algorithm, which predicts the square root of the weekly dose.

    Raises OracleError where a height or a weight is missing: patients have one, whatever their records say.
    """
    if np.isnan(patients.height).any() or np.isnan(patients.weight).any():
        raise OracleError("a patient without height or weight has no best dose; give patients as they are, not records")
    root = (
        5.6044
        - 0.2614 * patients.age
        + 0.0087 * patients.height
        + 0.0128 * patients.weight
        + _of(patients.vkorc1, _VKORC1)
        + _of(patients.cyp2c9, _CYP2C9)
        + _of(patients.ancestry, _ANCESTRY)
        + 1.1816 * patients.inducer
        - 0.5503 * patients.amiodarone
    )
    return np.maximum(root, 0) ** 2 / 7


def outcome(doses: np.ndarray, patients: Patients) -> np.ndarray:
    """(N,) doses in mg a day -> (N,) outcomes f(x; z) = -(x - x*(z))^2 in (mg a day)^2; 0 is best."""
    return -((doses - best_dose(patients)) ** 2)


def _of(values: np.ndarray, terms: dict[str, float]) -> np.ndarray:
    return np.array([terms[value] for value in values.tolist()])
