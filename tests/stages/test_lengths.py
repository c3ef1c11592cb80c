"""Stages on a problem whose lengths differ, from tables made by hand: base -> train -> refine -> filter, drawn and evolved."""

from __future__ import annotations

import json

import numpy as np
import pytest
from lengths import draw_sequences, edit_distance, plain
from training_fixtures import text_policy_path  # noqa: F401

from llome.cli import main
from llome.distances import edit_distances, sequence_lengths
from llome.domain import Domain
from llome.limits import keeps_limits
from llome.policy.causal_lm import load_card
from llome.tables import Labeled, Meta, Proposals, Selected, row_keys

DIFFERING = Domain(6, 9, "a" * 16, shortest=5)
LIMITED = Domain(6, 9, "b" * 16, shortest=5, max_edits=1)
PROTECTED = Domain(6, 9, "c" * 16, protected=(0, 1, 2, 3, 5, 6, 7, 8))
TARGET = np.array([[0, 1, 2, 3, 4, 5, 0, -1, -1]])


def make_table(path, domain):
    """Sequences near four roots, the better the nearer they are to another; a few of them infeasible."""
    roots = draw_sequences(4, domain)
    everything = [plain(roots[i % 4]) for i in range(160)]
    rng = np.random.default_rng(0)
    rows = set()
    for row in everything:
        for _ in range(rng.integers(1, 3)):
            place = rng.integers(len(row))
            if domain.protected:
                row[4] = int(rng.integers(6))
            elif rng.random() < 0.3 and len(row) > domain.least:
                del row[place]
            elif rng.random() < 0.5 and len(row) < domain.length:
                row.insert(place, int(rng.integers(6)))
            else:
                row[place] = int(rng.integers(6))
        rows.add(tuple(row))
    rows = sorted(rows)
    sequence = np.array([[*row, *[-1] * (domain.length - len(row))] for row in rows], np.int16)
    score = 1 - edit_distances(sequence, np.repeat(TARGET, len(rows), axis=0)) / 9
    score[::17] = -np.inf
    Labeled(
        meta=Meta(domain, spent=len(rows)), sequence=sequence, score=score, query=np.arange(len(rows)),
        round=np.zeros(len(rows), np.int32), origin=np.array(["ga"] * len(rows), dtype=object),
    ).write(path)  # fmt: skip


@pytest.fixture(scope="module", params=[DIFFERING, LIMITED, PROTECTED], ids=["differing", "max_edits", "protected"])
def run(request, tmp_path_factory):
    """The folder after every stage, and the problem."""
    folder, domain = tmp_path_factory.mktemp("run"), request.param
    make_table(folder / "labeled.parquet", domain)
    size = ["--hidden_size=16", "--num_layers=1", "--num_heads=2", "--warmup_steps=60", "--warmup_batch_size=32"]
    size += ["--warmup_edit_rate=0.1", "--device=cpu"]
    assert main(["base", f"--labeled={folder}/labeled.parquet", f"--out={folder}/base", *size]) == 0
    trained = [
        "train",
        "fit",
        f"--config={request.config.rootpath}/configs/train/sft_tiny.yaml",
        f"--parent={folder}/base",
        f"--out={folder}/model",
    ]
    assert main([*trained, f"--labeled={folder}/labeled.parquet", "--data.max_distance=1.0"]) == 0
    for name, options in (("proposals", []), ("one", ["--max_batch_tokens=40"])):
        refined = [
            "refine",
            f"--model={folder}/model",
            f"--labeled=[{folder}/labeled.parquet]",
            f"--out={folder}/{name}.parquet",
        ]
        refined += ["--num_seeds=12", "--iterations=2", "--num_samples=4", "--temperatures=[1.0,1.6]", "--device=cpu"]
        assert main([*refined, "--precision=fp64", "--grammar=true", *options]) == 0
    return folder, domain


