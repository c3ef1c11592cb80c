"""Stage `filter` on hand-made tables: what is dropped, what is kept, what is refused."""

import re

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.tables import Labeled, Meta, Proposals, Selected

DOMAIN = Domain(6, 4, "a" * 16)


def write_proposals(path, sequences, logp, *, parsed=None, domain=DOMAIN):
    n = len(sequences)
    parsed = np.ones(n, bool) if parsed is None else parsed
    sequences = np.where(parsed[:, None], sequences, -1).astype(np.int16)
    Proposals(
        meta=Meta(domain, spent=100),
        sequence=sequences,
        source=np.zeros((n, 4), np.int16),
        trajectory=np.arange(n, dtype=np.int32),
        step=np.zeros(n, np.int32),
        temperature=np.ones(n, np.float32),
        logp_mean=np.asarray(logp, dtype=np.float64),
        logp_sum=np.asarray(logp) * 5.0,
        parsed=parsed,
    ).write(path)


def write_labeled(path, sequences, *, domain=DOMAIN):
    n = len(sequences)
    Labeled(
        meta=Meta(domain, spent=100),
        sequence=np.asarray(sequences, dtype=np.int16),
        score=np.zeros(n),
        query=np.arange(n),
        round=np.ones(n, np.int32),
        origin=np.array(["ga"] * n, dtype=object),
    ).write(path)


@pytest.fixture
def sequences():
    """625 distinct sequences."""
    return np.stack(np.unravel_index(np.arange(625), (5, 5, 5, 5)), axis=1).astype(np.int16)


def run(tmp_path, *options):
    paths = [f"--labeled={p}" for p in ["[" + ",".join(str(q) for q in sorted(tmp_path.glob("labeled*"))) + "]"]]
    return main(["filter", f"--proposals={tmp_path}/p.parquet", *paths, f"--out={tmp_path}/s.parquet", *options])


def test_the_likeliest_distinct_unlabelled_ones_are_drawn_from(tmp_path, sequences, capsys):
    logp = -np.arange(1.0, 626.0)
    doubled = np.concatenate([sequences, sequences[:300]])  # the second copies are less likely
    write_proposals(tmp_path / "p.parquet", doubled, np.concatenate([logp, np.full(300, -1e4)]))
    write_labeled(tmp_path / "labeled1", sequences[:20])
    write_labeled(tmp_path / "labeled2", sequences[20:25])
    assert run(tmp_path, "--k=100", "--likelihood_quantile=0.6") == 0
    selected = Selected.read(tmp_path / "s.parquet")
    assert len(selected) == 100
    rows = np.ravel_multi_index(tuple(selected.sequence.T), (5, 5, 5, 5))
    assert rows.min() >= 25
    assert rows.max() < 25 + 240  # the top 40 % of 600
    np.testing.assert_array_equal(selected.logp_mean, logp[rows])
    assert selected.meta.facts == {"unique": 625, "novel": 600, "candidates": 240, "threshold": pytest.approx(-265.6)}
    assert selected.meta.spent == 100
    assert 80 < np.mean(rows - 25) < 160  # drawn evenly, not the likeliest first
    assert "100 selected" in capsys.readouterr().out


def test_the_same_seed_draws_the_same_and_another_another(tmp_path, sequences):
    write_proposals(tmp_path / "p.parquet", sequences, -np.ones(625))
    write_labeled(tmp_path / "labeled1", sequences[:1])
    files = []
    for seed in (1, 1, 2):
        assert run(tmp_path, "--k=50", f"--random_seed={seed}") == 0
        files.append((tmp_path / "s.parquet").read_bytes())
    assert files[0] == files[1] != files[2]


def test_fewer_candidates_than_k_go_on_and_say_so(tmp_path, sequences, capsys):
    write_proposals(tmp_path / "p.parquet", sequences[:10], -np.arange(1.0, 11.0))
    write_labeled(tmp_path / "labeled1", sequences[:5])
    assert run(tmp_path, "--k=100", "--likelihood_quantile=0") == 0
    assert len(Selected.read(tmp_path / "s.parquet")) == 5
    assert "5 candidates instead of k = 100" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("parsed", "labeled", "message"),
    [
        (False, 1, "0 parsed, 0 distinct.*the chain of rounds ends here.*grammar: true"),
        (True, 20, "20 distinct, 0 not yet labelled.*raise the temperatures"),
    ],
)
def test_no_candidate_is_an_empty_table_with_the_reason(tmp_path, sequences, capsys, parsed, labeled, message):
    write_proposals(tmp_path / "p.parquet", sequences[:20], -np.ones(20), parsed=np.full(20, parsed))
    write_labeled(tmp_path / "labeled1", sequences[:labeled])
    assert run(tmp_path) == 0
    selected = Selected.read(tmp_path / "s.parquet")
    assert (len(selected), selected.sequence.shape[1]) == (0, sequences.shape[1])
    assert selected.meta.facts["threshold"] is None
    assert re.search(message, capsys.readouterr().out, re.DOTALL)


def test_impossible_settings_and_another_oracle_are_refused(tmp_path, sequences, capsys):
    write_proposals(tmp_path / "p.parquet", sequences, -np.ones(625))
    write_labeled(tmp_path / "labeled1", sequences[:1], domain=Domain(6, 4, "b" * 16))
    for option, word in (
        ("--k=0", "k is 0"),
        ("--likelihood_quantile=1", "likelihood_quantile is 1"),
        ("--k=5", "b" * 16),
    ):
        assert run(tmp_path, option) == 2
        assert word in capsys.readouterr().err
    assert not (tmp_path / "s.parquet").exists()
