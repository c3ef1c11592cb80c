"""A black box of poli's as a function of strings, in the process that llome.scoring.serve runs. Needs `pip install llome[poli]`."""

from __future__ import annotations

from typing import Any

import numpy as np


class BlackBox:
    """Made by name and arguments; called with N texts, gives N scores. poli's black boxes are maximised, as ours are."""

    def __init__(self, name: str, arguments: dict[str, Any]) -> None:
        """Create it. Raises ImportError, naming the remedy, where poli is not installed."""
        try:
            from poli import objective_factory
        except ImportError as err:
            raise ImportError(f"poli is not installed here ({err}); install llome[poli]") from err
        self._black_box = objective_factory.create(name=name, **arguments).black_box

    def __call__(self, texts: list[str]) -> list[float]:
        """Scores of texts, which poli takes as an (N,) array of strings, or as (N, L) of letters where all are equally long."""
        alike = len({len(text) for text in texts}) == 1
        sequences = np.array([list(text) for text in texts] if alike else texts)
        scores = np.asarray(self._black_box(sequences), dtype=np.float64)
        return scores.reshape(len(texts), -1)[:, 0].tolist()
