"""What an experiment and the files that it names must have of each other: oracles, surrogates, values, labels of one's own."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from experiment_fixtures import GOOD, changed, stage_files  # noqa: F401

from llome.errors import ConfigError
from llome.experiment import check_experiment
from llome.settings import SCHEMAS, check_shape, read_yaml

OWN = "alphabet: dna\nlength: 4\nstart: ACGT\n"
ORACLES = {
    "ehrlich": "",
    "rough_mt_fuji": OWN,
    "table": f"{OWN}path: oracle.yaml\n",
    "python": f"{OWN}function: a.b:C\n",
    "command": f"{OWN}command: [x]\n",
    "poli": f"{OWN}black_box: aloha\n",
    "manual": OWN,
}
"""The least that an oracle of each kind says."""


def test_the_oracle_schema_names_the_arguments_of_every_kind() -> None:
    from dataclasses import fields

    from llome.scoring.oracle import KINDS
    from llome.scoring.problem import Problem

    schema = json.loads((SCHEMAS / "oracle.json").read_text())
    shared = {field.name for field in fields(Problem)}
    named = set(shared)
    assert schema["properties"]["name"]["enum"] == [*KINDS] == [*ORACLES]
    assert set(schema["$defs"]["shared"]["enum"]) == shared | {"name"}
    for kind, (module, name) in KINDS.items():
        own = set(inspect.signature(getattr(importlib.import_module(module), name)).parameters) - {"problem"}
        (rule,) = (r["then"] for r in schema["allOf"] if r["if"]["properties"]["name"]["const"] == kind)
        assert set(rule["propertyNames"]["anyOf"][-1]["enum"]) - {"name"} == own, kind
        named |= own
    assert set(schema["properties"]) - {"name"} == named


@pytest.mark.parametrize("kind", [kind for kind in ORACLES if kind != "manual"])
def test_every_kind_of_oracle_in_an_experiment(kind: str) -> None:
    Path("oracle.yaml").write_text(f"name: {kind}\n{ORACLES[kind]}")
    assert check_experiment(GOOD, "x").repeats == 1


@pytest.mark.parametrize(
    ("kind", "more", "changes", "words"),
    [
        ("command", "path: x\n", {}, "the key 'path' is of no use here"),
        ("ehrlich", "alphabet: dna\n", {}, "the key 'alphabet' is of no use here"),
        ("python", "fonction: x\n", {}, "unknown key 'fonction', did you mean 'function'"),
        (
            "command",
            "command: python score.py\n",
            {},
            "command: 'python score.py' is text, expected a list .the program and its",
        ),
        ("command", "timeout: 0\n", {}, "timeout: 0 is too small, expected more than 0"),
        ("table", "path: nowhere.csv\n", {}, "there is no table nowhere.csv"),
        ("manual", "", {}, r"x: seed: the genetic algorithm asks .* seed: \{table: mine\.csv\}"),
        ("manual", "", {"shards": {"label": 2}}, "x: shards: label is 2, but oracle.yaml is manual"),
        ("command", "start: null\n", {}, r"oracle\.yaml names none; give it start: or wild_type:, or begin with"),
        ("command", "length: [3, 4]\n", {}, r"oracle\.yaml has length: \[3, 4\], but the genetic algorithm knows"),
        ("command", "max_edits: 2\n", {}, r"has max_edits: 2, but .* no limits; begin with labels of your own"),
        ("command", "", {"analyze": True}, r"x: analyze: .* oracle\.yaml .command. has its price"),
        (
            "command",
            "repeats: 3\n",
            {"budget": 35999},
            r"seeds .30000: .* batch .6000: .*, each measured 3 times; give at least 36000",
        ),
        (
            "command",
            "repeats: 2\n",
            {"round_budget": 3999},
            "round_budget: 3999 oracle calls do not pay for one batch .4000",
        ),
    ],
)
def test_what_an_oracle_cannot_do_is_known_before_anything_runs(kind: str, more: str, changes: Any, words: str) -> None:
    text = yaml.safe_dump(yaml.safe_load(f"name: {kind}\n{ORACLES[kind]}") | (yaml.safe_load(more) or {}))
    Path("oracle.yaml").write_text(text)
    with pytest.raises(ConfigError, match=words):
        check_experiment(changed(**changes), "x")


def test_an_oracle_lacks_what_its_kind_needs() -> None:
    Path("oracle.yaml").write_text("name: command\nalphabet: dna\nlength: 4\n")
    with pytest.raises(ConfigError, match=r"oracle\.yaml: the key 'command' is missing"):
        check_experiment(GOOD, "x")
    Path("oracle.yaml").write_text("name: manual\nalphabet: dna\n")
    with pytest.raises(ConfigError, match=r"oracle\.yaml: the key 'length' is missing"):
        check_experiment(GOOD, "x")


def test_repeats_count(tmp_path: Path) -> None:
    Path("oracle.yaml").write_text(f"name: rough_mt_fuji\n{OWN}repeats: 2\n")
    experiment = check_experiment(changed(budget=60_000, round_budget=4000), "x")
    assert experiment.as_dict()["round_budget"] == 4000
    assert experiment.baseline_rounds == 30
    summary = tmp_path / "summary.json"
    facts = {"regret": None, "labeled": 5}
    for counted, ends in ((56_000, False), (56_001, True)):
        summary.write_text(json.dumps({**facts, "counted": counted}))
        assert experiment.ends_with(summary) == ends


@pytest.mark.parametrize(
    "path", sorted(Path(__file__).parent.parent.glob("configs/oracles/**/*.yaml")), ids=lambda p: p.stem
)
def test_shipped_oracles_are_valid(path: Path) -> None:
    settings = read_yaml(path)
    check_shape(settings, "oracle", str(path))
    if settings["name"] == "ehrlich":  # the others need a table, or labels to start from
        (Path.cwd() / "oracle.yaml").write_text(path.read_text())
        assert check_experiment(GOOD, "x").oracle == "oracle.yaml"


def test_a_filter_that_evolves_and_a_surrogate_need_each_other(root, monkeypatch):
    monkeypatch.chdir(root)
    settings = yaml.safe_load(Path("configs/experiments/tiny_evolved.yaml").read_text())
    assert check_experiment(settings, "x.yaml").as_dict()["surrogate"] == "configs/surrogate/tiny.yaml"
    with pytest.raises(
        ConfigError,
        match=r"x\.yaml: the key 'surrogate' is missing, but configs/filter/tiny_evolved\.yaml has evolve or a rank",
    ):
        check_experiment({key: value for key, value in settings.items() if key != "surrogate"}, "x.yaml")
    with pytest.raises(
        ConfigError, match=r"would be fitted and never used, since configs/filter/tiny\.yaml has no evolve"
    ):
        check_experiment(settings | {"filter": "configs/filter/tiny.yaml"}, "x.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml: analyze: what an analysis compares is drawn or ranked"):
        check_experiment(settings | {"analyze": True}, "x.yaml")


def test_a_rank_and_a_surrogate_need_each_other(root, monkeypatch):
    monkeypatch.chdir(root)
    settings = yaml.safe_load(Path("configs/experiments/tiny_ranked.yaml").read_text())
    assert check_experiment(settings, "x.yaml").judged == {
        "refine",
        "filter",
        "analyze",
    }  # an analysis compares rankings
    settings["analyze"] = False
    assert check_experiment(settings, "x.yaml").judged == {"refine", "filter"}
    plain = {"refine": "configs/refine/tiny.yaml", "filter": "configs/filter/tiny.yaml"}
    assert check_experiment(settings | {"refine": plain["refine"]}, "x.yaml").judged == {"filter"}
    without = {key: value for key, value in settings.items() if key != "surrogate"}
    with pytest.raises(
        ConfigError, match=r"'surrogate' is missing, but configs/refine/tiny_leon\.yaml has evolve or a"
    ):
        check_experiment(without | {"filter": plain["filter"]}, "x.yaml")
    with pytest.raises(ConfigError, match="fitted and never used"):
        check_experiment(settings | plain, "x.yaml")
    assert check_experiment(settings | plain | {"analyze": True}, "x.yaml").judged == {"analyze"}
    with pytest.raises(
        ConfigError, match=r"x\.yaml: shards: refine is 2, but configs/refine/tiny_leon\.yaml has rank: leon"
    ):
        check_experiment(settings | {"shards": {"refine": 2}}, "x.yaml")


def test_values_need_an_objective_of_their_own(root, monkeypatch):
    monkeypatch.chdir(root)
    settings = yaml.safe_load(Path("configs/experiments/objectives.yaml").read_text())
    assert check_experiment(settings, "x.yaml").as_dict()["values"] == {"control": "configs/values/control.yaml"}
    file = "configs/values/control.yaml"
    with pytest.raises(
        ConfigError, match=r"x\.yaml: values: train has no YAML for 'controll' to differ from, did you mean 'control'"
    ):
        check_experiment(settings | {"values": {"controll": file}}, "x.yaml")
    with pytest.raises(ConfigError, match=r"x\.yaml: values and tune both set marge"):
        check_experiment(settings | {"values": {"marge": file}}, "x.yaml")
    with pytest.raises(ConfigError, match=r"values\.control: there is no file configs/values/contrl\.yaml"):
        check_experiment(settings | {"values": {"control": "configs/values/contrl.yaml"}}, "x.yaml")


def test_labels_of_ones_own_in_place_of_the_genetic_algorithm(tmp_path: Path) -> None:
    table = tmp_path / "mine.csv"
    table.write_text("sequence,score\n")
    seed = {"table": str(table), "score_column": "dG"}
    experiment = check_experiment(changed(seed=seed, budget=None), "x")
    assert (experiment.genetic, experiment.seed_file) == (False, str(table))
    assert check_experiment(experiment.as_dict(), "x") == experiment
    for key, value in (("baseline", 100), ("rivals", {"tuned": "seed.yaml"})):
        with pytest.raises(ConfigError, match=rf"x: {key}: the seed is a table of labels"):
            check_experiment(changed(seed=seed, budget=None, **{key: value}), "x")
    with pytest.raises(ConfigError, match=r"seed\.table: there is no file .*absent\.csv"):
        check_experiment(changed(seed={"table": str(tmp_path / "absent.csv")}, budget=None), "x")
    with pytest.raises(ConfigError, match=r"seed: unknown key 'tabel', did you mean 'table'"):
        check_experiment(changed(seed={"tabel": str(table)}, budget=None), "x")
