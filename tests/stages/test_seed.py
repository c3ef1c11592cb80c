"""`llome oracle` and `llome seed`: counts, carrying on, kills, refusals."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.scoring import Ehrlich, load_oracle, make_oracle
from llome.scoring.budget import Labels
from llome.scoring.genetic import Round
from llome.scoring.oracle import read_settings
from llome.stages.seed import _Record
from llome.tables import Labeled, Meta

ROOT = Path(__file__).resolve().parents[2]
SPEC = str(ROOT / "configs" / "oracles" / "tiny.yaml")
CONFIG = str(ROOT / "configs" / "seed" / "tiny.yaml")


@pytest.fixture
def oracle(tmp_path) -> str:
    path = str(tmp_path / "oracle.json")
    assert main(["oracle", "--spec", SPEC, "--out", path]) == 0
    return path


@pytest.fixture
def asked(monkeypatch) -> list[int]:
    """The running numbers of all queries that reach the oracle."""
    queries: list[int] = []
    score = Ehrlich.__call__

    def counted(self, sequences, *, query=0):
        queries.extend(range(query, query + len(sequences)))
        return score(self, sequences, query=query)

    monkeypatch.setattr(Ehrlich, "__call__", counted)
    return queries


def seed(oracle, out, *more) -> int:
    return main(
        ["seed", "--config", CONFIG, "--oracle", str(oracle), "--out", str(out), "--random_seed", "7", *map(str, more)]
    )


def read(folder) -> Labeled:
    return Labeled.read(folder / "labeled.parquet")


def refused(capsys, *words) -> None:
    """One plain line on stderr that has all the words."""
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "oracles").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_oracle_can_be_drawn(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "landscape.csv").write_text("sequence,score\nACDE,1\n")  # the one that a table oracle names
    assert main(["oracle", "--spec", str(path), "--out", str(tmp_path / "o.json")]) == 0
    loaded = load_oracle(tmp_path / "o.json")
    assert loaded.fingerprint == make_oracle(read_settings(path)).fingerprint
    if isinstance(loaded, Ehrlich):
        assert loaded(loaded.optimal_solution()[None]).tolist() == [1.0]


def test_oracle_refusals(tmp_path, capsys):
    spec, out = tmp_path / "o.yaml", tmp_path / "o.json"
    for text, words in [
        ("name: ehrlich\nnum_state: 5", ["'num_state'", "'num_states'", "o.yaml"]),
        ("name: ehrlich\ndim: 2", ["dim = 2", "3 positions"]),
        ("num_states: 5", ["name is missing", "ehrlich"]),
    ]:
        spec.write_text(text)
        assert main(["oracle", "--spec", str(spec), "--out", str(out)]) == 2
        refused(capsys, *words)
        assert not out.exists()


@pytest.mark.parametrize("path", sorted((ROOT / "configs" / "seed").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_shipped_seed_config_runs(path, oracle, tmp_path):
    args = ["--oracle", oracle, "--out", str(tmp_path / "seed"), "--random_seed", "0", "--rounds", "1"]
    assert main(["seed", "--config", str(path), *args]) == 0


def test_counts_and_rows(oracle, tmp_path, asked):
    assert seed(oracle, tmp_path / "seed") == 0
    assert asked == list(range(120))
    table = read(tmp_path / "seed")
    black_box = load_oracle(oracle)
    assert table.meta.spent == 120
    assert table.meta.domain.fingerprint == black_box.fingerprint
    np.testing.assert_array_equal(table.score, black_box.score(table.sequence))
    assert (np.diff(table.query) > 0).all()
    np.testing.assert_array_equal(table.round, table.query // 40 + 1)
    assert set(table.origin) == {"ga"}
    rounds = table.meta.facts["rounds"]
    assert [r["counted"] for r in rounds] == [40, 80, 120]
    assert [r["distinct"] for r in rounds] == [(table.query < 40 * n).sum() for n in (1, 2, 3)]
    first = table.take(table.query < 40)
    assert rounds[0]["unique"] == len(first) / 40
    assert rounds[0]["best"] == first.score.max()
    assert all(r["mean_regret"] == pytest.approx(1 - r["mean"]) for r in rounds)
    assert max(r["best"] for r in rounds) == table.score.max()
    assert sorted(p.name for p in (tmp_path / "seed").iterdir()) == [
        ".lock",
        "labeled.parquet",
        "made_by",
        "population.json",
    ]


def test_facts_of_a_round_by_hand(oracle, tmp_path):
    """With p_m = 0 everyone is the initial solution."""
    assert seed(oracle, tmp_path / "seed", "--mutation_probability", "0") == 0
    table = read(tmp_path / "seed")
    assert len(table) == 1
    value = table.score[0]
    assert value == pytest.approx(1 / 3)
    expected = {"counted": 120, "distinct": 1, "feasible": 1.0, "unique": 1 / 40, "best": value, "se_regret": 0.0}
    last = table.meta.facts["rounds"][2]
    assert {key: last[key] for key in expected} == pytest.approx(expected)
    assert last["mean_regret"] == pytest.approx(2 / 3)


def test_facts_of_a_round_with_the_infeasible_as_zero():
    rows = np.array([[0, 1], [0, 1], [2, 3], [1, 1]])
    scores = np.array([0.5, 0.5, -np.inf, 1.0])
    for optimum, regret in ((2.0, 1.5), (None, None)):
        record = _Record(None, optimum)
        labels = Labels(scores, np.arange(4), np.empty((4, 0)), np.zeros(4, bool), np.full(4, "", object), 0)
        record.hear(labels, 4)
        record.add(Round(1, rows, scores, rows[3], 1.0, rows))
        record.hear(replace(labels, failed=np.zeros(2, bool), query=np.arange(4, 6)), 6)
        record.add(Round(2, rows[2:3].repeat(2, axis=0), np.full(2, -np.inf), rows[3], 1.0, rows))
        first, second = record.rounds
        assert first == {
            "round": 1,
            "counted": 4,
            "distinct": 3,
            "feasible": 0.75,
            "unique": 0.75,
            "best": 1.0,
            "mean": 0.5,
            "mean_regret": regret,
            "se_regret": None if optimum is None else pytest.approx(np.sqrt(0.5 / 3) / 2),
        }
        assert (second["counted"], second["distinct"], second["best"], second["mean"]) == (6, 3, None, 0.0)
        table = record.table(Meta(Domain(4, 2, "x"), spent=6))
        assert table.query.tolist() == [0, 2, 3]


def test_again_gives_the_same_bytes_and_another_seed_does_not(oracle, tmp_path):
    for out in ("a", "b"):
        assert seed(oracle, tmp_path / out) == 0
    assert seed(oracle, tmp_path / "b", "--batch_size", 7) == 0
    for name in ("labeled.parquet", "population.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert seed(oracle, tmp_path / "c", "--random_seed", "8") == 0
    assert read(tmp_path / "c").sequence.tolist() != read(tmp_path / "a").sequence.tolist()


def test_carried_on_equals_in_one_go(oracle, tmp_path, asked):
    assert seed(oracle, tmp_path / "seed") == 0
    asked.clear()
    assert seed(oracle, tmp_path / "ga", "--rounds", 8, "--resume_from", tmp_path / "seed") == 0
    assert asked == list(range(120, 320))
    assert seed(oracle, tmp_path / "whole", "--rounds", 8) == 0
    carried, whole = read(tmp_path / "ga"), read(tmp_path / "whole")
    for name, column in whole.columns.items():
        np.testing.assert_array_equal(carried.columns[name], column)
    assert carried.meta.facts == whole.meta.facts
    assert carried.meta.spent == whole.meta.spent == 320
    assert (tmp_path / "ga" / "population.json").read_bytes() == (tmp_path / "whole" / "population.json").read_bytes()
    asked.clear()
    assert seed(oracle, tmp_path / "none", "--rounds", 3, "--resume_from", tmp_path / "seed") == 0
    assert not asked
    assert read(tmp_path / "none").meta.facts == read(tmp_path / "seed").meta.facts


def test_budget(oracle, tmp_path, asked, capsys):
    assert seed(oracle, tmp_path / "seed", "--budget", 119) == 2
    refused(capsys, "0 of 119", "120", "budget")
    assert not asked
    assert not (tmp_path / "seed").exists()
    assert seed(oracle, tmp_path / "seed", "--budget", 120) == 0
    assert seed(oracle, tmp_path / "ga", "--rounds", 5, "--resume_from", tmp_path / "seed", "--budget", 199) == 2
    refused(capsys, "120 of 199", "80")
    assert not (tmp_path / "ga").exists()


def test_refused_to_carry_on(oracle, tmp_path, capsys):
    source = tmp_path / "seed"
    assert seed(oracle, source) == 0

    def fails(*more, words, oracle=oracle, out=tmp_path / "ga") -> None:
        assert seed(oracle, out, "--resume_from", source, *more) == 2
        refused(capsys, *words)
        assert not (tmp_path / "ga").exists()

    fails("--rounds", 2, words=["3 rounds already", "--rounds"])
    fails("--rounds", 5, "--random_seed", 8, words=["random_seed (7 then, 8 now)"])
    fails("--rounds", 5, "--population", 50, words=["population (40 then, 50 now)"])
    fails("--rounds", 5, words=["--out and --resume_from"], out=source)
    spec = tmp_path / "other.yaml"
    spec.write_text(Path(SPEC).read_text().replace("random_seed: 0", "random_seed: 1"))
    assert main(["oracle", "--spec", str(spec), "--out", str(tmp_path / "other.json")]) == 0
    fails("--rounds", 5, oracle=tmp_path / "other.json", words=["oracle", "labeled.parquet"])
    state = json.loads((source / "population.json").read_text())
    (source / "population.json").write_text(json.dumps(state | {"round": 2}))
    fails("--rounds", 5, words=["different runs"])
    (source / "population.json").write_text(json.dumps({"round": 2}))
    fails("--rounds", 5, words=["no whole run"])
    (source / "population.json").unlink()
    fails("--rounds", 5, words=["population.json does not exist"])


def test_refused_settings(oracle, tmp_path, capsys):
    for more, words in [
        (["--rounds", "0"], ["rounds is 0"]),
        (["--population", "5"], ["survival_quantile is 0.2", "at least 0.4"]),
        (["--batch_size", "0"], ["batch_size is 0"]),
        (["--mutation_probability", "2"], ["mutation_probability is 2"]),
    ]:
        assert seed(oracle, tmp_path / "seed", *more) == 2
        refused(capsys, *words)
        assert not (tmp_path / "seed").exists()


KILLED = """
import os, signal, sys
from llome.cli import main
from llome.scoring import Ehrlich
score, calls = Ehrlich.__call__, int(sys.argv[1])
def dying(self, sequences, *, query=0):
    if query >= calls:
        os.kill(os.getpid(), signal.SIGKILL)
    return score(self, sequences, query=query)
