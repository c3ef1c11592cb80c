"""Synthetic patients with the covariates of the published dosing algorithms, of a source population and of a shifted one.

Where the numbers come from:

- Allele frequencies by ancestry are those of the 1000 Genomes Project's European, East Asian, African and admixed American
  populations, as tabulated by Shendre, Dillon and Limdi (Pharmacogenomics 19:1357, 2018, Table 1): VKORC1 -1639A and CYP2C9 *2, *3.
  The last stands for patients of mixed or missing ancestry. Genotypes are drawn at random from these (Hardy and Weinberg).
- The shares of what is missing from records are those of the cohort of the International Warfarin Pharmacogenetics Consortium (NEJM
  360:753, 2009): about a fifth of the heights, a twentieth of the weights, a fiftieth of the genotypes of either gene.
- Ages, heights, weights and the shares of those who take amiodarone or an enzyme inducer are round numbers of the order that such
  cohorts report (most patients between 50 and 80; about one in twenty on amiodarone, one in a hundred on an inducer). They are
  chosen, not fitted to any patients.

The shift: SOURCE is a centre whose patients are mostly of European ancestry; those of SHIFTED are mostly of Asian and African, where
VKORC1 -1639A has frequencies of .89 and .05 in place of .39, seven years older on average, and three times as many take amiodarone.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np

from llome.draws import normals, row_keys, uniforms
from llome.provenance import derive_seed

ANCESTRIES = ("white", "asian", "black", "mixed or missing")
"""The groups of the published algorithms; `mixed or missing` is one of theirs."""
VKORC1 = ("G/G", "A/G", "A/A")
"""Genotypes of VKORC1 -1639 G>A, by the number of A."""
CYP2C9 = ("*1/*1", "*1/*2", "*1/*3", "*2/*2", "*2/*3", "*3/*3")
UNKNOWN = "unknown"
"""A genotype that is missing from a record."""

_VKORC1_A = np.array([0.388, 0.885, 0.054, 0.411])
_CYP2C9_2 = np.array([0.124, 0.001, 0.008, 0.099])
_CYP2C9_3 = np.array([0.073, 0.034, 0.002, 0.037])
_HEIGHT = np.array([[171.0, 10.0], [161.0, 9.0], [171.0, 10.0], [168.0, 10.0]])
"""Mean and standard deviation in cm, by ancestry."""
_WEIGHT = np.array([[85.0, 20.0], [62.0, 12.0], [90.0, 22.0], [80.0, 20.0]])
"""The same in kg."""
_TOGETHER = 0.5
"""Correlation of height and weight within a group."""
MISSING = {"height": 0.20, "weight": 0.05, "vkorc1": 0.02, "cyp2c9": 0.025}
"""Share of the records that lack it."""


@dataclass(frozen=True, kw_only=True)
class Population:
    """Marginals of a population; what depends on ancestry alone is above."""

    ancestry: tuple[float, float, float, float]
    """Shares, in the order of ANCESTRIES."""
    age: tuple[float, float]
    """Mean and standard deviation in years, before ages below 18 and above 95 are moved there."""
    inducer: float
    """Share that takes an enzyme inducer: carbamazepine, phenytoin, rifampicin."""
    amiodarone: float
    """Share that takes amiodarone."""


SOURCE = Population(ancestry=(0.88, 0.03, 0.06, 0.03), age=(64.0, 14.0), inducer=0.01, amiodarone=0.05)
SHIFTED = Population(ancestry=(0.20, 0.50, 0.25, 0.05), age=(71.0, 12.0), inducer=0.02, amiodarone=0.15)


@dataclass(frozen=True)
class Patients:
    """N patients, as they are or as they are recorded."""

    age: np.ndarray
    """(N,) int64, in decades: 6 is from 60 to 69 years."""
    height: np.ndarray
    """(N,) float64, cm; NaN where the record has none."""
    weight: np.ndarray
    """(N,) float64, kg; NaN where the record has none."""
    ancestry: np.ndarray
    """(N,) str, of ANCESTRIES."""
    vkorc1: np.ndarray
    """(N,) str, of VKORC1, or UNKNOWN in a record."""
    cyp2c9: np.ndarray
    """(N,) str, of CYP2C9, or UNKNOWN in a record."""
    inducer: np.ndarray
    """(N,) bool."""
    amiodarone: np.ndarray
    """(N,) bool."""

    def __len__(self) -> int:
        return len(self.age)

    def take(self, rows: np.ndarray | slice) -> Self:
        """Those of `rows`."""
        return replace(self, **{field.name: getattr(self, field.name)[rows] for field in fields(self)})

    def described(self, row: int) -> dict[str, Any]:
        """One patient in words and numbers, for a table or a prompt; what is missing is `unknown`."""
        return {
            "age": f"{10 * int(self.age[row])} to {10 * int(self.age[row]) + 9} years",
            "height_cm": _or_unknown(self.height[row]),
            "weight_kg": _or_unknown(self.weight[row]),
            "ancestry": str(self.ancestry[row]),
            "vkorc1": str(self.vkorc1[row]),
            "cyp2c9": str(self.cyp2c9[row]),
            "enzyme_inducer": "yes" if self.inducer[row] else "no",
            "amiodarone": "yes" if self.amiodarone[row] else "no",
        }


def draw_patients(population: Population, count: int, *, random_seed: int) -> Patients:
    """`count` patients as they are, nothing missing. A row's patient depends on the population, the seed and the row alone."""
    draws = uniforms(row_keys(derive_seed(random_seed, "warfarin", "patients"), np.arange(count)), 12)
    group = np.searchsorted(np.cumsum(population.ancestry), draws[:, 0], side="right").clip(max=len(ANCESTRIES) - 1)
    alleles = (draws[:, 1:3] < _VKORC1_A[group, None]).sum(axis=1)
    stars = np.sort(
        1 + (draws[:, 3:5] < (_CYP2C9_2 + _CYP2C9_3)[group, None]) + (draws[:, 3:5] < _CYP2C9_3[group, None]), axis=1
    )
    tall, heavy = normals(draws[:, 5:7])
    (age, _) = normals(draws[:, 7:9])
    heavy = _TOGETHER * tall + np.sqrt(1 - _TOGETHER**2) * heavy
    years = np.clip(population.age[0] + population.age[1] * age, 18, 95)
    return Patients(
        age=(years // 10).astype(np.int64),
        height=np.round(np.clip(_HEIGHT[group, 0] + _HEIGHT[group, 1] * tall, 140, 205), 1),
        weight=np.round(np.clip(_WEIGHT[group, 0] + _WEIGHT[group, 1] * heavy, 35, 180), 1),
        ancestry=np.array(ANCESTRIES)[group],
        vkorc1=np.array(VKORC1)[alleles],
        cyp2c9=np.array([f"*{a}/*{b}" for a, b in stars.tolist()], dtype="<U7"),
        inducer=draws[:, 9] < population.inducer,
        amiodarone=draws[:, 10] < population.amiodarone,
    )


def as_recorded(patients: Patients, *, random_seed: int) -> Patients:
    """What the records say of patients: some of it is missing (MISSING), keyed by row."""
    keys = row_keys(derive_seed(random_seed, "warfarin", "records"), np.arange(len(patients)))
    draws = uniforms(keys, len(MISSING))
    lost = {name: draws[:, i] < share for i, (name, share) in enumerate(MISSING.items())}
    return replace(
        patients,
        height=np.where(lost["height"], np.nan, patients.height),
        weight=np.where(lost["weight"], np.nan, patients.weight),
        vkorc1=np.where(lost["vkorc1"], UNKNOWN, patients.vkorc1),
        cyp2c9=np.where(lost["cyp2c9"], UNKNOWN, patients.cyp2c9),
    )


def filled(records: Patients, known: Patients) -> Patients:
    """Records with a height and a weight: a missing one is the mean of the recorded ones of that ancestry in `known`.

    Where `known` has nobody of an ancestry, the mean is over all of it.
    """
    done = {}
    for name in ("height", "weight"):
        recorded, values = getattr(known, name), getattr(records, name).copy()
        for ancestry in ANCESTRIES:
            of = recorded[(known.ancestry == ancestry) & ~np.isnan(recorded)]
            mean = of.mean() if len(of) else np.nanmean(recorded)
            values[(records.ancestry == ancestry) & np.isnan(values)] = mean
        done[name] = values
    return replace(records, **done)


def _or_unknown(value: float) -> float | str:
    return UNKNOWN if np.isnan(value) else float(value)
