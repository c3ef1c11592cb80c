"""An experiment that cannot run is refused before anything runs, in words that name the file, the key and the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiment_fixtures import GOOD, changed, stage_files, without  # noqa: F401

from llome.errors import ConfigError
from llome.experiment import check_experiment, load_experiment, load_experiments


def test_a_good_experiment() -> None:
    experiment = check_experiment(GOOD, "demo.yaml")
    assert experiment.histories == ["sft5", "sft1-marge9"]
    assert experiment.as_dict() == GOOD
    assert check_experiment(changed(analyze=False), "x").as_dict() == GOOD  # off, it leaves no trace
    assert check_experiment(changed(analyze=True), "x").as_dict() == {**GOOD, "analyze": True}
    assert check_experiment(changed(threads=1), "x").as_dict() == {**GOOD, "threads": 1}
    assert check_experiment(changed(hours=None), "x").as_dict() == GOOD
    assert check_experiment(changed(hours=1.5), "x").as_dict() == {**GOOD, "hours": 1.5}
    defaults = check_experiment(
        {k: v for k, v in GOOD.items() if k not in ("tune", "replicates", "random_seed", "budget")}, "x"
    )
    assert (defaults.replicates, defaults.random_seed, defaults.budget) == (1, 0, None)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (changed(replicate=2), "unknown key 'replicate', did you mean 'replicates'?"),
        (changed(zebra=2), "unknown key 'zebra'; the keys are name, oracle, seed"),
        (without("oracle"), "the key 'oracle' is missing: YAML of the oracle's constructor arguments"),
        (without("base"), "the key 'base' is missing: YAML of `llome base`"),
        (changed(replicates="two"), "replicates: 'two' is text, expected an integer"),
        (changed(replicates=True), "replicates: True is true or false, expected an integer"),
        (changed(replicates=0), "replicates: 0 is too small, expected at least 1"),
        (changed(budget=1.5), "budget: 1.5 is a number, expected an integer or null"),
        (changed(threads=0), "threads: 0 is too small, expected at least 1 (threads that each stage computes with"),
        (changed(hours="two"), "hours: 'two' is text, expected a number or null (hours of work after which one chain"),
        (changed(hours=True), "hours: True is true or false, expected a number or null"),
        (changed(hours=0), "hours: 0 is too small, expected more than 0 (hours of work"),
        (changed(hours=float("nan")), "hours: nan is no length of time; give a number of hours, or null"),
        (changed(hours=float("inf")), "hours: inf is no length of time"),
        (changed(train_on="best"), "train_on: 'best' is none of last, all (labelled tables a round trains on"),
        (changed(analyze=1), "analyze: 1 is an integer, expected true or false (score the proposals"),
        (changed(random_seed=-1), "random_seed: -1 is too small, expected at least 0"),
        (changed(oracle=["a"]), "oracle: ['a'] is a list, expected text"),
        (changed(name="../x"), "name: '../x' is no name that can be used here"),
        (changed(name="two words"), "name: 'two words' is no name"),
        (changed(train={}), "train: an empty mapping, expected at least one entry (a YAML of `llome train` for each"),
        (changed(train={"SFT": "sft.yaml"}), "train: 'SFT' is no name that can be used here: lower-case letters only"),
        (changed(train={"sft": 3}), "train.sft: 3 is an integer, expected text"),
        (
            changed(schedules=[]),
            "base: schedules is empty, so the genetic algorithm runs alone and no policy is trained",
        ),
        (
            changed(schedules=[[{"sft": 1}], []]),
            "schedules[1]: an empty list, expected at least one entry (a schedule names at least one round, such as [sft: 5])",
        ),
        (changed(schedules=[{"sft": 1}]), "schedules[0]: {'sft': 1} is a mapping, expected a list"),
        (changed(schedules=[[{"sft": "five"}]]), "schedules[0][0].sft: 'five' is text, expected an integer"),
        (changed(schedules=[[{"sft": 0}]]), "schedules[0][0].sft: 0 is too small, expected at least 1"),
        (
            changed(schedules=[[{"sft": 1, "marge": 2}]]),
            "schedules[0][0]: {'sft': 1, 'marge': 2}: expected one objective",
        ),
        (changed(schedules=[["sft"]]), "schedules[0][0]: 'sft' is text, expected a mapping"),
        (
            changed(schedules=[[{"sft": 1}, {"merge": 2}]]),
            "schedules[0] has the objective 'merge', but train names no YAML for it, did you mean 'marge'?",
        ),
        (changed(schedules=[[{"sft": 5}], [{"sft": 2}, {"sft": 3}]]), "schedules[1] and schedules[0] are both sft5"),
        (changed(base="bse.yaml"), "base: there is no file bse.yaml, did you mean 'base.yaml'?"),
        (
            changed(train={"sft": "nowhere/sft.yaml", "marge": "marge.yaml"}),
            "train.sft: there is no file nowhere/sft.yaml",
        ),
        (
            changed(budget=11_999),
            "budget: 11999 counted evaluations do not pay for the seeds (10000: rounds x population in seed.yaml) and one"
            " batch (2000: k in filter.yaml); give at least 12000, or null",
        ),
        (changed(tune={"marge": "nowhere.yaml"}), "tune.marge: there is no file nowhere.yaml"),
        (changed(tune={"dpo": "grid.yaml"}), "tune.dpo: no schedule has a round of 'dpo'; drop the entry"),
        (
            changed(tune={"marge": "sft", "sft": "marge"}),
            "tune.marge takes over from 'sft', which has no grid of its own; name one that has",
        ),
        (
            changed(tune={"sft": "marge", "marge": "grid.yaml"}),
            "tune.sft: its search would start from a round of 'sft' itself; let a schedule that comes to 'marge' without it",
        ),
        (None, "None is null, expected a mapping"),
        ([], "[] is a list, expected a mapping"),
    ],
)
def test_refusals(settings: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=f"^exp.yaml: {re.escape(message)}"):
        check_experiment(settings, "exp.yaml")


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("filter.yaml", "{}", "filter.yaml: k is None, expected an integer of at least 1"),
        ("filter.yaml", "k: 0", "filter.yaml: k is 0"),
        ("seed.yaml", "rounds: 10", "seed.yaml: population is None"),
        ("seed.yaml", "rounds: [", "seed.yaml is no valid YAML"),
        ("seed.yaml", "- 1", "seed.yaml: rounds is None"),
        (
            "oracle.yaml",
            "name: ehrlich\nnum_state: 32",
            "oracle.yaml: unknown key 'num_state', did you mean 'num_states'",
        ),
        ("oracle.yaml", "name: erlich", "oracle.yaml: name: 'erlich' is none of ehrlich"),
        ("oracle.yaml", "dim: 32", "oracle.yaml: the key 'name' is missing: kind of the oracle"),
        ("oracle.yaml", "name: ehrlich\nnoise_std: low", "oracle.yaml: noise_std: 'low' is text, expected a number"),
    ],
)
def test_stage_files_that_cannot_be_right_are_refused(file: str, text: str, message: str) -> None:
    Path(file).write_text(text)
    with pytest.raises(ConfigError, match=message):
        check_experiment(GOOD, "exp.yaml")


def test_a_search_says_whose_values_an_objective_takes_and_where_it_starts() -> None:
    Path("sft.yaml").write_text("model: {lr: 1}\n")
    schedules = [[{"sft": 2}, {"marge": 1}], [{"sft": 1}, {"marge": 9}], [{"sft": 1}, {"other": 1}]]
    train = {**GOOD["train"], "other": "marge.yaml"}
    experiment = check_experiment(
        changed(schedules=schedules, train=train, tune={"sft": "grid.yaml", "marge": "grid.yaml", "other": "marge"}),
        "x",
    )
    assert experiment.searches == {"sft": "grid.yaml", "marge": "grid.yaml"}
    assert [experiment.values_from(name) for name in ("sft", "marge", "other", "dpo")] == [
        "sft",
        "marge",
        "marge",
        None,
    ]
    assert [experiment.first_round(name) for name in ("sft", "marge")] == ["sft1", "sft2-marge1"]


def test_a_grid_of_unset_settings_is_refused() -> None:
    Path("grid.yaml").write_text("grid: {model.lrate: [1]}\n")
    with pytest.raises(ConfigError, match=r"grid varies 'model.lrate', which marge.yaml does not set, did you mean"):
        check_experiment(GOOD, "exp.yaml")


def test_files_that_cannot_be_read_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.yaml: No such file"):
        load_experiment(tmp_path / "nowhere.yaml")
    (tmp_path / "bad.yaml").write_text("name: [demo\nschedules: x: y")
    with pytest.raises(ConfigError, match=r"bad\.yaml is no valid YAML: .*line 2"):
        load_experiment(tmp_path / "bad.yaml")


@pytest.mark.parametrize(
    ("schedules", "budget", "rounds"),
    [
        ([[{"sft": 5}]], None, 20),  # 10,000 + 5 x 2,000 by rounds of 1,000
        ([[{"sft": 1}], [{"sft": 1}, {"marge": 9}]], None, 30),
        ([[{"sft": 5}]], 12_500, 12),
        ([[{"sft": 1}]], 40_000, 12),
    ],
)
def test_the_baseline_counts_what_the_longest_schedule_counts(schedules: Any, budget: int | None, rounds: int) -> None:
    assert check_experiment(changed(schedules=schedules, budget=budget, tune={}), "x").baseline_rounds == rounds


def test_the_baseline_never_counts_less_than_the_longest_schedule() -> None:
    Path("filter.yaml").write_text("k: 7\n")
    assert check_experiment(GOOD, "x").baseline_rounds == 11  # 10,070 evaluations


def test_a_chain_ends_at_the_optimum_with_the_budget_or_when_it_runs_dry(tmp_path: Path) -> None:
    summary = tmp_path / "summary.json"
    free, capped = check_experiment(GOOD, "x"), check_experiment(changed(budget=15_000), "x")
    for regret, counted, labeled, ends, ends_capped in [
        (0.3, 12_000, 2_000, False, False),
        (0.3, 13_000, 2_000, False, False),  # one more batch costs 2,000 and leaves nothing
        (0.3, 13_001, 2_000, False, True),
        (0.0, 12_000, 2_000, True, True),
        (0.3, 12_000, 0, True, True),  # a policy that writes nothing to label
        ("null", 12_000, 1, False, False),
    ]:
        summary.write_text(f'{{"regret": {regret}, "counted": {counted}, "labeled": {labeled}}}')
        assert (free.ends_with(summary), capped.ends_with(summary)) == (ends, ends_capped)


def test_stage_seeds_differ_by_replicate_history_and_stage() -> None:
    experiment, other = check_experiment(GOOD, "x"), check_experiment(changed(random_seed=8), "x")
    names = [(0, "sft1", "train"), (1, "sft1", "train"), (0, "sft2", "train"), (0, "sft1", "refine")]
    assert len({e.stage_seed(*n) for e in (experiment, other) for n in names}) == 8


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.parent.glob("configs/experiments/**/*.yaml")), ids=lambda p: p.stem
)
def test_shipped_experiments_are_valid(path: Path, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "configs").symlink_to(root / "configs")
    (tmp_path / "data").mkdir()
    for name in ("measured", "landscape"):  # a user's own
        (tmp_path / "data" / f"{name}.csv").write_text("sequence,score\n")
    monkeypatch.chdir(tmp_path)
    experiments, written = load_experiments(path), yaml.safe_load(path.read_text())
    (name,) = {experiment.name for experiment in experiments.values()}
    assert name == "_".join(path.relative_to(root / "configs/experiments").with_suffix("").parts)
    if "variants" not in written:
        unsaid = {"tune", "replicates", "random_seed", "budget"}
        assert experiments[name].as_dict().keys() - unsaid == written.keys() - unsaid
