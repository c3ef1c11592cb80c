"""`llome leon warfarin`: the dosing task that ships with LEON, from synthetic patients to a table and a figure.

It draws patients, asks the ground truth what became of the doses that the source population was given, lets every method look for doses
for patients of another population, and asks the ground truth again when all of them have ended. The methods are below llome.leon,
which cannot import it. Research software, not medical advice.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from llome.errors import ConfigError
from llome.leon.warfarin import NOTICE
from llome.leon.warfarin.clinical import clinical_dose, given_doses
from llome.leon.warfarin.cohort import patients_csv, source_csv
from llome.leon.warfarin.patients import SHIFTED, SOURCE, Patients, as_recorded, draw_patients, filled
from llome.provenance import derive_seed, exclusive, hash_json, replacing, write_json
from llome.scoring.warfarin import best_dose, outcome

if TYPE_CHECKING:
    from llome.leon.warfarin.methods import Bench
    from llome.leon.warfarin.table import Doses, Row


def warfarin(
    *,
    out: Path,
    patients: int = 100,
    source_patients: int = 2000,
    queries: int = 256,
    bo_queries: int = 24,
    random_seed: int = 0,
    methods: list[str] | None = None,
    proposer: dict[str, Any] | None = None,
    knowledge: Path | None = None,
    settings: dict[str, Any] | None = None,
) -> None:
    """Look for a daily dose of warfarin for synthetic patients, and say how far each method ends from the best one.

    Research software, not medical advice. Where a run is stopped, the same command goes on with the next patient; where proposers
    cost something, with the next call.

    Args:
        out: folder to write: source.csv, patients.csv, doses/METHOD.jsonl (calls/ of a server's), table.csv, table.svg, table.json.
        patients: test patients, of the shifted population.
        source_patients: patients that the surrogate is fitted to, of the source population.
        queries: surrogate queries of a patient and method; the paper has 2,048, which takes some eight times as long.
        bo_queries: those of Bayesian optimisation, whose time grows with their cube.
        random_seed: of the patients, the surrogate and every method.
        methods: those to run, of clinical, label, ascent, bo, opro, leon_without_critic, leon_without_certainty, leon; null: all.
        proposer: who proposes doses, as in `llome leon run`; null: a script that stands in for a language model.
        knowledge: file with what proposers know beforehand; null: the dose table by genotype that ships.
        settings: of the loop of LEON, other than its budget, critic and certainty.

    Raises:
        ConfigError: an impossible setting, an unknown method, or BoTorch missing.
        ProposerError: a proposer that answers no more; what it answered is kept.
    """
    for name, value, least in (
        ("patients", patients, 2),
        ("source_patients", source_patients, 50),
        ("queries", queries, 1),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}")
    with exclusive(out):
        from llome.leon.bayesian import load_botorch
        from llome.leon.warfarin.methods import TITLES
        from llome.settings import nearest

        chosen = list(TITLES) if methods is None else [name for name in TITLES if name in methods]
        for name in methods or ():
            if name not in TITLES:
                raise ConfigError(
                    f"there is no method {name!r}{nearest(name, TITLES)}; the methods are {', '.join(TITLES)}"
                )
        if not chosen:
            raise ConfigError(f"methods is empty; name at least one of {', '.join(TITLES)}")
        if "bo" in chosen:
            load_botorch()
        print(NOTICE)
        cohort = _draw(patients, source_patients, random_seed)
        _write(out / "source.csv", source_csv(cohort.source, cohort.given, cohort.outcomes))
        _write(out / "patients.csv", patients_csv(cohort.records))
        bench = _bench(cohort, queries, bo_queries, random_seed, proposer, knowledge, settings or {})
        key = {
            "patients": patients,
            "source_patients": source_patients,
            "queries": queries,
            "bo_queries": bo_queries,
            "random_seed": random_seed,
            "proposer": bench.proposer.name,
            "knowledge": hash_json(bench.knowledge),
            "loop": asdict(bench.leon),
        }
        found = {name: _solve(name, bench, cohort, out, key) for name in chosen}
        _judge(found, cohort, bench, out, key)


@dataclass(frozen=True)
class _Cohort:
    source: Patients
    """Records of the source population."""
    given: np.ndarray
    """(N,) doses it was given, mg a day."""
    outcomes: np.ndarray
    """(N,) what became of them."""
    patients: Patients
    """The test patients as they are: for the ground truth alone."""
    records: Patients
    """Their records."""


def _draw(patients: int, source_patients: int, random_seed: int) -> _Cohort:
    seeds = {name: derive_seed(random_seed, "warfarin", name) for name in ("source", "test")}
    source = draw_patients(SOURCE, source_patients, random_seed=seeds["source"])
    known = as_recorded(source, random_seed=seeds["source"])
    given = given_doses(filled(known, known), random_seed=seeds["source"])
    test = draw_patients(SHIFTED, patients, random_seed=seeds["test"])
    return _Cohort(known, given, outcome(given, source), test, as_recorded(test, random_seed=seeds["test"]))


def _bench(
    cohort: _Cohort,
    queries: int,
    bo_queries: int,
    random_seed: int,
    proposer: dict[str, Any] | None,
    knowledge: Path | None,
    settings: dict[str, Any],
) -> Bench:
    """The surrogate, fitted to the source population, and what else the methods work with."""
    import torch

    from llome.leon.proposers import make_proposer
    from llome.leon.settings import LeonSettings
    from llome.leon.surrogate import SurrogateSettings, fit_vectors
    from llome.leon.warfarin import methods
    from llome.leon.warfarin.features import Features
    from llome.leon.warfarin.scripted import ScriptedProposer

    for name in ("budget", "critic", "certainty"):
        if name in settings:
            raise ConfigError(f"settings has {name}, which is for this task to say; give queries, or methods")
    torch.set_num_threads(1)  # small products: more threads are slower, and would round otherwise
    features = Features(cohort.source)
    surrogate = fit_vectors(
        features.inputs(cohort.given, cohort.source),
        cohort.outcomes,
        settings=SurrogateSettings(),
        random_seed=derive_seed(random_seed, "warfarin", "surrogate"),
    )
    where = Path(methods.__file__).with_name("label.csv") if knowledge is None else knowledge
    try:
        said = where.read_text()
    except (OSError, UnicodeDecodeError) as err:
        raise ConfigError(f"cannot read the knowledge {where}: {err}; name a text file") from err
    return methods.Bench(
        surrogate=surrogate,
        features=features,
        records=cohort.records,
        given=cohort.given,
        proposer=ScriptedProposer() if proposer is None else make_proposer(proposer),
        knowledge=said,
        leon=LeonSettings.of({**settings, "budget": queries}),
        bo_queries=bo_queries,
        random_seed=random_seed,
    )


def _solve(method: str, bench: Bench, cohort: _Cohort, out: Path, key: dict[str, Any]) -> list[dict[str, Any]]:
    """What a method ended with for each test patient; those that are on disk are not solved again."""
    from llome.leon.journal import Calls
    from llome.leon.warfarin.methods import PROMPTED, TITLES
    from llome.leon.warfarin.scripted import ScriptedProposer

    if method == "clinical":
        doses = clinical_dose(filled(cohort.records, cohort.source))
        return [{"dose": dose, "queries": 0} for dose in doses.tolist()]
    free = method not in PROMPTED or isinstance(bench.proposer, ScriptedProposer)
    calls = [None if free else out / "calls" / method / f"{row}.jsonl" for row in range(len(cohort.records))]
    with Calls(out / "doses" / f"{method}.jsonl", {**key, "method": method, "notice": NOTICE}) as solved:
        bar = tqdm(calls, desc=TITLES[method], unit="patient", mininterval=1, disable=None, leave=False)
        return [solved.ask({"patient": row}, partial(bench.solve, method, row, to)) for row, to in enumerate(bar)]


def _judge(
    found: dict[str, list[dict[str, Any]]], cohort: _Cohort, bench: Bench, out: Path, key: dict[str, Any]
) -> None:
    """The ground truth's word on every dose: table, figure, facts."""
    from llome.leon.warfarin.methods import PROMPTED, TITLES
    from llome.leon.warfarin.table import Doses, table, table_csv, table_text
    from llome.reporting.dosing import draw_dosing

    ended = np.array([[answer["dose"] is not None for answer in answers] for answers in found.values()]).all(axis=0)
    if ended.sum() < 2:
        raise ConfigError("for fewer than two patients did all methods end with a dose; see doses/, mend the proposer")
    kept = np.flatnonzero(ended)
    named = [
        Doses(
            f"{TITLES[name]} ({bench.proposer.name})" if name in PROMPTED else TITLES[name],
            np.array([answers[row]["dose"] for row in kept.tolist()]),
            np.array([answers[row]["queries"] for row in kept.tolist()]),
        )
        for name, answers in found.items()
    ]
    best = best_dose(cohort.patients.take(kept))
    rows = table(named, best)
    about = (
        f"{len(kept)} synthetic patients of the shifted population; surrogate fitted to {key['source_patients']} of the source"
        f" population; random seed {key['random_seed']}.\nProposer of the prompted methods: {bench.proposer.name}."
    )
    _write(out / "table.csv", table_csv(rows, about))
    caption = f"{NOTICE} {' '.join(about.split())} Bars: two standard errors over patients."
    _write(out / "table.svg", draw_dosing(rows, caption, paper="white"))
    write_json(
        out / "table.json",
        {
            "notice": NOTICE,
            **key,
            "left_out": int((~ended).sum()),
            "surrogate": bench.surrogate.facts,
            "mean_best_dose": float(best.mean()),
            "methods": {name: _told(r, d, found[name]) for name, r, d in zip(found, rows, named, strict=True)},
        },
    )
    print(table_text(rows))
    print(f"proposer: {bench.proposer.name}; {int((~ended).sum())} patients left out: {out / 'table.csv'}")


def _told(row: Row, doses: Doses, answers: list[dict[str, Any]]) -> dict[str, Any]:
    """A method's row, its mean dose, and the mean of what its loop said of itself."""
    told = {**asdict(row), "mean_dose": float(doses.doses.mean())}
    for name in ("calls", "tokens", "malformed", "mu", "lambda", "distance"):
        known = [answer[name] for answer in answers if answer.get(name) is not None]
        if known:
            told[name] = float(np.mean(known))
    return told


def _write(path: Path, text: str) -> None:
    with replacing(path) as temporary:
        temporary.write_text(text)
