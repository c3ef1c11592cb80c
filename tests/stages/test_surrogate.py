"""Stages `surrogate` and `filter` with `evolve`: what they write, what they refuse, and that neither calls an oracle."""

import json
from dataclasses import replace

import numpy as np
import pytest
from surrogate_fixtures import DOMAIN, FIT, write_labeled

from llome.cli import main
from llome.domain import Domain
from llome.provenance import exclusive
from llome.surrogate.files import load_predictor, load_surrogate
from llome.tables import Labeled, Meta, Proposals, Selected, row_keys


def write_proposals(path, rows, domain=DOMAIN):
    n = len(rows)
    Proposals(
        meta=Meta(domain, spent=100),
        sequence=rows,
        source=np.zeros((n, 8), np.int16),
        trajectory=np.arange(n, dtype=np.int32),
        step=np.zeros(n, np.int32),
        temperature=np.ones(n, np.float32),
        logp_mean=-np.arange(1.0, n + 1),
        logp_sum=-np.arange(1.0, n + 1) * 8,
        parsed=np.ones(n, bool),
    ).write(path)


@pytest.fixture
def folder(tmp_path):
    write_labeled(tmp_path / "seed.parquet", 0)
    write_labeled(tmp_path / "sft1.parquet", 1)
    write_proposals(tmp_path / "p.parquet", np.random.default_rng(2).integers(0, 6, (80, 8)).astype(np.int16))
    return tmp_path


def fit(folder, out="surrogate", *options, labeled=("seed",)):
    tables = [str(folder / f"{name}.parquet") for name in labeled]
    return main(["surrogate", "--labeled", *tables, f"--out={folder / out}", *FIT, *options])


def choose(folder, *options):
    config = folder / "filter.yaml"
    config.write_text(
        "k: 40\nlikelihood_quantile: 0.0\n"
        "evolve: {generations: 3, restarts: 1, restart_generations: 3, population: 200, novelty: [1.0, 2.0]}\n"
    )
    tables = [str(folder / "seed.parquet"), str(folder / "sft1.parquet")]
    paths = [f"--proposals={folder}/p.parquet", "--labeled", *tables, f"--out={folder}/s.parquet"]
    return main(["filter", f"--config={config}", *paths, *options])


def test_one_goes_on_from_the_other(folder, capsys):
    assert fit(folder) == 0
    assert fit(folder, "next", f"--parent={folder}/surrogate", labeled=("seed", "sft1")) == 0
    _, first = load_surrogate(folder / "surrogate")
    _, second = load_surrogate(folder / "next")
    assert first.inputs["parent"] is None
    assert second.inputs["parent"] is not None
    assert "foresight" not in first.facts
    assert -1 <= second.facts["foresight"] <= 1
    feasible = sum(np.isfinite(Labeled.read(folder / f"{name}.parquet").score).sum() for name in ("seed", "sft1"))
    assert second.facts["rows"] == feasible
    assert "rank correlation" in capsys.readouterr().out


def test_the_same_files_give_the_same_bytes(folder):
    assert fit(folder) == 0
    assert fit(folder, "again") == 0
    for name in ("surrogate.json", "model.safetensors"):
        assert (folder / "surrogate" / name).read_bytes() == (folder / "again" / name).read_bytes()


def test_filter_evolves_candidates_on_it(folder, capsys):
    assert fit(folder) == 0
    assert choose(folder, f"--surrogate={folder}/surrogate") == 0
    selected = Selected.read(folder / "s.parquet")
    assert len(selected) == 40
    facts = selected.meta.facts
    assert (facts["guided"], facts["explored"]) == (32, 8)
    past = [Labeled.read(folder / f"{name}.parquet") for name in ("seed", "sft1")]
    known = np.concatenate([table.sequence for table in past])
    assert not np.isin(row_keys(selected.sequence), row_keys(known)).any()
    proposals = Proposals.read(folder / "p.parquet")
    written = np.isin(row_keys(selected.sequence), row_keys(proposals.sequence))
    assert np.array_equal(np.isfinite(selected.logp_mean), written)
    assert selected.meta.settings["evolve"]["restart_generations"] == 3
    assert "surrogate" in selected.meta.inputs
    assert "32 evolved" in capsys.readouterr().out
    first = (folder / "s.parquet").read_bytes()
    assert choose(folder, f"--surrogate={folder}/surrogate") == 0
    assert (folder / "s.parquet").read_bytes() == first


def test_it_learns_what_scores_higher(folder):
    """The score is the share of twos; guided candidates have more of them than any label has."""
    assert fit(folder, "surrogate", "--first_steps=300", labeled=("seed", "sft1")) == 0
    assert choose(folder, f"--surrogate={folder}/surrogate") == 0
    selected = Selected.read(folder / "s.parquet")
    best = max(Labeled.read(folder / f"{name}.parquet").score.max() for name in ("seed", "sft1"))
    assert (selected.sequence == 2).mean(axis=1).max() > best


def test_one_without_the_other_is_refused(folder, capsys):
    assert fit(folder) == 0
    assert choose(folder) == 2
    assert "evolve needs a surrogate to search" in capsys.readouterr().err
    assert choose(folder, "--evolve=null", f"--surrogate={folder}/surrogate") == 2
    assert "give both" in capsys.readouterr().err
    assert not (folder / "s.parquet").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--members=0",), "members is 0; it must be at least 1"),
        (("--learning_rate=0",), "learning_rate is 0"),
        (("--learning_rate=1e30",), "at learning_rate 1e+30; lower it"),
        (("--members=3", "--parent={folder}/surrogate"), "has 2 members of 8 filters, not 3 of 8"),
        (("--parent={folder}/nothing",), "surrogate.json does not exist"),
    ],
)
def test_refusals(folder, capsys, options, message):
    assert fit(folder) == 0
    options = [option.format(folder=folder) for option in options]
    assert fit(folder, "bad", *options) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "bad").exists()


