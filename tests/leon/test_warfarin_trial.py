"""The dosing task at toy size: what it writes, that it can be stopped, and that no method sees what becomes of a dose."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llome.cli import main
from llome.errors import ConfigError, ProposerError
from llome.leon import surrogate
from llome.leon.proposing import Answer, Request
from llome.leon.warfarin import HIGHEST, LOWEST, NOTICE
from llome.leon.warfarin.methods import PROMPTED, TITLES, Bench
from llome.leon.warfarin.patients import Patients
from llome.leon.warfarin.scripted import ScriptedProposer
from llome.stages import warfarin as stage

WITHOUT_BOTORCH = [name for name in TITLES if name != "bo"]
QUICK = {"critic_fit": {"steps": 20, "hidden": 8}, "batch": 8}


def run(out: Path, **changed: Any) -> Path:
    given: dict[str, Any] = {
        "patients": 3,
        "source_patients": 120,
        "queries": 24,
        "random_seed": 77,
        "methods": WITHOUT_BOTORCH,
        "settings": QUICK,
    }
    stage.warfarin(out=out, **given | changed)
    return out


def contents(out: Path) -> dict[str, bytes]:
    files = [path for path in sorted(out.rglob("*")) if path.is_file() and path.name != ".lock"]
    return {str(path.relative_to(out)): path.read_bytes() for path in files}


@pytest.fixture(scope="module", autouse=True)
def _a_quick_surrogate() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(surrogate, "SurrogateSettings", partial(surrogate.SurrogateSettings, steps=100, hidden=16))
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(tmp_path_factory.mktemp("whole"))


def test_it_writes_a_table_a_figure_and_facts_that_agree(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = list(csv.DictReader(line for line in (whole / "table.csv").read_text().splitlines() if line[0] != "#"))
    facts = json.loads((whole / "table.json").read_text())
    assert [row["method"].split(" (")[0] for row in rows] == [TITLES[name] for name in WITHOUT_BOTORCH]
    assert all(
        ("no language model" in row["method"]) == (name in PROMPTED)
        for row, name in zip(rows, WITHOUT_BOTORCH, strict=True)
    )
    for row, name in zip(rows, WITHOUT_BOTORCH, strict=True):
        told = facts["methods"][name]
        assert float(row["rmse_mg_per_day"]) == pytest.approx(told["rmse"], abs=1e-4)
        assert 1 <= float(row["mean_rank"]) <= len(rows)
    ranks = [float(row["mean_rank"]) for row in rows]
    assert np.mean(ranks) == pytest.approx((len(rows) + 1) / 2, abs=1e-3)
    queries = [float(row["surrogate_queries_per_patient"]) for row in rows]
    assert queries == [0, 0, 16, 24, 24, 24, 24]  # gradient ascent makes whole steps of 16 starts
    assert facts["left_out"] == 0
    run(whole)
    assert "clinical formula" in capsys.readouterr().out


def test_every_output_says_that_it_is_no_advice(whole: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(whole)
    assert capsys.readouterr().out.count(NOTICE) == 2
    for name in ("table.csv", "source.csv", "patients.csv"):
        assert (whole / name).read_text().startswith(f"# {NOTICE}\n")
    assert "Research software, not medical advice" in (whole / "table.svg").read_text()
    assert "no language model" in (whole / "table.svg").read_text()
    assert json.loads((whole / "table.json").read_text())["notice"] == NOTICE
    assert "not medical advice" in (stage.__doc__ or "")
    assert "not medical advice" in (stage.warfarin.__doc__ or "")


def test_the_source_table_has_no_genotype_and_the_patients_no_outcome(whole: Path) -> None:
    source, patients = ((whole / name).read_text() for name in ("source.csv", "patients.csv"))
    assert "vkorc1" not in source
    assert "*1" not in source
    assert "vkorc1" in patients
    assert "outcome" not in patients
    assert "dose" not in patients.splitlines()[1]


def test_doses_are_within_the_bounds_and_the_same_on_another_run(whole: Path, tmp_path: Path) -> None:
    assert contents(run(tmp_path)) == contents(whole)
    for name in set(WITHOUT_BOTORCH) - {"clinical"}:
        lines = [json.loads(line) for line in (whole / "doses" / f"{name}.jsonl").read_text().splitlines()]
        doses = [line["answer"]["dose"] for line in lines if "answer" in line]
        assert len(doses) == 3
        assert all(LOWEST <= dose <= HIGHEST for dose in doses)


def test_a_stopped_run_goes_on_and_solves_nobody_twice(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    solve, solved = Bench.solve, list[tuple[str, int]]()

    def stopping(stop: int) -> Callable[..., dict[str, Any]]:
        def some(bench: Bench, method: str, row: int, journal: Path | None) -> dict[str, Any]:
            if len(solved) == stop:
                raise KeyboardInterrupt
            solved.append((method, row))
            return solve(bench, method, row, journal)

        return some

    for stop in (1, 5, 8):
        monkeypatch.setattr(Bench, "solve", stopping(stop))
        with pytest.raises(KeyboardInterrupt):
            run(tmp_path)
        assert not (tmp_path / "table.csv").exists()
    monkeypatch.setattr(Bench, "solve", stopping(10**6))
    run(tmp_path)
    assert len(solved) == len(set(solved)) == 3 * (len(WITHOUT_BOTORCH) - 1)
    for name in ("table.csv", "table.svg", "table.json", "source.csv", "patients.csv"):
        assert (tmp_path / name).read_bytes() == (whole / name).read_bytes()


def test_another_ground_truth_changes_the_table_and_no_dose(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is asked when every method has ended, and by nobody else."""
    asked = []

    def other(patients: Patients) -> np.ndarray:
        asked.append(len(list((tmp_path / "doses").iterdir())))
        return np.full(len(patients), 2.0)

    monkeypatch.setattr(stage, "best_dose", other)
    run(tmp_path)
    assert asked == [len(WITHOUT_BOTORCH) - 1]
    one, two = contents(whole), contents(tmp_path)
    assert {name for name in one if one[name] != two[name]} == {"table.csv", "table.svg", "table.json"}


