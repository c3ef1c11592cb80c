"""The task's two tables, for people and for other tools: the source population's records, doses and outcomes; the test patients' records.

Patients as they are stay in memory of whoever drew them: what a record lacks is not in any file.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence

import numpy as np

from llome.leon.warfarin import NOTICE
from llome.leon.warfarin.patients import Patients

GENES = ("vkorc1", "cyp2c9")
"""What the surrogate's table leaves out."""


def source_csv(records: Patients, doses: np.ndarray, outcomes: np.ndarray) -> str:
    """A row a patient of the source population: record without genotypes, dose in mg a day, outcome in (mg a day)^2."""
    rows = []
    for row in range(len(records)):
        known = {name: value for name, value in records.described(row).items() if name not in GENES}
        rows.append({"patient": row, **known, "dose": f"{doses[row]:g}", "outcome": f"{outcomes[row]:.10g}"})
    return _csv(rows)


def patients_csv(records: Patients) -> str:
    """A row a test patient: the record."""
    return _csv([{"patient": row, **records.described(row)} for row in range(len(records))])


def _csv(rows: Sequence[Mapping[str, object]]) -> str:
    text = io.StringIO()
    text.write(f"# {NOTICE}\n")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
