"""What the figures of an analysis draw: lines with their mean, as scores or as regrets."""

from __future__ import annotations

import numpy as np

from llome.reporting.curves import average_rounds
from llome.reporting.plots import Line, Series


def averaged(label: str, colour: int, lines: list[Line], variant: str = "", panel: str = "") -> list[Series]:
    """The series of these lines, a gap where nothing is known, with their mean where there are several; none without a number."""
    lines = [line for line in lines if not np.isnan(line.y).all()]
    band = average_rounds([(line.x, line.y) for line in lines]) if len(lines) > 1 else None
    return [Series(label, colour, lines, band, variant, panel)] if lines else []


def shown(scores: np.ndarray, optimum: float | None) -> np.ndarray:
    """Regrets where the optimum is known."""
    return scores if optimum is None else optimum - scores