def test_what_is_written_is_of_the_problem(run):
    folder, domain = run
    table = Proposals.read(folder / "proposals.parquet")
    assert table.parsed.all()
    assert len(table) == 12 * 9 * 2
    lengths = sequence_lengths(table.sequence)
    assert ((lengths >= domain.least) & (lengths <= 9)).all()
    if not domain.fixed_length:
        assert len(set(lengths.tolist())) > 2
        assert (lengths != sequence_lengths(table.source)).any()
    assert keeps_limits(table.sequence, table.source, domain).all()
    facts = load_card(folder / "model").facts
    assert facts
    same = Proposals.read(folder / "one.parquet")
    np.testing.assert_array_equal(same.sequence, table.sequence)


def test_shards_make_the_same_proposals(run):
    folder, domain = run
    refined = ["refine", f"--model={folder}/model", f"--labeled=[{folder}/labeled.parquet]", "--device=cpu"]
    refined += ["--num_seeds=12", "--iterations=2", "--num_samples=4", "--temperatures=[1.0,1.6]", "--precision=fp64"]
    for part in (1, 2):
        shard = [f"--shard={part}/2", f"--out={folder}/part{part}.parquet"]
        assert main([*refined, *shard, *([] if domain.limited else ["--grammar=true"])]) == 0  # limits bring the mask
    assert (
        main(["gather", f"--parts=[{folder}/part1.parquet,{folder}/part2.parquet]", f"--out={folder}/whole.parquet"])
        == 0
    )
    whole, expected = Proposals.read(folder / "whole.parquet"), Proposals.read(folder / "proposals.parquet")
    np.testing.assert_array_equal(whole.sequence, expected.sequence)
    assert whole.meta.settings == expected.meta.settings


def selected_of(folder, *options):
    files = [f"--proposals={folder}/proposals.parquet", f"--labeled=[{folder}/labeled.parquet]"]
    assert (
        main(["filter", *files, f"--out={folder}/selected.parquet", "--k=20", "--likelihood_quantile=0", *options]) == 0
    )
    return Selected.read(folder / "selected.parquet")


def test_candidates_are_new_and_keep_the_limits(run, capsys):
    folder, domain = run
    found = selected_of(folder)
    known = row_keys(Labeled.read(folder / "labeled.parquet").sequence)
    assert not np.isin(row_keys(found.sequence), known).any()
    assert keeps_limits(found.sequence, found.source, domain).all()
    assert found.meta.facts.get("beyond_limits") == (0 if domain.limited else None)
    assert (", 0 beyond the limits, " in capsys.readouterr().out) == domain.limited


def test_what_evolves_keeps_the_limits_of_the_labelled_ancestor(run):
    folder, domain = run
    fitted = [
        "surrogate",
        f"--labeled=[{folder}/labeled.parquet]",
        f"--out={folder}/surrogate",
        "--members=2",
        "--filters=16",
    ]
    assert main([*fitted, "--first_steps=60"]) == 0
    evolve = json.dumps({"generations": 3, "restarts": 1, "restart_generations": 3, "population": 300, "drift": 4})
    found = selected_of(folder, f"--surrogate={folder}/surrogate", f"--evolve={evolve}")
    table = Labeled.read(folder / "labeled.parquet")
    assert len(found) == (20 if not domain.protected else len(found))
    assert np.isin(row_keys(found.source), row_keys(table.sequence)).all()
    assert keeps_limits(found.sequence, found.source, domain).all()
    if domain.max_edits:
        for row, source in zip(found.sequence, found.source, strict=True):
            assert edit_distance(plain(row), plain(source)) <= 1


def test_rows_that_break_a_limit_are_dropped_and_counted(run, capsys):
    folder, domain = run
    table = Proposals.read(folder / "proposals.parquet")
    changed = table.sequence.copy()
    changed[:50] = (table.source[:50] + 1) % 6  # everything
    changed[table.source < 0] = -1
    Proposals(**vars(table) | {"sequence": changed}).write(folder / "broken.parquet")
    files = [f"--proposals={folder}/broken.parquet", f"--labeled=[{folder}/labeled.parquet]"]
    assert main(["filter", *files, f"--out={folder}/fewer.parquet", "--k=20"]) == 0
    expected = int((~keeps_limits(changed, table.source, domain)).sum())
    assert (expected >= 50) == domain.limited
    said = f"216 parsed, {expected} beyond the limits, " if domain.limited else "216 parsed, "
    assert said in capsys.readouterr().out
    facts = Selected.read(folder / "fewer.parquet").meta.facts
    assert facts.get("beyond_limits") == (expected if domain.limited else None)


