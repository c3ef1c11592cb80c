"""One file, several experiments: what a variant changes and keeps, and the genetic algorithms that run beside a policy or alone."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import experiment_fixtures
import pytest
import yaml

from llome.errors import ConfigError
from llome.experiment import check_experiment, check_experiments, load_experiment, load_experiments

GOOD: dict[str, Any] = {**experiment_fixtures.GOOD, "schedules": [[{"sft": 1}, {"marge": 9}]], "budget": 40_000}
ALONE: dict[str, Any] = {
    "name": "alone",
    "oracle": "oracle.yaml",
    "seed": "seed.yaml",
    "schedules": [],
    "baseline": 30_000,
}
NO_POLICY: dict[str, Any] = dict.fromkeys(["base", "train", "refine", "filter", "tune", "budget"])


@pytest.fixture(autouse=True)
def stage_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("base", "refine", "sft"):
        Path(f"{name}.yaml").write_text("{}\n")
    Path("oracle.yaml").write_text("name: ehrlich\n")
    Path("other.yaml").write_text("name: ehrlich\n")
    Path("marge.yaml").write_text("model: {lr: 1}\n")
    Path("grid.yaml").write_text("grid: {model.lr: [1, 2]}\n")
    Path("seed.yaml").write_text("rounds: 10\npopulation: 1000\n")
    Path("tuned.yaml").write_text("rounds: 10\npopulation: 700\n")
    Path("filter.yaml").write_text("k: 2000\n")


def changed(settings: dict[str, Any] = GOOD, **changes: Any) -> dict[str, Any]:
    return {**copy.deepcopy(settings), **changes}


def varied(**changes: Any) -> dict[str, Any]:
    """The good experiment with one variant, `f1`, that makes these changes."""
    return changed(variants={"f1": changes})


def write(settings: Any) -> str:
    Path("exp.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    return "exp.yaml"


def test_a_file_without_variants_is_one_experiment_and_the_same_bytes_as_ever() -> None:
    file = write(GOOD)
    assert load_experiments(file) == {"demo": load_experiment(file)}
    text = yaml.safe_dump(load_experiment(file).as_dict(), sort_keys=False)
    assert text == yaml.safe_dump(GOOD, sort_keys=False)


def test_a_variant_changes_what_it_names() -> None:
    train, budget = {"sft": "marge.yaml", "dpo": "sft.yaml"}, 50_000
    schedules = [*GOOD["schedules"], [{"sft": 1}, {"dpo": 1}]]
    variants = {
        "plain": {},
        "f2.long-1": {
            "oracle": "other.yaml",
            "train": train,
            "schedules": [[{"sft": 1}, {"dpo": 2}]],
            "tune": {"marge": None},
        },
        "Capped": {"budget": budget, "train": {"dpo": "sft.yaml"}, "schedules": schedules, "tune": {"dpo": "marge"}},
        "uncapped": {"budget": None, "tune": None, "replicates": None},
    }
    settings = changed(variants=variants)
    before = copy.deepcopy(settings)
    found = check_experiments(settings, "x")
    assert settings == before
    assert load_experiments(write(settings)) == found
    assert list(found) == ["demo/plain", "demo/f2.long-1", "demo/Capped", "demo/uncapped"]
    plain, long, capped, uncapped = found.values()
    assert [(e.name, e.variant, e.run) for e in found.values()] == [("demo", run.split("/")[1], run) for run in found]
    assert plain.as_dict() == {**GOOD, "variant": "plain"}
    assert (long.oracle, long.histories, long.tune, long.budget) == ("other.yaml", ["sft1-dpo2"], {}, 40_000)
    assert long.train == {"sft": "marge.yaml", "marge": "marge.yaml", "dpo": "sft.yaml"}
    assert (capped.budget, capped.tune) == (budget, {"marge": "grid.yaml", "dpo": "marge"})
    assert (uncapped.budget, uncapped.tune, uncapped.replicates) == (None, {}, 1)  # as where the file has no such key


def test_what_all_variants_give_need_not_stand_in_the_file() -> None:
    settings = {key: value for key, value in GOOD.items() if key not in ("oracle", "schedules")}
    own = {"schedules": GOOD["schedules"]}
    found = check_experiments(
        {**settings, "variants": {"a": {"oracle": "oracle.yaml", **own}, "b": {"oracle": "other.yaml", **own}}}, "x"
    )
    assert [e.oracle for e in found.values()] == ["oracle.yaml", "other.yaml"]


def test_the_file_of_a_variant_is_that_experiment() -> None:
    settings = changed(variants={"a": {"replicates": 5}, "alone": {**NO_POLICY, "schedules": [], "baseline": 20_000}})
    for run, experiment in load_experiments(write(settings)).items():
        file = write(experiment.as_dict())
        assert load_experiment(file) == experiment
        assert load_experiments(file) == {run: experiment}


def test_variants_are_paired() -> None:
    settings = changed(variants={"a": {}, "b": {"oracle": "other.yaml"}, "c": {"random_seed": 8}})
    a, b, c = check_experiments(settings, "x").values()
    assert a.stage_seed(1, "sft1", "train") == b.stage_seed(1, "sft1", "train") != c.stage_seed(1, "sft1", "train")
    assert a.stage_seed(1, "sft1", "train") == check_experiment(GOOD, "x").stage_seed(1, "sft1", "train")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (varied(replicate=2), "variants.f1: unknown key 'replicate', did you mean 'replicates'?"),
        (varied(replicate=None), "variants.f1: unknown key 'replicate', did you mean 'replicates'?"),
        (varied(oracle=None), "variants.f1: the key 'oracle' is missing: YAML of the oracle's constructor arguments"),
        (varied(oracle="othr.yaml"), "variants.f1: oracle: there is no file othr.yaml, did you mean 'other.yaml'?"),
        (varied(train={"sft": 3}), "variants.f1: train.sft: 3 is an integer, expected text"),
        (varied(train={"sfd": None}), "variants.f1: train.sfd: None is null, expected text"),
        (
            varied(train={"marge": None}),
            "variants.f1: schedules[0] has the objective 'marge', but train names no YAML for it",
        ),
        (varied(budget=11_000), "variants.f1: budget: 11000 counted evaluations do not pay for the seeds"),
        (varied(name="other"), "variants.f1: a variant cannot change 'name'; leave it out"),
        (varied(threads=1), "variants.f1: a variant cannot change 'threads'; leave it out"),
        (varied(variants={}), "variants.f1: a variant cannot change 'variants'; leave it out"),
        (varied(variant="f2"), "variants.f1: a variant cannot change 'variant'; leave it out"),
        (
            changed(variants={"report": {}}),
            "variants.report: a run keeps files of its own under the name 'report'; give",
        ),
        (changed(variants={"r10": {}}), "variants.r10: a run keeps files of its own under the name 'r10'"),
        (changed(variants={"oracle.json": {}}), "variants.oracle.json: a run keeps files of its own"),
        (changed(variant="tune"), "a run keeps files of its own under the name 'tune'"),
        (
            changed(variants={"../x": {}}),
            "variants: '../x' is no name that can be used here (the name of a variant: letters",
        ),
        (changed(variants={"a/b": {}}), "variants: 'a/b' is no name that can be used here"),
        (changed(variants={10: {}}), "variants: 10 is an integer, expected text (the name of a variant"),
        (
            changed(variants={"f1": None}),
            "variants.f1: None is null, expected a mapping (the keys that a variant changes)",
        ),
        (changed(variants={"f1": "other.yaml"}), "variants.f1: 'other.yaml' is text, expected a mapping"),
        (changed(variants={}), "variants: an empty mapping, expected at least one entry (runs of this experiment"),
        (changed(variants=["f1"]), "variants: ['f1'] is a list, expected a mapping"),
        (changed(variants=None), "variants: None is null, expected a mapping"),
        (
            changed(variant="f1", variants={"f1": {}}),
            "variant: 'f1' says which one variant a file is, and this one has several",
        ),
        # what variants share is the file's own fault
        (changed(replicats=2, variants={"f1": {}}), "unknown key 'replicats', did you mean 'replicates'?"),
        (changed(replicates=0, variants={"f1": {"replicates": 1}}), "replicates: 0 is too small, expected at least 1"),
        ({"variants": {"f1": {}}}, "the key 'name' is missing: folder of the results"),
        # the genetic algorithm alone
        (
            changed(ALONE, base="base.yaml"),
            "base: schedules is empty, so the genetic algorithm runs alone and no policy is trained;",
        ),
        (changed(ALONE, filter="filter.yaml"), "filter: schedules is empty, so"),
        (changed(ALONE, train={"sft": "sft.yaml"}), "train: schedules is empty, so"),
        (changed(ALONE, budget=20_000), "budget: schedules is empty, so"),
        (changed(ALONE, hours=2), "hours: schedules is empty, so"),
        (changed(ALONE, tune={"sft": "grid.yaml"}), "tune.sft: no schedule has a round of 'sft'; drop the entry"),
        (
            changed(ALONE, baseline=None),
            "the key 'baseline' is missing: schedules is empty, so nothing else says how far",
        ),
        (varied(schedules=[]), "variants.f1: base: schedules is empty, so the genetic algorithm runs alone"),
        (
            {key: value for key, value in GOOD.items() if key != "refine"},
            "the key 'refine' is missing: YAML of `llome refine`",
        ),
        (
            changed(baseline=9_999),
            "baseline: 9999 counted evaluations are fewer than the seeds that it carries on (10000: rounds x",
        ),
        (changed(baseline=0), "baseline: 0 is too small, expected at least 1 (how far"),
        # rivals
        (
            changed(rivals={"tuned": "tune.yaml"}),
            "rivals.tuned: there is no file tune.yaml, did you mean 'tuned.yaml'?",
        ),
        (
            changed(rivals={"Tuned": "tuned.yaml"}),
            "rivals: 'Tuned' is no name that can be used here (lower-case letters and digits",
        ),
        (changed(rivals={"2": "tuned.yaml"}), "rivals: '2' is no name that can be used here"),
        (changed(rivals={"tuned": {"population": 3}}), "rivals.tuned: {'population': 3} is a mapping, expected text"),
    ],
)
def test_refusals(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^exp.yaml: {re.escape(message)}"):
        check_experiments(settings, "exp.yaml")


def test_one_experiment_of_a_file_with_several_is_asked_for_by_its_own_file() -> None:
    with pytest.raises(
        ConfigError, match=r"^exp.yaml: variants: there are several .* results/demo/VARIANT/experiment.yaml"
    ):
        load_experiment(write(varied()))


def test_the_genetic_algorithm_alone() -> None:
    (experiment,) = check_experiments(ALONE, "x").values()
    assert experiment.histories == []
    assert (experiment.baseline_rounds, experiment.batch, experiment.searches) == (30, 0, {})
    rest = {"tune": {}, "replicates": 1, "random_seed": 0, "train_on": "last", "budget": None}
    assert experiment.as_dict() == {**ALONE, **rest}
    assert check_experiment(changed(ALONE, train_on="all"), "x").baseline_rounds == 30


@pytest.mark.parametrize(
    ("baseline", "rounds", "rival"), [(10_000, 10, 15), (10_001, 11, 16), (60_000, 60, 86), (None, 30, 43)]
)
def test_baseline_and_rivals_count_as_told_in_whole_rounds(baseline: int | None, rounds: int, rival: int) -> None:
    experiment = check_experiment(changed(baseline=baseline, rivals={"tuned": "tuned.yaml"}), "x")
    assert experiment.baseline_rounds == rounds
    assert experiment.rival_rounds("tuned") == rival  # of 700
    assert 0 <= rival * 700 - rounds * 1_000 < 700


def test_a_rival_without_a_population_is_refused() -> None:
    Path("tuned.yaml").write_text("rounds: 10\n")
    with pytest.raises(ConfigError, match=r"^tuned.yaml: population is None, expected an integer of at least 1"):
        check_experiment(changed(rivals={"tuned": "tuned.yaml"}), "x")


def test_the_tuned_genetic_algorithm_differs_where_it_says_so(root: Path) -> None:
    paper, tuned = (yaml.safe_load((root / f"configs/seed/{name}.yaml").read_text()) for name in ("ga", "ga_tuned"))
    assert paper.keys() == tuned.keys()
    assert {key for key in paper if paper[key] != tuned[key]} == {"mutation_probability", "survival_quantile"}
