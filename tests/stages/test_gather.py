"""Refinement and labelling in parts: joined, they are what one job writes, sums of float64 in another order apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.policy.causal_lm import PolicyCard, build_small_policy, save_policy
from llome.scoring import Ehrlich
from llome.scoring.oracle import save_oracle
from llome.tables import Labeled, Meta, Proposals, Selected

ORACLE = Ehrlich(num_states=6, dim=8, num_motifs=1, motif_length=3, noise_std=0.1, random_seed=1)
DOMAIN = Domain(6, 8, ORACLE.fingerprint)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_oracle(ORACLE, tmp_path / "oracle.json")
    model, tokenizer = build_small_policy(6, 8, hidden_size=16, num_layers=1, num_heads=2, random_seed=0)
    save_policy(tmp_path / "model", model, tokenizer, PolicyCard("base", DOMAIN))
    rows = np.random.default_rng(0).integers(6, size=(60, 8)).astype(np.int16)
    rows = np.unique(rows, axis=0)
    n = len(rows) - 17
    score = np.arange(n) / n
    origin = np.array(["ga"] * n, dtype=object)
    Labeled(Meta(DOMAIN, spent=n), rows[:n], score, np.arange(n), np.ones(n, np.int32), origin).write(
        tmp_path / "labeled.parquet"
    )
    Selected(Meta(DOMAIN), rows[n:], rows[n:], np.zeros(17)).write(tmp_path / "selected.parquet")
    return tmp_path


def refine(folder: Path, out: str, *options: str) -> int:
    small = ["--num_seeds=5", "--iterations=3", "--num_samples=2", "--temperatures=[0.7,1.1]", "--device=cpu"]
    files = [f"--model={folder}/model", f"--labeled=[{folder}/labeled.parquet]", f"--out={folder}/{out}"]
    return main(["refine", *files, *small, "--precision=fp64", "--random_seed=3", *options])


def label(folder: Path, out: str, *options: str) -> int:
    files = [f"--oracle={folder}/oracle.json", f"--selected={folder}/selected.parquet", f"--out={folder}/{out}"]
    return main(["label", *files, f"--parent={folder}/labeled.parquet", "--history=sft1", "--batch_size=4", *options])


def gather(folder: Path, out: str, *parts: str) -> int:
    return main(["gather", "--parts", *(f"{folder}/{part}" for part in parts), "--out", f"{folder}/{out}"])


@pytest.mark.parametrize("count", [1, 2, 3, 7])  # seven parts of five seeds: two have none
def test_labels_in_parts_joined_are_the_whole_to_the_byte(folder: Path, count: int) -> None:
    joined, whole = both_ways(folder, label, count)
    assert joined.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("grammar", ["true", "false"])
def test_edits_in_parts_joined_are_the_whole(folder: Path, count: int, grammar: str) -> None:
    joined, whole = map(Proposals.read, both_ways(folder, refine, count, f"--grammar={grammar}"))
    assert joined.meta == whole.meta
    for name, column in whole.columns.items():
        if name.startswith("logp"):  # the same sums, of which a smaller batch adds some in another order
            np.testing.assert_allclose(joined.columns[name], column, rtol=1e-13)
        else:
            np.testing.assert_array_equal(joined.columns[name], column, err_msg=name)


def both_ways(folder: Path, stage, count: int, *options: str) -> tuple[Path, Path]:
    """The table of `count` jobs and the table of one."""
    assert stage(folder, "whole.parquet", *options) == 0
    parts = [f"parts/{n}of{count}.parquet" for n in range(1, count + 1)]
    for n, part in enumerate(parts, start=1):
        assert stage(folder, part, f"--shard={n}/{count}", *options) == 0
    assert gather(folder, "joined.parquet", *parts[::-1]) == 0
    return folder / "joined.parquet", folder / "whole.parquet"


def test_every_part_asks_its_own_queries_and_all_together_ask_each_once(folder: Path, monkeypatch) -> None:
    asked: list[int] = []
    score = Ehrlich.__call__

    def counted(self, sequences, *, query=0):
        asked.extend(range(query, query + len(sequences)))
        return score(self, sequences, query=query)

    monkeypatch.setattr(Ehrlich, "__call__", counted)
    spent = Labeled.read(folder / "labeled.parquet").meta.spent
    for n in (2, 1):
        assert label(folder, f"{n}.parquet", f"--shard={n}/2", f"--budget={spent + 17}") == 0
    assert sorted(asked) == list(range(spent, spent + 17))
    assert gather(folder, "joined.parquet", "1.parquet", "2.parquet") == 0
    joined = Labeled.read(folder / "joined.parquet")
    assert joined.meta.spent == spent + 17
    assert joined.query.tolist() == sorted(asked)


def test_a_part_of_a_batch_that_the_budget_does_not_pay_for_asks_nothing(folder: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(Ehrlich, "__call__", lambda *args, **kwargs: pytest.fail("the oracle was called"))
    spent = Labeled.read(folder / "labeled.parquet").meta.spent
    assert label(folder, "1.parquet", "--shard=1/2", f"--budget={spent + 16}") == 2
    assert "17 more were asked for" in capsys.readouterr().err


def test_parts_work_side_by_side_and_one_part_twice_does_not(folder: Path, capsys) -> None:
    from llome.provenance import exclusive

    with exclusive(folder, ".1of2.lock"):
        assert label(folder, "2of2.parquet", "--shard=2/2") == 0
        assert label(folder, "1of2.parquet", "--shard=1/2") == 2
    assert "another process is working" in capsys.readouterr().err


def test_what_does_not_belong_together_is_not_joined(folder: Path, capsys) -> None:
    for n in (1, 2, 3):
        assert refine(folder, f"{n}.parquet", f"--shard={n}/3") == 0
    assert refine(folder, "other.parquet", "--shard=3/3", "--random_seed=4") == 0
    assert refine(folder, "half.parquet", "--shard=1/2") == 0
    assert refine(folder, "whole.parquet") == 0
    assert label(folder, "labels.parquet", "--shard=1/2") == 0
    Labeled.read(folder / "labels.parquet").take(np.arange(2)).write(folder / "twice.parquet")
    for parts, words in [
        (["1", "2"], "3/3 is missing"),
        (["1", "2", "2"], "are both part 2/3"),
        (["1", "2", "3", "half"], "of another number of parts"),
        (["1", "2", "other"], "different random_seed"),
        (["1", "2", "whole"], "is no part of a table but a whole one"),
        (["1", "2", "labels"], "is not a proposals table"),
        (["1", "2", "gone"], "gone.parquet does not exist"),
        (["selected"], "parts are made of proposals and of labels"),
    ]:
        assert gather(folder, "joined.parquet", *(f"{part}.parquet" for part in parts)) == 2, parts
        assert words in capsys.readouterr().err
        assert not (folder / "joined.parquet").exists()


@pytest.mark.parametrize("text", ["0/2", "3/2", "2", "1-2", "a/b", "1/0"])
def test_a_part_that_is_none_is_refused(folder: Path, text: str, capsys) -> None:
    assert refine(folder, "p.parquet", f"--shard={text}") == 2
    assert f"shard is '{text}'" in capsys.readouterr().err


def test_no_edit_is_made_twice_whatever_the_parts(folder: Path) -> None:
    for n in (1, 2):
        assert refine(folder, f"{n}.parquet", f"--shard={n}/2", "--precision=fp32") == 0
    first, second = (Proposals.read(folder / f"{n}.parquet") for n in (1, 2))
    assert len(first) + len(second) == 5 * (1 + 2 * 2) * 3
    assert not set(first.trajectory.tolist()) & set(second.trajectory.tolist())
