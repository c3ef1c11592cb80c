"""What the made-up enzymes of enzyme.yaml really yield, for its evaluation alone and for the runs in enzyme_runs.csv; and a script that
stands in for a model, so that a task can be rehearsed before anything is paid for.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llome.leon.proposing import Answer, Request

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


class Rehearsal:
    """No language model: changes the best conditions that it is shown, at random. It knows nothing of enzymes."""

    name = "rehearsal, no language model"

    def propose(self, request: Request) -> Answer:
        """As many designs as are asked for; draws are keyed by the request's seed."""
        rng = np.random.default_rng(request.seed)
        best = request.best()
        designs = []
        for _ in range(request.count):
            start: Mapping[str, Any] = {"temperature": 55, "ph": 7.0, "salt": "none"}
            if best:
                start = best[int(rng.integers(min(4, len(best))))][0]
            temperature = round(float(np.clip(start["temperature"] + 6 * rng.normal(), 20, 90)))
            ph = round(float(np.clip(start["ph"] + 0.4 * rng.normal(), 5, 9)), 1)
            salt = str(rng.choice(list(SALTS))) if rng.random() < 0.3 else start["salt"]
            designs.append({"temperature": temperature, "ph": ph, "salt": salt})
        return Answer(json.dumps(designs))
