"""The surrogate f_hat(x; z) of designs that are no sequences: vectors of what is known of the context and what is chosen for it.

For sequences it is the one that candidates are evolved on (llome.surrogate), with the same heads, the same clusters held out and the same
calibration.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from llome.errors import ConfigError, DivergedError
from llome.provenance import derive_seed
from llome.surrogate.holding import cells
from llome.surrogate.judging import fit_predictor
from llome.surrogate.predicting import Prediction, Predictor
from llome.surrogate.vectors import VectorEnsemble


@dataclass(frozen=True, kw_only=True)
class SurrogateSettings:
    """Settings of a fit to vectors."""

    members: int = 4
    """Networks of the ensemble."""
    hidden: int = 64
    """Units of each of the two hidden layers."""
    steps: int = 2000
    """The most optimiser steps (AdamW); fewer where designs held out are foreseen no better."""
    batch_size: int = 128
    """Designs a member and step."""
    learning_rate: float = 3e-3
    """Peak learning rate, falling to zero."""
    held_out: float = 0.2
    """Share of the designs, whole clusters, that the fit does not see: they stop and calibrate it, and say how good it is."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        for name in ("members", "hidden", "steps", "batch_size"):
            if getattr(self, name) < 1:
                raise ConfigError(f"surrogate.{name} is {getattr(self, name)}; it must be at least 1")
        if not 0 < self.learning_rate < float("inf"):
            raise ConfigError(f"surrogate.learning_rate is {self.learning_rate}; it must be above 0")
        if not 0 <= self.held_out < 1:
            raise ConfigError(f"surrogate.held_out is {self.held_out}; it is a share, from 0 to below 1")


@dataclass(frozen=True)
class Surrogate:
    """A fitted surrogate of vectors."""

    predictor: Predictor
    network: VectorEnsemble
    facts: dict[str, float | None]
    """Rows fitted to and held out; rank correlation, area under the curve of feasibility, shares of errors within the spread."""

    def predict(self, inputs: np.ndarray) -> Prediction:
        """(N, D) -> what is foreseen of each."""
        return self.predictor.predict(inputs)

    def gradient(self, inputs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, D) -> (N,) mean score in standard deviations, and (N, D) its gradient."""
        return self.network.slope(inputs)


def fit_vectors(
    inputs: np.ndarray,
    scores: np.ndarray,
    *,
    settings: SurrogateSettings,
    random_seed: int,
    groups: np.ndarray | None = None,
) -> Surrogate:
    """Fit an ensemble to vectors.

    Args:
        inputs: (N, D) finite numbers.
        scores: (N,), higher is better, -inf infeasible.
        settings: of the fit.
        random_seed: of the weights, the rows and what is held out.
        groups: (N,) names of clusters that are held out as a whole, such as patients; None: cells around designs drawn at random.

    Raises:
        ConfigError: shapes that do not fit, an input that is no finite number, no feasible design.
        DivergedError: the fit ended in numbers that are not finite.
    """
    inputs, scores = np.asarray(inputs, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    if inputs.ndim != 2 or scores.shape != (len(inputs),):
        raise ConfigError(f"inputs have shape {inputs.shape} and scores {scores.shape}; give (N, D) and (N,)")
    if not np.isfinite(inputs).all():
        row = int((~np.isfinite(inputs)).any(axis=1).argmax())
        raise ConfigError(f"row {row} of the inputs holds {inputs[row]}; fill in what is missing")
    if np.isnan(scores).any() or np.isposinf(scores).any():
        row = int((np.isnan(scores) | np.isposinf(scores)).argmax())
        raise ConfigError(f"score {row} is {scores[row]}; a score is a number, or -inf where infeasible")
    finite = np.isfinite(scores)
    if not finite.any():
        raise ConfigError(f"none of {len(scores)} designs is feasible, so there is no score to learn from")
    seed = derive_seed(random_seed, "leon", "surrogate")
    network = VectorEnsemble(
        inputs,
        members=settings.members,
        hidden=settings.hidden,
        random_seed=derive_seed(seed, "weights"),
        outputs=1 if finite.all() else 2,
    )
    predictor, facts = fit_predictor(
        network,
        inputs,
        scores,
        np.full(len(scores), 1 / len(scores)),
        cells((inputs - inputs.mean(axis=0)) / np.maximum(inputs.std(axis=0), 1e-12), random_seed=seed)
        if groups is None
        else np.unique(groups, return_inverse=True)[1],
        held_out=settings.held_out,
        steps=settings.steps,
        batch_size=settings.batch_size,
        learning_rate=settings.learning_rate,
        random_seed=seed,
    )
    error = facts["error"]
    if error is None or not np.isfinite(error):
        raise DivergedError(f"the surrogate's error is {error} at learning_rate {settings.learning_rate}; lower it")
    return Surrogate(predictor, network, facts)
