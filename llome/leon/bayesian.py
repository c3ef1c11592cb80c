"""Bayesian optimisation of a surrogate with BoTorch's qEI (Balandat et al., arXiv 1910.06403), where that is installed.

The surrogate is the black box here: a Gaussian process is fitted to what it said, and each round asks the designs whose expected
improvement, taken together, is largest.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING

import numpy as np

from llome.errors import ConfigError
from llome.leon.ascent import Found
from llome.provenance import derive_seed

if TYPE_CHECKING:
    from torch import Tensor


def bayesian_optimisation(
    values: Callable[[np.ndarray], np.ndarray],
    low: np.ndarray,
    high: np.ndarray,
    *,
    queries: int,
    random_seed: int,
    batch: int = 8,
) -> Found:
    """Ask a first batch by Sobol's sequence, then batches of the largest qEI.

    Args:
        values: (N, D) designs -> (N,) values.
        low: (D,) lower bounds.
        high: (D,) upper bounds.
        queries: designs that the surrogate is asked.
        random_seed: of the first batch and of the search for the largest qEI.
        batch: designs a round.

    Raises:
        ConfigError: BoTorch is missing, fewer queries than two batches, or a surrogate whose values are not finite.
    """
    load_botorch()
    low, high = np.asarray(low, dtype=np.float64), np.asarray(high, dtype=np.float64)
    if batch < 1 or queries < 2 * batch:
        raise ConfigError(f"queries is {queries} and batch {batch}; Bayesian optimisation needs two batches at least")
    import torch
    from botorch.utils.sampling import draw_sobol_samples

    unit = torch.stack([torch.zeros(len(low)), torch.ones(len(low))]).double()
    first = draw_sobol_samples(unit, n=batch, q=1, seed=derive_seed(random_seed, "sobol") % 2**31).squeeze(1)
    places = first.double().numpy()
    said = _asked(values, low, high, places)
    for number in range(1, queries // batch):
        seed = derive_seed(random_seed, "qei", number) % 2**31
        places = np.concatenate([places, _next(places, said, unit, batch, seed)])
        said = np.concatenate([said, _asked(values, low, high, places[-batch:])])
    best = int(said.argmax())
    return Found(low + (high - low) * places[best], float(said[best]), len(said))


def load_botorch() -> ModuleType:
    """BoTorch, imported only here. Raises ConfigError, with the remedy, where it is missing."""
    try:
        with warnings.catch_warnings():  # it compiles with what torch has since deprecated
            warnings.simplefilter("ignore")
            import botorch.acquisition
            import botorch.fit
            import botorch.models
            import botorch.optim
    except ImportError as err:
        raise ConfigError(
            f"Bayesian optimisation needs BoTorch ({err}); install it (pip install 'llome[bo]'), or leave that method out"
        ) from err
    return botorch


def _next(places: np.ndarray, said: np.ndarray, unit: Tensor, batch: int, seed: int) -> np.ndarray:
    """(batch, D) places in the unit box whose qEI is largest."""
    import torch
    from botorch.acquisition import qExpectedImprovement
    from botorch.fit import fit_gpytorch_mll
    from botorch.models import SingleTaskGP
    from botorch.models.transforms import Standardize
    from botorch.optim import optimize_acqf
    from botorch.sampling import SobolQMCNormalSampler
    from gpytorch.mlls import ExactMarginalLogLikelihood

    x, y = torch.from_numpy(places), torch.from_numpy(said)[:, None]
    # what is flat to the model, and a likelihood that cannot be climbed further, are no news for a user; each is only a worse batch
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        model = SingleTaskGP(x, y, outcome_transform=Standardize(m=1))
        fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
        sampler = SobolQMCNormalSampler(torch.Size([64]), seed=seed)
        found, _ = optimize_acqf(
            qExpectedImprovement(model, best_f=float(said.max()), sampler=sampler),
            bounds=unit,
            q=batch,
            num_restarts=2,
            raw_samples=32,
            options={"maxiter": 30},
        )
    return found.numpy()


def _asked(
    values: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray, places: np.ndarray
) -> np.ndarray:
    said = np.asarray(values(low + (high - low) * places), dtype=np.float64)
    if not np.isfinite(said).all():
        raise ConfigError("the surrogate answers with values that are not finite; fit it again with other settings")
    return said