def test_other_settings_begin_anew(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, methods=["label", "opro"])
    run(tmp_path, methods=["label", "opro"], queries=16)
    assert "settings have changed" in capsys.readouterr().err
    assert json.loads((tmp_path / "table.json").read_text())["methods"]["opro"]["queries"] == 16


class Model:
    """A proposer whose answers cost something, and who goes away after `answers` of them."""

    name = "a model"

    def __init__(self, answers: int) -> None:
        self.answers, self.asked = answers, 0

    def propose(self, request: Request) -> Answer:
        if self.asked == self.answers:
            raise ProposerError("the server answers no more")
        self.asked += 1
        return Answer(ScriptedProposer(malformed=0).propose(request).text, 100, 10)


def test_a_proposer_of_the_users_own_takes_the_place_of_the_script(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its name stands where the script's did, and a call that was answered is not made again."""
    made = [Model(7), Model(10**6)]
    monkeypatch.setattr(
        "llome.leon.proposers.make_proposer", lambda settings: {"first": made[0], "then": made[1]}[settings["name"]]
    )
    with pytest.raises(ProposerError, match="answers no more"):
        run(tmp_path, methods=["clinical", "opro", "leon"], proposer={"name": "first"})
    run(tmp_path, methods=["clinical", "opro", "leon"], proposer={"name": "then"})
    assert (made[0].asked, made[1].asked) == (7, 2 * 3 * 3 - 7)  # two methods, three patients, three batches
    table = (tmp_path / "table.csv").read_text()
    assert "LEON (a model)" in table
    assert "script" not in table + (tmp_path / "table.svg").read_text()
    told = json.loads((tmp_path / "table.json").read_text())["methods"]["leon"]
    assert (told["calls"], told["tokens"]) == (3, 330)


def test_the_command_line_takes_the_shipped_settings(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The YAML that ships, at toy size; it says that it is no advice, and so does the command."""
    config = root / "configs" / "leon" / "warfarin.yaml"
    assert "Research software, not medical advice" in config.read_text()
    line = ["leon", "warfarin", "--config", str(config), "--out", str(tmp_path), "--patients", "2", "--queries", "16"]
    assert main([*line, "--source_patients", "60", "--methods", "clinical", "leon"]) == 0
    assert NOTICE in capsys.readouterr().out
    assert json.loads((tmp_path / "table.json").read_text())["loop"]["refit"] == 8
    assert main(["leon", "warfarin", "--help"]) == 0
    assert "not medical advice" in " ".join(capsys.readouterr().out.split())


def test_the_table_in_the_docs_says_what_it_is(root: Path) -> None:
    table, figure = ((root / "docs" / f"warfarin.{kind}").read_text() for kind in ("csv", "svg"))
    for text in (table, figure):
        assert "Research software, not medical advice" in text
        assert "no language model" in text
    rows = list(csv.DictReader(line for line in table.splitlines() if line[0] != "#"))
    assert [row["method"].split(" (")[0] for row in rows] == list(TITLES.values())


def test_bayesian_optimisation_has_a_row_where_it_is_installed(tmp_path: Path) -> None:
    pytest.importorskip("botorch", reason="BoTorch is not installed: pip install 'llome[bo]'", exc_type=ImportError)
    run(tmp_path, methods=["bo"], bo_queries=16, patients=2)
    facts = json.loads((tmp_path / "table.json").read_text())
    assert facts["methods"]["bo"]["queries"] == 16


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"patients": 1}, "patients is 1; it must be at least 2"),
        ({"methods": ["leo"]}, "there is no method 'leo', did you mean 'leon'"),
        ({"methods": []}, "name at least one of clinical"),
        ({"settings": {"budget": 3}}, "settings has budget, which is for this task to say"),
        ({"settings": {"batsch": 3}}, "unknown key 'batsch', did you mean 'batch'"),
        ({"knowledge": Path("nowhere.csv")}, r"cannot read the knowledge nowhere\.csv"),
    ],
)
def test_mistakes_are_named(tmp_path: Path, changed: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        run(tmp_path, **changed)
