"""The dose that is given without knowing a genotype: the clinical algorithm, and what clinicians of the source population made of it.

The algorithm is the baseline of the table. The surrogate does not see it, and no proposer is shown it.

Source: International Warfarin Pharmacogenetics Consortium, NEJM 360:753, 2009, appendix. It predicts the square root of the weekly dose.
"""

from __future__ import annotations

import numpy as np

from llome.draws import normals, row_keys, uniforms
from llome.errors import ConfigError
from llome.leon.warfarin import HIGHEST, LOWEST
from llome.leon.warfarin.patients import ANCESTRIES, Patients
from llome.provenance import derive_seed

SPREAD = 0.3
"""Standard deviation of the logarithm of doses given, around the algorithm's."""

_ANCESTRY = dict(zip(ANCESTRIES, (0.0, -0.6752, 0.4060, 0.0443), strict=True))


def clinical_dose(patients: Patients) -> np.ndarray:
    """(N,) mg a day by the clinical algorithm. Raises ConfigError where a height or weight is missing; fill them first."""
    if np.isnan(patients.height).any() or np.isnan(patients.weight).any():
        raise ConfigError("the clinical algorithm needs every height and weight; fill those that are missing first")
    root = (
        4.0376
        - 0.2546 * patients.age
        + 0.0118 * patients.height
        + 0.0134 * patients.weight
        + np.array([_ANCESTRY[name] for name in patients.ancestry.tolist()])
        + 1.2799 * patients.inducer
        - 0.5695 * patients.amiodarone
    )
    return root**2 / 7


def given_doses(patients: Patients, *, random_seed: int) -> np.ndarray:
    """(N,) mg a day that patients were given: the clinical algorithm's, times chance, in steps of 0.1 within the bounds; keyed by row.

    Chance stands for what clinicians saw that no record holds, for habit, and for doses that were adjusted later.
    """
    keys = row_keys(derive_seed(random_seed, "warfarin", "given"), np.arange(len(patients)))
    chance, _ = normals(uniforms(keys, 2))
    return np.round(np.clip(clinical_dose(patients) * np.exp(SPREAD * chance), LOWEST, HIGHEST), 1)
