"""What proposals of a policy are ordered by in place of its likelihood: f_hat, or mu (f_hat + lambda c*).

A likelihood says how a proposal resembles what the policy was trained on, not what it is worth; a surrogate says what it is worth, and is
wrong where nothing like it was labelled. So proposals far from what is known pay for the distance, as much as holds what is favoured
within W0 of it. Everything is estimated anew from one batch and the labels so far: there is no state to lose.
Where there is nothing to learn from, proposals keep the order of their likelihood, and the reason is said.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from llome.distances import first_apart
from llome.domain import Domain
from llome.errors import DivergedError
from llome.leon.certainty import estimate_certainty, next_lambda
from llome.leon.classes import best_of, near_rows, occupancy
from llome.leon.critic import fit_critic
from llome.leon.ranks import Leon
from llome.provenance import derive_seed
from llome.surrogate.files import load_predictor
from llome.surrogate.predicting import Predictor
from llome.surrogate.states import as_states, count_states
from llome.tables import Labeled, Meta, row_keys, same_problem

LEAST_LABELS = 20
"""Feasible labels below which a surrogate is not believed."""
MOST_DESIGNS = 8192
"""Designs of either side that a critic is shown, drawn where there are more."""
LEAST_MU = 0.1
"""With a mu of 0 all scores of a batch would be one."""


@dataclass(frozen=True)
class Ranked:
    """What N proposals are ordered by."""

    predicted: np.ndarray
    """(N,) f_hat, in standard deviations of the labels' (log) scores."""
    source: np.ndarray
    """(N,) c*, 0 on average over what is known; 0 where there is no critic."""
    mu: float
    """How sure the policy is; 1 where that is not estimated."""
    lambda_: float
    floor: float
    """What is worth less than any label."""
    facts: dict[str, Any]
    """W1 between what is known and the proposals, lambda; mu, the classes it was estimated from and why it could not be."""

    @property
    def score(self) -> np.ndarray:
        """(N,) mu (f_hat + lambda c*), counted from the floor: below it mu would turn the order, so there it does not count.

        In one batch mu only scales. All temperatures of an iteration are one batch, and all proposals of a round: with a mu for each
        temperature those of middling temperatures, about which the policy is surest, crowd out better ones of the others.
        """
        worth = self.predicted + self.lambda_ * self.source - self.floor
        return np.asarray(np.where(worth > 0, max(self.mu, LEAST_MU), 1.0) * worth)


