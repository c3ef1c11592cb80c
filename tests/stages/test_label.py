"""`llome label`: money in, labels out; every refusal before anything is spent."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.scoring import Ehrlich, load_oracle
from llome.tables import Labeled, Meta, Selected

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "configs" / "oracles" / "tiny.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An oracle, a seed table of 80 calls, and 30 selected sequences."""
    folder = tmp_path_factory.mktemp("made")
    config = ROOT / "configs" / "seed" / "tiny.yaml"
    assert main(["oracle", "--spec", str(SPEC), "--out", str(folder / "oracle.json")]) == 0
    args = ["--oracle", str(folder / "oracle.json"), "--out", str(folder / "seed"), "--random_seed", "0"]
    assert main(["seed", "--config", str(config), *args, "--rounds", "2"]) == 0
    select(folder, folder / "selected.parquet", 30)
    return folder


def select(folder: Path, path: Path, count: int, fingerprint: str | None = None) -> None:
    seed = Labeled.read(folder / "seed" / "labeled.parquet")
    source = seed.sequence[seed.score.argmax()]
    rng = np.random.default_rng(0)
    rows = np.unique(np.where(rng.random((400, 12)) < 0.2, rng.integers(8, size=(400, 12)), source), axis=0)
    rows = rng.permutation(rows)[:count].astype(np.int16)
    assert len(rows) == count
    domain = Domain(8, 12, fingerprint or seed.meta.domain.fingerprint)
    sources = np.repeat(source[None], count, axis=0)
    Selected(meta=Meta(domain), sequence=rows, source=sources, logp_mean=np.zeros(count)).write(path)


def arguments(made: Path, out: Path, **changed) -> list[str]:
    options = {
        "oracle": made / "oracle.json",
        "selected": made / "selected.parquet",
        "parent": made / "seed" / "labeled.parquet",
        "out": out,
        "history": "sft1",
    } | changed
    return ["label", *(str(word) for name, value in options.items() for word in (f"--{name}", value))]


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


def test_labels(made, tmp_path, asked):
    out = tmp_path / "sft1-marge2" / "labeled.parquet"
    assert main(arguments(made, out, history="sft1-marge2", budget=110)) == 0
    assert asked == list(range(80, 110))
    table, selected = Labeled.read(out), Selected.read(made / "selected.parquet")
    black_box = load_oracle(made / "oracle.json")
    np.testing.assert_array_equal(table.sequence, selected.sequence)
    np.testing.assert_array_equal(table.score, black_box.score(selected.sequence))
    assert (table.score > 0).any()
    assert (table.score == -np.inf).any()
    assert table.query.tolist() == list(range(80, 110))
    assert set(table.round) == {3}
    assert set(table.origin) == {"sft1-marge2"}
    assert table.meta.spent == 110
    assert table.meta.settings == {"history": "sft1-marge2"}
    assert set(table.meta.inputs) == {"oracle", "selected", "parent"}
    assert sorted(p.name for p in out.parent.iterdir()) == [".lock", "labeled.parquet", "made_by"]
    chained = tmp_path / "next.parquet"
    assert main(arguments(made, chained, parent=out, history="sft1-marge3")) == 0
    assert Labeled.read(chained).meta.spent == 140


def test_nothing_selected_costs_nothing(made, tmp_path, asked):
    select(made, tmp_path / "empty.parquet", 0)
    out = tmp_path / "sft1" / "labeled.parquet"
    assert main(arguments(made, out, selected=tmp_path / "empty.parquet", budget=80)) == 0
    assert asked == []
    assert (len(Labeled.read(out)), Labeled.read(out).meta.spent) == (0, 80)
    assert sorted(p.name for p in out.parent.iterdir()) == [".lock", "labeled.parquet", "made_by"]


def test_again_gives_the_same_bytes(made, tmp_path):
    assert main(arguments(made, tmp_path / "a.parquet")) == 0
    first = (tmp_path / "a.parquet").read_bytes()
    assert main(arguments(made, tmp_path / "a.parquet", batch_size=4, budget=5000)) == 0
    assert (tmp_path / "a.parquet").read_bytes() == first


def refused(capsys, out: Path, asked: list[int], *words: str) -> None:
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1, lines
    for word in words:
        assert word in lines[0]
    assert not asked
    assert not out.parent.exists()


def test_refusals(made, tmp_path, asked, capsys):
    out = tmp_path / "round" / "labeled.parquet"

    def fails(*words: str, **changed) -> None:
        assert main(arguments(made, out, **changed)) == 2
        refused(capsys, out, asked, *words)

    fails("80 of 109", "30 more", "raise the budget to 110", budget=109)
    fails("history 'sft'", history="sft")
    fails("batch_size is 0", batch_size=0)
    select(made, tmp_path / "foreign.parquet", 3, fingerprint="0123456789abcdef")
    fails("foreign.parquet", "0123456789abcdef", "one oracle", selected=tmp_path / "foreign.parquet")
    (tmp_path / "cut.parquet").write_bytes((made / "selected.parquet").read_bytes()[:-30])
    fails("cut.parquet is corrupt or truncated", selected=tmp_path / "cut.parquet")
    fails("is not a selected table", selected=made / "seed" / "labeled.parquet")
    fails("does not exist", parent=tmp_path / "none.parquet")
    other = tmp_path / "other.yaml"
    other.write_text(SPEC.read_text().replace("random_seed: 0", "random_seed: 1"))
    assert main(["oracle", "--spec", str(other), "--out", str(tmp_path / "other.json")]) == 0
    fails("other.json", "selected.parquet", "one oracle", oracle=tmp_path / "other.json")


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


def test_killed_and_started_again(made, tmp_path, asked):
    whole, out = tmp_path / "whole" / "labeled.parquet", tmp_path / "round" / "labeled.parquet"
    assert main(arguments(made, whole)) == 0
    killed = arguments(made, out, batch_size=4)
    died = subprocess.run([sys.executable, "-c", KILLED, "96", *killed], check=False, cwd=ROOT)
    assert died.returncode == -9
    assert not out.exists()
    asked.clear()
    assert main(arguments(made, out)) == 0
    assert asked == list(range(96, 110))
    assert out.read_bytes() == whole.read_bytes()
    assert sorted(p.name for p in out.parent.iterdir()) == [".lock", "labeled.parquet", "made_by"]


def test_an_answer_that_is_no_number_leaves_nothing_but_the_journal(made, tmp_path, monkeypatch, capsys):
    score = Ehrlich.__call__

    def broken(self, sequences, *, query=0):
        return np.where(np.arange(query, query + len(sequences)) == 101, np.nan, score(self, sequences, query=query))

    out = tmp_path / "round" / "labeled.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(Ehrlich, "__call__", broken)
        assert main(arguments(made, out, batch_size=10)) == 2
    assert "query 101 with nan" in capsys.readouterr().err
    assert not out.exists()
    assert main(arguments(made, out)) == 0
    assert Labeled.read(out).meta.spent == 110
