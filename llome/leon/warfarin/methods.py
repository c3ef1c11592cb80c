"""The methods of the dosing task that look for a dose: what each may see, and one dose a patient.

All of them see the surrogate, and those that prompt a proposer see the record, the prior knowledge and the doses that were given in the
source population as well. None sees what becomes of a dose, for no patient: the table is made when all have ended.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from llome.leon.ascent import gradient_ascent
from llome.leon.bayesian import bayesian_optimisation
from llome.leon.proposing import Proposer
from llome.leon.settings import LeonSettings
from llome.leon.space import Space
from llome.leon.warfarin import HIGHEST, LOWEST
from llome.leon.warfarin.features import DOSE, Features
from llome.leon.warfarin.patients import Patients
from llome.leon.warfarin.scripted import FIELD, expected
from llome.provenance import derive_seed

if TYPE_CHECKING:
    from llome.leon.surrogate import Surrogate

SPACE = Space.of({FIELD: {"low": LOWEST, "high": HIGHEST, "unit": "mg a day"}})
"""A design is a dose."""
TASK = """Propose the daily maintenance dose of warfarin, in mg a day, that keeps this synthetic patient's INR between 2 and 3.
Scores come from a model that was fitted to other patients and does not know genotypes; it may be wrong for this one.
Research software, not medical advice: nobody will take this dose."""
PROMPTED = {
    "opro": (False, False),
    "leon_without_critic": (False, True),
    "leon_without_certainty": (True, False),
    "leon": (True, True),
}
"""The methods that prompt the proposer: whether with the critic, and with mu."""
TITLES = {
    "clinical": "clinical formula",
    "label": "dose table by genotype, midpoint",
    "ascent": "gradient ascent",
    "bo": "Bayesian optimisation, qEI",
    "opro": "OPRO-style, no constraint",
    "leon_without_critic": "LEON without critic",
    "leon_without_certainty": "LEON without certainty",
    "leon": "LEON",
}
"""Every method, in the order of the table. The first two ask no surrogate."""

_KNOWN = 1000
"""Most doses of the source population that say how good one is on average for a patient."""


@dataclass(frozen=True)
class Bench:
    """What the methods work with."""

    surrogate: Surrogate
    features: Features
    records: Patients
    """The test patients, as recorded."""
    given: np.ndarray
    """(N,) doses of the source population."""
    proposer: Proposer
    knowledge: str
    leon: LeonSettings
    bo_queries: int
    """Queries of Bayesian optimisation, whose cost grows with the cube of them."""
    random_seed: int

    def solve(self, method: str, row: int, journal: Path | None) -> dict[str, Any]:
        """The dose that a method ends with for the patient of a row, mg a day, and what it took; plain values.

        Raises what the method raises. The draws are keyed by method and row.
        """
        seed = derive_seed(self.random_seed, "warfarin", method, row)
        if method == "label":
            known = expected(self.knowledge, self.records.described(row))
            dose = (LOWEST + HIGHEST) / 2 if known is None else sum(known) / 2
            return {"dose": dose, "queries": 0}
        if method in PROMPTED:
            return self._prompt(method, row, seed, journal)
        low, high = np.array([LOWEST]), np.array([HIGHEST])
        if method == "ascent":
            found = gradient_ascent(self._gradient(row), low, high, queries=self.leon.budget, random_seed=seed)
        else:
            values = self._values(row)
            found = bayesian_optimisation(
                lambda designs: values(designs[:, 0]), low, high, queries=self.bo_queries, random_seed=seed
            )
        return {"dose": float(found.design[0]), "queries": found.queries}

    def _prompt(self, method: str, row: int, seed: int, journal: Path | None) -> dict[str, Any]:
        from llome.leon.loop import optimise  # loads what the critic is made of

        critic, certainty = PROMPTED[method]
        values = self._values(row)
        known = float(values(self.given[:: max(1, len(self.given) // _KNOWN)]).mean())

        def predict(designs: Sequence[Mapping[str, Any]]) -> np.ndarray:
            """0 is as good for this patient as doses of the source population are on average, which the loop asks for."""
            return values(np.array([design[FIELD] for design in designs])) - known

        outcome = optimise(
            task=TASK,
            space=SPACE,
            context=self.records.described(row),
            knowledge=self.knowledge,
            predict=predict,
            source=SPACE.encode([{FIELD: dose} for dose in self.given.tolist()]),
            proposer=self.proposer,
            settings=replace(self.leon, critic=critic, certainty=certainty),
            random_seed=seed,
            journal=journal,
        )
        distances = [batch.distance for batch in outcome.batches if batch.distance is not None]
        return {
            "dose": None if outcome.best is None else float(outcome.best.design[FIELD]),
            "queries": outcome.queries,
            "calls": outcome.calls,
            "tokens": outcome.tokens_in + outcome.tokens_out,
            "malformed": sum(batch.malformed for batch in outcome.batches),
            "mu": float(np.mean([batch.mu for batch in outcome.batches])),
            "lambda": outcome.batches[-1].lambda_,
            "distance": float(np.mean(distances)) if distances else None,
            "stopped": outcome.stopped,
        }

    def _values(self, row: int) -> Callable[[np.ndarray], np.ndarray]:
        """(n,) doses -> (n,) what the surrogate says of them for this patient, in standard deviations of the source's outcomes."""
        known = self.features.inputs(np.zeros(1), self.records.take(np.array([row])))

        def values(doses: np.ndarray) -> np.ndarray:
            inputs = np.repeat(known, len(doses), axis=0)
            inputs[:, DOSE] = doses
            return self.surrogate.predict(inputs).worth

        return values

    def _gradient(self, row: int) -> Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]:
        """(n, 1) doses -> (n,) the same, and (n, 1) its gradient."""
        known = self.features.inputs(np.zeros(1), self.records.take(np.array([row])))

        def gradient(designs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            inputs = np.repeat(known, len(designs), axis=0)
            inputs[:, DOSE] = designs[:, 0]
            values, slopes = self.surrogate.gradient(inputs)
            return values, slopes[:, [DOSE]]

        return gradient
