"""What the surrogate sees of a patient: what a record holds without a blood sample. No genotype, and no formula's dose.

Heights and weights that a record lacks are the mean of its ancestry in the source population; two more columns say that they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llome.leon.warfarin.patients import Patients, filled

NAMES = (
    "dose",
    "age",
    "height",
    "weight",
    "height missing",
    "weight missing",
    "asian",
    "black",
    "mixed or missing",
    "enzyme inducer",
    "amiodarone",
)
"""The columns of the surrogate's inputs; the dose is the first."""
DOSE = 0
"""Its column."""


@dataclass(frozen=True)
class Features:
    """How records become columns; what they lack is filled in from the source population."""

    source: Patients
    """Its records."""

    def inputs(self, doses: np.ndarray, records: Patients) -> np.ndarray:
        """(N,) doses in mg a day and N records -> (N, 11) float64, in the units of the records; the surrogate standardises them."""
        whole = filled(records, self.source)
        parts = [doses, whole.age, whole.height, whole.weight, np.isnan(records.height), np.isnan(records.weight)]
        parts += [records.ancestry == name for name in ("asian", "black", "mixed or missing")]
        return np.column_stack([*parts, records.inducer, records.amiodarone]).astype(np.float64)
