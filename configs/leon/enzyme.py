"""What the made-up enzymes of enzyme.yaml really yield: for its evaluation alone, and for the runs in enzyme_runs.csv."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

SALTS = {"none": 0.8, "KCl": 1.0, "MgCl2": 1.1}


def measured_yield(designs: Sequence[Mapping[str, Any]], contexts: Sequence[Mapping[str, str]]) -> list[float]:
    """Percent of substrate converted: best 12 degrees below melting and at the variant's own pH; an enzyme that unfolds does nothing."""
    return [
        _yield(design, float(c["melting"]), float(c["best_ph"])) for design, c in zip(designs, contexts, strict=True)
    ]


def _yield(design: Mapping[str, Any], melting: float, best_ph: float) -> float:
    warm = math.exp(-(((design["temperature"] - melting + 12) / 14) ** 2))
    folded = 1 / (1 + math.exp((design["temperature"] - melting + 4) / 2))
    acid = math.exp(-(((design["ph"] - best_ph) / 1.1) ** 2))
    return 85 * warm * folded * acid * SALTS[design["salt"]]