Ehrlich.__call__ = dying
sys.exit(main(sys.argv[2:]))
"""


def test_killed_and_started_again(oracle, tmp_path, asked):
    assert seed(oracle, tmp_path / "whole") == 0
    args = ["seed", "--config", CONFIG, "--oracle", oracle, "--out", str(tmp_path / "seed"), "--random_seed", "7"]
    died = subprocess.run([sys.executable, "-c", KILLED, "90", *args, "--batch_size", "10"], check=False, cwd=ROOT)
    assert died.returncode == -signal.SIGKILL
    assert not (tmp_path / "seed" / "labeled.parquet").exists()
    asked.clear()
    assert main(args) == 0
    assert asked == list(range(90, 120))
    for name in ("labeled.parquet", "population.json"):
        assert (tmp_path / "seed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "seed" / ".seed.journal").exists()


def test_noisy_oracle_killed_and_started_again(tmp_path, monkeypatch):
    spec, oracle = tmp_path / "noisy.yaml", str(tmp_path / "noisy.json")
    spec.write_text(Path(SPEC).read_text() + "noise_std: 0.2\n")
    assert main(["oracle", "--spec", str(spec), "--out", oracle]) == 0
    assert seed(oracle, tmp_path / "whole") == 0
    score = Ehrlich.__call__

    def dying(self, sequences, *, query=0):
        if query >= 50:
            raise KeyboardInterrupt
        return score(self, sequences, query=query)

    with monkeypatch.context() as patch:
        patch.setattr(Ehrlich, "__call__", dying)
        assert seed(oracle, tmp_path / "seed", "--batch_size", 9) == 130
    assert seed(oracle, tmp_path / "seed", "--batch_size", 11) == 0
    assert (tmp_path / "seed" / "labeled.parquet").read_bytes() == (tmp_path / "whole" / "labeled.parquet").read_bytes()
    assert len(set(read(tmp_path / "seed").score.tolist())) > 20


def test_unwritable_output(oracle, capsys):
    unwritable = Path("/proc/locked")  # where not even root makes a folder
    assert seed(oracle, unwritable / "seed") == 2
    refused(capsys, "cannot write", "locked")


def test_output_is_a_file(oracle, tmp_path, capsys):
    (tmp_path / "seed").write_text("")
    assert seed(oracle, tmp_path / "seed") == 2
    refused(capsys, "cannot write", "seed")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ("name: command\ncommand: [python3, nothere.py]\n", "there is no file nothere.py"),
        ("name: command\ncommand: [no-such-program]\n", "there is no program 'no-such-program'"),
        ("name: python\nfunction: nobio:score\n", "there is no module nobio"),
        ("name: python\nfunction: json.nothere:score\n", "there is no module json.nothere"),
    ],
)
def test_what_an_oracle_lacks_is_said_when_it_is_drawn(tmp_path, monkeypatch, capsys, settings, said):
    """Not after a policy has been trained; and nothing of the user's is run for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text("raise SystemExit('imported')\n")
    spec = tmp_path / "o.yaml"
    spec.write_text(f"{settings}alphabet: dna\nlength: 4\n")
    assert main(["oracle", "--spec", str(spec), "--out", str(tmp_path / "o.json")]) == 2
    assert said in capsys.readouterr().err
    spec.write_text("name: python\nfunction: mine:score\nalphabet: dna\nlength: 4\n")
    assert main(["oracle", "--spec", str(spec), "--out", str(tmp_path / "o.json")]) == 0