def test_a_pretrained_text_policy_keeps_the_limits(tmp_path, text_policy_path):  # noqa: F811
    make_table(tmp_path / "labeled.parquet", LIMITED)
    table, base = tmp_path / "labeled.parquet", tmp_path / "base"
    assert main(["base", f"--labeled={table}", f"--out={base}", f"--pretrained={text_policy_path}"]) == 0
    few = ["--num_seeds=4", "--iterations=2", "--num_samples=3", "--temperatures=[1.0,3.0]", "--precision=fp64"]
    assert main(["refine", f"--model={base}", f"--labeled=[{table}]", f"--out={tmp_path}/p.parquet", *few]) == 0
    found = Proposals.read(tmp_path / "p.parquet")
    assert found.parsed.all()
    assert keeps_limits(found.sequence, found.source, LIMITED).all()


def test_a_round_is_summed_up_by_its_edit_distance(run, capsys):
    """Labels by hand, then what the round's tables come to."""
    folder, domain = run
    (folder / "oracle.json").write_text(json.dumps({"fingerprint": domain.fingerprint, "optimum": None}))
    seed, chosen = Labeled.read(folder / "labeled.parquet"), selected_of(folder)
    Labeled(
        meta=Meta(domain, spent=seed.meta.spent + len(chosen)), sequence=chosen.sequence, score=np.ones(len(chosen)),
        query=seed.meta.spent + np.arange(len(chosen)), round=np.ones(len(chosen), np.int32),
        origin=np.array(["sft1"] * len(chosen), dtype=object),
    ).write(folder / "labeled1.parquet")  # fmt: skip
    files = [f"--oracle={folder}/oracle.json", f"--proposals={folder}/proposals.parquet", f"--model={folder}/model"]
    files += [
        f"--labeled=[{folder}/labeled.parquet,{folder}/labeled1.parquet]",
        f"--selected={folder}/selected.parquet",
    ]
    assert main(["summarize", "--history=sft1", *files, f"--out={folder}/summary.json"]) == 0
    summary, table = json.loads((folder / "summary.json").read_text()), Proposals.read(folder / "proposals.parquet")
    pairs = [(plain(a), plain(b)) for a, b in zip(table.sequence, table.source, strict=True)]
    expected = np.mean([edit_distance(a, b) / max(len(a), len(b)) for a, b in pairs])
    if domain.fixed_length:
        assert "mean_edit_distance" not in summary
        assert summary["mean_hamming"] == pytest.approx((table.sequence != table.source).mean())
    else:
        assert "mean_hamming" not in summary
        assert summary["mean_edit_distance"] == pytest.approx(expected)
    assert (summary["novel"], summary["selected"]) == (count_novel(table, seed), len(chosen))
    refined = [
        "refine",
        f"--model={folder}/model",
        f"--labeled=[{folder}/labeled.parquet]",
        "--device=cpu",
        "--num_seeds=1",
    ]
    refined += ["--iterations=1", "--num_samples=1", "--temperatures=[1.0]", f"--out={folder}/next.parquet"]
    for distance, temperature in ((0.08, 1.4), (0.5, 1.0)):
        key = "mean_hamming" if domain.fixed_length else "mean_edit_distance"
        (folder / "last.json").write_text(json.dumps(summary | {key: distance}))
        assert main([*refined, f"--summary={folder}/last.json"]) == 0
        assert Proposals.read(folder / "next.parquet").meta.settings["temperatures"] == [temperature]


def count_novel(table, seed):
    return len(set(row_keys(table.sequence).tolist()) - set(row_keys(seed.sequence).tolist()))