class Ranking:
    """Ranks proposals of one problem by what its labels so far have taught."""

    def __init__(
        self,
        predictor: Predictor,
        labeled: np.ndarray,
        scores: np.ndarray,
        domain: Domain,
        leon: Leon | None,
        *,
        random_seed: int,
    ) -> None:
        """Hold what is known.

        Args:
            predictor: fitted to these labels.
            labeled: (N, L) labelled sequences.
            scores: (N,), -inf infeasible.
            domain: of the problem.
            leon: settings of the critic and the certainty; None: order by f_hat alone.
            random_seed: of the critic's fit.
        """
        self.predictor, self.domain, self.leon, self.random_seed = predictor, domain, leon, random_seed
        finite = np.isfinite(scores)
        order = np.argsort(-scores, kind="stable")[: min(finite.sum(), 0 if leon is None else leon.known)]
        self.source = as_states(labeled[order], domain)
        self.reason = ""
        if finite.sum() < LEAST_LABELS:
            self.reason = f"{int(finite.sum())} feasible labels are too few to learn scores from"
        elif np.ptp(scores[finite]) == 0:
            self.reason = f"all {int(finite.sum()):,} feasible labels have the score {scores[finite][0]:g}"

    @classmethod
    def load(
        cls, surrogate: Path, labeled: Sequence[Labeled], domain: Domain, leon: Leon | None, *, random_seed: int
    ) -> Self:
        """From a surrogate's directory and the tables it was fitted to. Raises TableError where it is of another problem."""
        predictor, card = load_predictor(surrogate)
        same_problem([(str(surrogate), Meta(card.domain)), ("the labels", Meta(domain))])
        known, score = (np.concatenate([getattr(t, name) for t in labeled]) for name in ("sequence", "score"))
        return cls(predictor, known, score, domain, leon, random_seed=random_seed)

    def rank(self, sequences: np.ndarray, *, batch: int = 0) -> Ranked:
        """Rank proposals, with their repeats.

        Args:
            sequences: (N, L), likeliest first where classes are wider than one sequence.
            batch: number of the batch, for the draws.
        """
        states = as_states(sequences, self.domain)
        _, first, inverse = np.unique(row_keys(states), return_index=True, return_inverse=True)
        unique = states[first]
        found = self.predictor.predict(unique).worth if len(unique) else np.empty(0)
        facts: dict[str, Any] = {}
        source, lambda_ = np.zeros(len(unique)), 0.0
        mu = 1.0
        if self.leon is not None and len(unique):
            if self.leon.critic:
                source, facts = self._distances(unique, inverse, batch)
                if "diverged" not in facts:
                    lambda_ = facts["lambda"] = self._climb(found, source, np.bincount(inverse))
            if self.leon.certainty:
                classes = near_rows(states, self.leon.radius)
                certain = estimate_certainty(best_of((found + lambda_ * source)[inverse], classes), occupancy(classes))
                mu = certain.mu
                facts |= {"mu": mu, "classes": certain.classes}
                facts |= {"no_mu": certain.reason} if certain.reason else {}
        return Ranked(found[inverse], source[inverse], mu, lambda_, self.predictor.lowest - 1.0, facts)

    def _distances(self, unique: np.ndarray, inverse: np.ndarray, batch: int) -> tuple[np.ndarray, dict[str, Any]]:
        """(U,) c* of distinct proposals, 0 on average over what is known, and W1 between that and the proposals with their repeats."""
        assert self.leon is not None
        seed = derive_seed(self.random_seed, "ranking", str(batch))
        rng = np.random.default_rng(seed)
        known = self.source[rng.permutation(len(self.source))[:MOST_DESIGNS]]
        written = unique[inverse[rng.permutation(len(inverse))[:MOST_DESIGNS]]]
        try:
            critic = fit_critic(known, written, self.leon.fit, random_seed=seed, num_states=count_states(self.domain))
        except DivergedError as err:
            return np.zeros(len(unique)), {"diverged": str(err)}
        source = critic.score(unique) - float(critic.score(known).mean())
        return source, {"distance": -float(source[inverse].mean())}

    def _climb(self, found: np.ndarray, source: np.ndarray, counts: np.ndarray) -> float:
        """lambda: the dual ascent on W1 <= W0; what is favoured is in proportion to how often it was written x exp(f_hat + lambda c*)."""
        assert self.leon is not None
        lambda_, log_counts = 0.0, np.log(counts)
        for _ in range(self.leon.climbs):
            weights = log_counts + found + lambda_ * source
            weights = np.exp(weights - weights.max())
            lambda_ = next_lambda(lambda_, -float(source @ weights / weights.sum()), self.leon.bound, self.leon.step)
        return lambda_


def best_of_equals(sequences: np.ndarray, score: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """(P,) for each of `asked` (P, L), the best of the scores (N,) that its equals among `sequences` (N, L) have."""
    keys, place = np.unique(row_keys(sequences), return_inverse=True)
    best = np.full(len(keys), -np.inf)
    np.maximum.at(best, place, score)
    return best[np.searchsorted(keys, row_keys(asked))]


def spread_out(order: np.ndarray, sequences: np.ndarray, count: int, min_distance: int, domain: Domain) -> np.ndarray:
    """The first `count` rows of `order` that keep `min_distance` substitutions (edits, where lengths differ) from each other.

    Where too few do, the rest follow in order, so that a round has the candidates it pays for.

    Args:
        order: (N,) rows, best first.
        sequences: (N, L).
        count: rows wanted.
        min_distance: 1: distinct ones.
        domain: of the problem.
    """
    picked = first_apart(sequences[order], count, min_distance, edits=not domain.fixed_length)
    rest = np.setdiff1d(np.arange(len(order)), picked)
    return order[np.sort(np.concatenate([picked, rest[: count - len(picked)]]))]
