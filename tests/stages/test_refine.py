"""Stage `refine` through the command line: its table, resume after a kill, shared problems, refusals."""

import json

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.policy.causal_lm import PolicyCard, build_small_policy, save_policy
from llome.policy.sampling import Sampler
from llome.tables import Labeled, Meta, Proposals

DOMAIN = Domain(6, 5, "a" * 16)


def write_labeled(path, *, domain=DOMAIN, n=40):
    rng = np.random.default_rng(0)
    sequence = np.stack(np.unravel_index(rng.permutation(6**5)[:n], (6,) * 5), axis=1).astype(np.int16)
    score = np.where(np.arange(n) % 4 == 0, -np.inf, (np.arange(n) % 7) / 7)
    meta = Meta(domain, spent=n)
    origin = np.array(["ga"] * n, dtype=object)
    table = Labeled(meta, sequence, score, np.arange(n), np.ones(n, np.int32), origin)
    table.write(path)
    return table


@pytest.fixture
def folder(tmp_path):
    model, tokenizer = build_small_policy(6, 5, hidden_size=16, num_layers=1, num_heads=2, random_seed=0)
    save_policy(tmp_path / "model", model, tokenizer, PolicyCard("base", DOMAIN))
    write_labeled(tmp_path / "labeled.parquet")
    return tmp_path


def run(folder, *options, out="p.parquet"):
    common = ["--num_seeds=3", "--iterations=2", "--num_samples=2", "--temperatures=[0.7,1.1]", "--device=cpu"]
    files = [f"--model={folder}/model", f"--labeled=[{folder}/labeled.parquet]", f"--out={folder}/{out}"]
    return main(["refine", *files, *common, *options])


def test_the_best_distinct_sequences_are_edited(folder):
    assert run(folder, "--grammar=true") == 0
    table, labeled = Proposals.read(folder / "p.parquet"), Labeled.read(folder / "labeled.parquet")
    assert len(table) == 3 * (1 + 2 * 2) * 2
    assert table.parsed.all()
    best = labeled.sequence[np.lexsort((labeled.query, -labeled.score))[:3]]
    first = table.take(table.step == 0)
    assert {tuple(s) for s in first.source.tolist()} == {tuple(s) for s in best.tolist()}
    np.testing.assert_allclose(table.logp_mean, table.logp_sum / 6)  # five elements and the end
    assert table.meta.settings["temperatures"] == [0.7, 1.1]
    assert (table.meta.spent, table.meta.domain) == (40, DOMAIN)
    assert not (folder / ".scratch").exists() or not list((folder / ".scratch").iterdir())


def test_the_last_rounds_edits_set_the_temperatures(folder):
    (folder / "summary.json").write_text(json.dumps({"mean_hamming": 0.08}))
    assert run(folder, f"--summary={folder}/summary.json") == 0
    table = Proposals.read(folder / "p.parquet")
    assert table.meta.settings["temperatures"] == [1.1, 1.5]
    assert sorted(set(table.temperature.tolist())) == pytest.approx([0, 1.1, 1.5])


def test_reruns_batches_and_interruptions_give_the_same_bytes(folder, monkeypatch):
    assert run(folder, "--precision=fp64") == 0
    expected = (folder / "p.parquet").read_bytes()
    assert run(folder, "--precision=fp64", "--max_batch_tokens=1", out="q.parquet") == 0
    again = Proposals.read(folder / "q.parquet")
    np.testing.assert_array_equal(again.sequence, Proposals.read(folder / "p.parquet").sequence)
    sample, calls = Sampler.sample_groups, []

    def failing(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return sample(self, *args, **kwargs)

    (folder / "p.parquet").unlink()
    monkeypatch.setattr(Sampler, "sample_groups", failing)
    assert run(folder, "--precision=fp64") == 130
    assert not (folder / "p.parquet").exists()
    assert run(folder, "--precision=fp64") == 0
    assert len(calls) == 3  # the first iteration is not repeated
    assert (folder / "p.parquet").read_bytes() == expected


def test_refusals_name_the_value_and_write_nothing(folder, capsys):
    write_labeled(folder / "other.parquet", domain=Domain(6, 5, "b" * 16))
    for options, words in [
        (["--num_seeds=0"], "num_seeds is 0"),
        (["--temperatures=[0.0]"], "temperatures are [0.0]"),
        ([f"--labeled=[{folder}/other.parquet]"], "b" * 16),
        (["--device=nowhere"], "nowhere"),
        ([f"--model={folder}/missing"], "missing does not exist"),
        ([f"--labeled=[{folder}/missing.parquet]"], "missing.parquet does not exist"),
    ]:
        assert run(folder, *options) == 2
        err = capsys.readouterr().err
        assert words in err
        assert "Traceback" not in err
    (folder / "model" / "model.safetensors").unlink()
    assert run(folder) == 2
    assert "model.safetensors is missing" in capsys.readouterr().err
    assert not (folder / "p.parquet").exists()
