"""What the surrogate sees of a patient: what a record holds without a blood sample. No genotype, and no formula's dose.

Heights and weights that a record lacks are the mean of its ancestry in the source population; two more columns say that they are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llome.leon.warfarin.patients import Patients, filled

NAMES = (
    "dose", "age", "height", "weight", "height missing", "weight missing", "asian", "black", "mixed or missing",
    "enzyme inducer", "amiodarone",
)  # fmt: skip
"""The columns of the surrogate's inputs; the dose is the first."""
DOSE = 0
"""Its column."""


@dataclass(frozen=True)
class Features:
    """How records become the columns after the dose, with means and spreads of the source population."""

    source: Patients
    """Its records."""

    def inputs(self, doses: np.ndarray, records: Patients) -> np.ndarray:
        """(N,) doses in mg a day and N records -> (N, 11) float64: each column standardised by the source's, the dose by `dose_scale`."""
        columns = _columns(records, self.source)
        known = _columns(self.source, self.source)
        spread = np.maximum(known.std(axis=0), 0.05)  # a column that hardly varies in the source is not blown up
        middle, scale = self.dose_scale
        return np.column_stack([(doses - middle) / scale, (columns - known.mean(axis=0)) / spread])

    @property
    def dose_scale(self) -> tuple[float, float]:
        """What is taken from a dose, and what it is divided by, mg a day: the same for every source, so that units stay."""
        return 5.0, 2.0


def _columns(records: Patients, known: Patients) -> np.ndarray:
    whole = filled(records, known)
    parts = [whole.age, whole.height, whole.weight, np.isnan(records.height), np.isnan(records.weight)]
    parts += [records.ancestry == name for name in ("asian", "black", "mixed or missing")]
    return np.column_stack([*parts, records.inducer, records.amiodarone]).astype(np.float64)
