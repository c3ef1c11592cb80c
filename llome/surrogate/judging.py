"""Fits a surrogate, and says how good it is on labels that nothing was chosen by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torchmetrics.functional.classification import binary_auroc

from llome.surrogate.fitting import HeldOut, fit
from llome.surrogate.holding import hold_out
from llome.surrogate.network import Network
from llome.surrogate.predicting import Calibration, Prediction, Predictor
from llome.surrogate.targets import Target, rank_correlation


def fit_predictor(
    network: Network,
    designs: np.ndarray,
    scores: np.ndarray,
    weights: np.ndarray,
    groups: np.ndarray,
    *,
    held_out: float,
    steps: int,
    batch_size: int,
    learning_rate: float,
    random_seed: int,
) -> tuple[Predictor, dict[str, float | None]]:
    """Fit a network, hold some labels out, and say how good it is on them.

    Args:
        network: changed in place.
        designs: (N, ...).
        scores: (N,), -inf infeasible; some are finite.
        weights: (N,) with which rows are drawn, of any sum.
        groups: (N,) cluster of each row; each is held out as a whole, or not at all.
        held_out: share of the rows to hold out, 0 for none.
        steps: optimiser steps, the most of them where some are held out.
        batch_size: rows of a member a step.
        learning_rate: peak learning rate.
        random_seed: of the rows held out and of those drawn.

    Returns:
        The predictor, and its facts: rows fitted to and held out, error of the last step, and those of `judge`.
    """
    target = Target.of(scores[np.isfinite(scores)])
    rows, stop, last = hold_out(groups, scores, held_out, random_seed=random_seed)
    error = fit(
        network,
        designs[rows],
        scores[rows],
        weights[rows],
        target=target,
        steps=steps,
        batch_size=batch_size,
        learning_rate=learning_rate,
        random_seed=random_seed,
        held_out=HeldOut(designs[stop], scores[stop]) if len(stop) else None,
    )
    standardised = target.standardise(scores)
    predictor = Predictor(network, target, lowest=float(standardised[np.isfinite(scores)].min()))
    facts: dict[str, float | None] = {"rows": len(rows), "held_out": len(stop) + len(last), "error": error}
    if len(stop):
        finite = stop[np.isfinite(scores[stop])]
        answers = np.stack([network.answers(member, designs[finite])[:, 0] for member in range(network.members)])
        errors = answers.mean(axis=0) - standardised[finite]
        predictor = replace(predictor, calibration=Calibration.of(answers.var(axis=0), errors))
        facts |= judge(predictor.predict(designs[last]), standardised[last], scores[last])
    return predictor, facts


def judge(prediction: Prediction, standardised: np.ndarray, scores: np.ndarray) -> dict[str, float | None]:
    """How good the ranks and the errors are on rows that nothing was chosen by.

    Args:
        prediction: of them.
        standardised: (N,) their scores as the network learns them.
        scores: (N,), -inf infeasible.

    Returns:
        Spearman's rank correlation where feasible, the area under the curve of feasibility (None where all or none are), and the share
        of errors within one and two spreads (68 % and 95 % of normal ones).
    """
    finite = np.isfinite(scores)
    off = np.abs(prediction.mean - standardised)[finite] / np.maximum(prediction.spread[finite], 1e-12)
    area = None
    if finite.any() and not finite.all():
        area = float(binary_auroc(torch.from_numpy(prediction.feasible), torch.from_numpy(finite.astype(np.int64))))
    return {
        "rank_correlation": rank_correlation(prediction.mean[finite], scores[finite]),
        "feasibility_area": area,
        "within_one_spread": float((off <= 1).mean()) if len(off) else None,
        "within_two_spreads": float((off <= 2).mean()) if len(off) else None,
    }