def test_labels_of_another_oracle_and_none_feasible_are_refused(folder, capsys):
    assert fit(folder) == 0
    write_labeled(folder / "other.parquet", 3, domain=Domain(6, 8, "b" * 16))
    assert fit(folder, "bad", f"--parent={folder}/surrogate", labeled=("other",)) == 2
    assert "use files of one oracle" in capsys.readouterr().err
    write_labeled(folder / "none.parquet", 3, infeasible=True)
    assert fit(folder, "bad", labeled=("none",)) == 2
    assert "no feasible sequence" in capsys.readouterr().err


def test_a_card_names_what_it_was_fitted_to(folder):
    assert fit(folder) == 0
    card = json.loads((folder / "surrogate" / "surrogate.json").read_text())
    assert card["domain"]["fingerprint"] == DOMAIN.fingerprint
    assert card["target"]["logarithmic"] is True
    assert card["settings"]["first_steps"] == 30


def test_it_is_fitted_while_the_policy_of_its_round_is_trained(folder, capsys):
    """As two jobs of a workflow with cores to spare; two fits of one surrogate are refused."""
    with exclusive(folder):
        assert fit(folder) == 0
    with exclusive(folder, ".surrogate.lock"):
        assert fit(folder) == 2
    assert "another process is working in" in capsys.readouterr().err


def test_feasibility_and_clusters_held_out_are_learnt_and_kept(folder, capsys):
    options = ("--feasibility=true", "--held_out=0.3", "--first_steps=60")
    assert fit(folder, "two", *options, labeled=("seed", "sft1")) == 0
    predictor, card = load_predictor(folder / "two")
    assert card.outputs == 2
    assert card.facts["held_out"] > 0
    assert predictor.calibration.rest > 0 or predictor.calibration.stretch > 0
    table = Labeled.read(folder / "sft1.parquet")
    found = predictor.predict(table.sequence)
    assert (found.feasible > 0).all()
    assert (found.feasible < 1).all()
    assert np.isfinite(found.worth).all()
    assert fit(folder, "next", f"--parent={folder}/two", labeled=("seed",)) == 2
    assert "was fitted with feasibility: true, not false" in capsys.readouterr().err
    assert fit(folder, "again", *options, labeled=("seed", "sft1")) == 0
    weights = [(folder / name / "model.safetensors").read_bytes() for name in ("two", "again")]
    assert weights[0] == weights[1]


def test_ranked_candidates_are_those_worth_most_and_some_of_the_rest(folder, capsys):
    assert fit(folder, "surrogate", "--first_steps=300", "--feasibility=true", labeled=("seed", "sft1")) == 0
    ranked = ("--evolve=null", f"--surrogate={folder}/surrogate", "--k=20", "--chance=0.2")
    assert choose(folder, *ranked, "--rank=surrogate") == 0
    selected = Selected.read(folder / "s.parquet")
    assert selected.meta.facts["ranked"] == 16
    assert selected.meta.facts["drawn"] == 4
    assert selected.meta.settings["rank"] == "surrogate"
    predictor, _ = load_predictor(folder / "surrogate")
    proposals = Proposals.read(folder / "p.parquet").sequence
    worth = np.sort(predictor.predict(np.unique(proposals, axis=0)).worth)
    assert (predictor.predict(selected.sequence).worth >= worth[-16]).sum() >= 16
    assert choose(folder, *ranked, "--rank=leon", "--leon={known: 20, fit: {hidden: 8, steps: 5}}") == 0
    facts = Selected.read(folder / "s.parquet").meta.facts
    assert {"lambda", "distance", "mu", "classes"} <= facts.keys()
    assert facts["lambda"] >= 0
    again = (folder / "s.parquet").read_bytes()
    assert choose(folder, *ranked, "--rank=leon", "--leon={known: 20, fit: {hidden: 8, steps: 5}}") == 0
    assert (folder / "s.parquet").read_bytes() == again


def test_labels_of_one_score_leave_the_choice_to_chance(folder, capsys):
    for name in ("seed", "sft1"):
        table = Labeled.read(folder / f"{name}.parquet")
        replace(table, score=np.full(len(table), 0.5)).write(folder / f"{name}.parquet")
    assert fit(folder, "surrogate", labeled=("seed", "sft1")) == 0
    capsys.readouterr()
    assert choose(folder, "--evolve=null", f"--surrogate={folder}/surrogate", "--k=20", "--rank=leon") == 0
    assert "feasible labels have the score 0.5, so proposals are drawn" in capsys.readouterr().out
    selected = Selected.read(folder / "s.parquet")
    assert len(selected) == 20
    assert selected.meta.facts["ranked"] == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--rank=surrogate",), "evolve and rank: surrogate both say"),
        (("--evolve=null", "--rank=leon"), "evolve needs a surrogate to search, and so does a rank"),
        (("--evolve=null", "--surrogate={folder}/surrogate", "--rank=leon", "--chance=2"), "chance is 2"),
        (("--evolve=null", "--surrogate={folder}/surrogate", "--rank=leon", "--min_distance=0"), "min_distance is 0"),
    ],
)
def test_impossible_rankings_are_refused(folder, capsys, options, message):
    assert fit(folder) == 0
    assert choose(folder, *(option.format(folder=folder) for option in options)) == 2
    assert message in capsys.readouterr().err
    assert not (folder / "s.parquet").exists()
