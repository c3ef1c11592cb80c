"""The loop of LEON for one context: ask, group, estimate both multipliers, score, and ask again with what was found out.

What the paper leaves open was settled so. A critic is known up to a constant, and each fit has another: c* is measured from its mean
over the known designs. The history is scored again with the last c* and lambda, since where a design lies does not change with time, and
what was proposed before W1 was known would else stay best for ever; mu is that of the batch in which a design was proposed, which makes
batches of sure and unsure authors comparable. Zero is a known design, for c* and (the caller sees to it) for f_hat: a batch of no
certainty is worth as much as what is known, whatever it promises.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from llome.errors import ConfigError, DivergedError
from llome.leon.certainty import Certainty, Parts, estimate_certainty, next_lambda
from llome.leon.classes import best_of, equal_rows, near_points, occupancy
from llome.leon.critic import Critic, fit_critic
from llome.leon.journal import Calls
from llome.leon.outcome import Batch, Outcome, Proposal
from llome.leon.proposing import Answer, Proposer, Request, read_designs
from llome.leon.settings import LeonSettings
from llome.leon.space import Space
from llome.provenance import derive_seed

FEWEST = 8
"""Designs that a critic needs on either side."""
_TOLD = 3
"""Faults of an answer that are noted, and told to the model."""

Predict = Callable[[Sequence[Mapping[str, Any]]], np.ndarray]
"""N designs -> (N,) f_hat, higher is better, 0 as good as a known design on average, in units that matter (such as deviations)."""


def optimise(
    *,
    task: str,
    space: Space,
    context: Mapping[str, Any],
    knowledge: str,
    predict: Predict,
    source: np.ndarray,
    proposer: Proposer,
    settings: LeonSettings,
    random_seed: int,
    journal: Path | None,
) -> Outcome:
    """The best design for a context that can be had with a budget of surrogate queries.

    Args:
        task: what is to be achieved, in words.
        space: what a design is.
        context: for whom, in words a model understands.
        knowledge: what is known beforehand; may be empty.
        predict: f_hat for this context. A value that is not finite drops its design.
        source: (N, D) known designs, encoded by `space`.
        proposer: who is asked.
        settings: of the loop.
        random_seed: of what is drawn, keyed by call and batch.
        journal: file of calls and answers; None: nothing is kept.

    Raises:
        ProposerError: no answer is to be had; what was answered before is in the journal.
        ConfigError: `source` is not of this space, or `predict` answers in another shape.
    """
    if source.ndim != 2 or source.shape[1] != space.dimensions:
        raise ConfigError(f"known designs have shape {source.shape}; this space encodes (N, {space.dimensions})")
    # What else an answer depends on is in its question, so a run with other settings goes on from what it asks alike.
    key = {"proposer": proposer.name, "random_seed": random_seed}
    with Calls(journal, key) as calls:
        loop = _Loop(space, predict, source, settings, random_seed)

        def ask(count: int, faults: Sequence[str]) -> Answer:
            request = Request(
                task=task,
                space=space,
                context=context,
                knowledge=knowledge,
                history=[(p.design, p.score) for p in loop.history],
                count=count,
                seed=derive_seed(random_seed, "call", loop.calls),
                shown=settings.shown,
                faults=faults,
            )
            question = {"messages": request.messages(), "seed": request.seed}
            return Answer(**calls.ask(question, lambda: asdict(proposer.propose(request))))

        while not (stopped := loop.over()):
            loop.batch(ask)
        return loop.outcome(stopped)


class _Loop:
    """What changes while a context is worked on."""

    def __init__(
        self, space: Space, predict: Predict, source: np.ndarray, settings: LeonSettings, random_seed: int
    ) -> None:
        self._space, self._predict, self._source = space, predict, source
        self._settings, self._seed = settings, random_seed
        self.history: list[Proposal] = []
        self.calls = 0
        self._queries = self._empty = self._tokens_in = self._tokens_out = 0
        self._batches: list[Batch] = []
        self._points = np.zeros((0, space.dimensions))
        """(N, D) encodings of the history."""
        self._critic: Critic | None = None
        self._fitted = -settings.refit
        self._lambda = 0.0

    def over(self) -> str:
        """Why the loop has ended; empty while it has not."""
        if self._queries >= self._settings.budget:
            return "the budget of queries is spent"
        if self._settings.calls is not None and self.calls >= self._settings.calls:
            return "the limit of calls is reached"
        if self._empty >= self._settings.patience:
            return f"{self._empty} batches in a row held no usable design"
        return ""

    def batch(self, ask: Callable[[int, Sequence[str]], Answer]) -> None:
        """Ask for a batch, score it and what came before it."""
        number, calls, notes = len(self._batches), self.calls, list[str]()
        designs, malformed = self._ask(ask, notes)
        predicted = self._predicted(designs)
        good = np.isfinite(predicted)
        if not good.all():
            notes.append(f"left out: {int((~good).sum())} designs without a finite prediction")
        designs = [design for design, kept in zip(designs, good, strict=True) if kept]
        self._empty = 0 if designs else self._empty + 1
        distance, certainty = None, Certainty(1.0, 0, "nothing was proposed")
        if designs:
            groups = self._group(designs, number)
            fresh = [
                Proposal(number, d, float(v), int(g)) for d, v, g in zip(designs, predicted[good], groups, strict=True)
            ]
            self.history += fresh
            self._points = np.concatenate([self._points, self._space.encode(designs)])
            distance = self._distance(number, len(fresh), notes)
            if distance is not None:
                self._lambda = next_lambda(self._lambda, distance, self._settings.bound, self._settings.step)
            self._score()
            if self._settings.certainty:
                worth = np.array([p.worth for p in fresh])
                certainty = estimate_certainty(best_of(worth, groups), occupancy(groups))
                for proposal in fresh:
                    proposal.mu = max(certainty.mu, self._settings.least_mu)
                notes += [f"mu is 1: {certainty.reason}"] if certainty.reason else []
        best = self._best()
        self._batches.append(
            Batch(
                batch=number,
                calls=self.calls - calls,
                designs=len(designs),
                malformed=malformed,
                distance=distance,
                lambda_=self._lambda,
                mu=certainty.mu,
                classes=certainty.classes,
                best=None if best is None else best.score,
                notes=notes,
            )
        )

    def outcome(self, stopped: str) -> Outcome:
        """What was found out."""
        spent = self._queries, self.calls, self._tokens_in, self._tokens_out
        return Outcome(self._best(), self.history, self._batches, *spent, stopped)

    def _ask(self, ask: Callable[[int, Sequence[str]], Answer], notes: list[str]) -> tuple[list[dict[str, Any]], int]:
        """Usable designs of one batch, no more than are wanted, and how many answers held none."""
        wanted = min(self._settings.batch, self._settings.budget - self._queries)
        faults: list[str] = []
        for attempt in range(self._settings.reasks + 1):
            if attempt and self._settings.calls is not None and self.calls >= self._settings.calls:
                return [], attempt
            answer = ask(wanted, faults[:_TOLD])
            self.calls += 1
            self._tokens_in += answer.tokens_in
            self._tokens_out += answer.tokens_out
            designs, faults = read_designs(answer.text, self._space)
            notes += [f"answer: {fault}" for fault in faults[:_TOLD]]
            notes += [f"answer: and {len(faults) - _TOLD} faults more"] if len(faults) > _TOLD else []
            if designs:
                return designs[:wanted], attempt
        return [], self._settings.reasks + 1

    def _predicted(self, designs: list[dict[str, Any]]) -> np.ndarray:
        if not designs:
            return np.zeros(0)
        self._queries += len(designs)
        predicted = np.asarray(self._predict(designs), dtype=np.float64)
        if predicted.shape != (len(designs),):
            raise ConfigError(f"a surrogate gave {predicted.shape} for {len(designs)} designs; it gives a number each")
        return predicted

    def _group(self, designs: list[dict[str, Any]], number: int) -> np.ndarray:
        """(n,) class of each design of a batch."""
        points = self._space.encode(designs)
        if not self._space.has_numbers:
            return equal_rows(points > 0)
        return near_points(points, self._settings.clusters, random_seed=derive_seed(self._seed, "classes", number))

    def _distance(self, number: int, fresh: int, notes: list[str]) -> float | None:
        """W1 between what is known and the batch, by a critic fitted to all proposals so far; None where none can be.

        To all, since all of the history is scored by it, and what a critic has never seen it judges wildly.
        """
        if not self._settings.critic:
            return None
        if number - self._fitted >= self._settings.refit or self._critic is None:
            few = min((len(self._source), "known"), (len(self._points), "proposed"))
            if few[0] < FEWEST:
                notes.append(f"lambda stays: a critic needs {FEWEST} designs, and {few[0]} are {few[1]}")
            else:
                self._fit(number, notes)
        if self._critic is None:
            return None
        batch = self._points[-fresh:]
        distance = self._critic.distance(self._source, batch)
        farthest = float(np.linalg.norm(np.ptp(np.concatenate([self._source, batch]), axis=0)))
        if not abs(distance) <= 1.01 * farthest + 1e-6:
            notes.append(f"lambda stays: a critic saw a distance of {distance:g} where {farthest:g} is the farthest")
            self._critic = None
            return None
        return distance

    def _fit(self, number: int, notes: list[str]) -> None:
        """A new critic; where it diverges, the one before stays."""
        seed = derive_seed(self._seed, "critic", number)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message="The .srun. command is available")
                self._critic = fit_critic(self._source, self._points, self._settings.critic_fit, random_seed=seed)
        except DivergedError as err:
            notes.append(f"{'lambda stays' if self._critic is None else 'the critic before stays'}: {err}")
        self._fitted = number

    def _score(self) -> None:
        """The worth of all that was proposed, by the critic and the lambda of now."""
        predicted = np.array([p.predicted for p in self.history])
        source = np.zeros(len(predicted))
        if self._critic is not None:
            source = self._critic.score(self._points) - self._critic.score(self._source).mean()
        worth = Parts(predicted, source, 1.0, self._lambda).worth
        for proposal, c, value in zip(self.history, source.tolist(), worth.tolist(), strict=True):
            proposal.source, proposal.worth = c, value

    def _best(self) -> Proposal | None:
        """The best by its worth, the first of equal ones: the likeliest of Lemma 4.3 whatever mu is, which is no merit."""
        return max(self.history, key=lambda p: p.worth, default=None)
