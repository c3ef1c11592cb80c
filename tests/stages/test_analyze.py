"""`llome analyze`: what was not labelled is scored on the side, what was labelled is not asked again, and no count of the loop moves."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from llome.cli import main
from llome.domain import Domain
from llome.reporting.analysis.scored import Scored
from llome.scoring import Ehrlich, load_oracle
from llome.tables import Labeled, Meta, Proposals, Selected, row_keys

ROOT = Path(__file__).resolve().parents[2]
SPEC = ROOT / "configs" / "oracles" / "tiny.yaml"


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """An oracle, a seed of 80 calls, and a round sft1 of 240 proposals, 30 of them labelled."""
    folder = tmp_path_factory.mktemp("made")
    seed, out = ROOT / "configs" / "seed" / "tiny.yaml", folder / "sft1"
    oracle, labeled = ["--oracle", str(folder / "oracle.json")], str(folder / "seed" / "labeled.parquet")
    assert main(["oracle", "--spec", str(SPEC), "--out", oracle[1]]) == 0
    assert main(["seed", "--config", str(seed), *oracle, "--out", str(folder / "seed"), "--rounds", "2"]) == 0
    propose(Labeled.read(labeled)).write(out / "proposals.parquet")
    selected = ["--selected", str(out / "selected.parquet")]
    proposals = ["--proposals", str(out / "proposals.parquet")]
    assert main(["filter", *proposals, "--labeled", labeled, "--out", selected[1], "--k", "30"]) == 0
    line = ["label", *oracle, *selected, "--parent", labeled, "--history", "sft1", "--out"]
    assert main([*line, str(out / "labeled.parquet")]) == 0
    return folder


def propose(seed: Labeled) -> Proposals:
    """Two iterations of 12 trajectories, 10 edits each; every tenth cannot be parsed, every fifth is a copy of its source."""
    rng = np.random.default_rng(0)
    inputs = seed.sequence[np.argsort(-seed.score, kind="stable")[:12]]
    parts = []
    for step in (0, 1):
        source = np.repeat(inputs, 10, axis=0)
        written = np.where(rng.random(source.shape) < 0.2, rng.integers(8, size=source.shape), source).astype(np.int16)
        written[::5] = source[::5]
        parsed = np.arange(120) % 10 != 9
        parts.append((source, np.where(parsed[:, None], written, -1).astype(np.int16), parsed, np.full(120, step)))
        inputs = written[1::10]
    source, written, parsed, steps = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    trajectory = np.tile(np.repeat(np.arange(12), 10), 2).astype(np.int32)
    logp = np.log(rng.random(240))
    temperature = np.ones(240, dtype=np.float32)
    step = steps.astype(np.int32)
    return Proposals(Meta(seed.meta.domain), written, source, trajectory, step, temperature, logp, 13 * logp, parsed)


def arguments(made: Path, out: Path, **changed) -> list[str]:
    labeled = changed.pop("labeled", [made / "seed" / "labeled.parquet", made / "sft1" / "labeled.parquet"])
    options = {
        "oracle": made / "oracle.json",
        "history": "sft1",
        "proposals": made / "sft1" / "proposals.parquet",
        "selected": made / "sft1" / "selected.parquet",
        "out": out,
    } | changed
    line = ["analyze", "--labeled", *map(str, labeled)]
    return line + [str(word) for name, value in options.items() for word in (f"--{name}", value)]


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


def unlabelled(made: Path) -> tuple[np.ndarray, np.ndarray]:
    """The distinct parsed proposals in the order of their keys, and which of them have no label."""
    proposals = Proposals.read(made / "sft1" / "proposals.parquet")
    distinct = np.unique(proposals.sequence[proposals.parsed], axis=0)
    known = [Labeled.read(made / name / "labeled.parquet").sequence for name in ("seed", "sft1")]
    return distinct, ~np.isin(row_keys(distinct), row_keys(np.concatenate(known)))


def test_scores_what_was_not_labelled_and_counts_it_apart(made, tmp_path, asked, capsys):
    before = {path: path.read_bytes() for path in made.rglob("*.parquet")}
    out = tmp_path / "analysis"
    assert main(arguments(made, out)) == 0
    distinct, new = unlabelled(made)
    assert 0 < new.sum() < len(distinct) - 30  # copies of seeds have labels as well
    assert asked == list(range(new.sum()))
    table = Scored.read(out / "scored.parquet")
    order = np.argsort(row_keys(table.sequence))
    np.testing.assert_array_equal(table.sequence[order], distinct)
    np.testing.assert_array_equal(table.score, load_oracle(made / "oracle.json").score(table.sequence))
    assert (table.meta.spent, table.meta.facts) == (new.sum(), {"origin": "analysis", "reused": len(new) - new.sum()})
    assert set(table.meta.inputs) == {"oracle", "proposals", "selected", "labeled"}
    assert table.meta.settings == {"history": "sft1"}
    facts = json.loads((out / "facts.json").read_text())
    assert (facts["history"], facts["round"], facts["optimum"]) == ("sft1", 1, 1.0)
    assert (facts["generated"], facts["parsed"], facts["distinct"]) == (240, 216, len(distinct))
    assert (facts["spent"], facts["fingerprint"]) == (new.sum(), table.meta.domain.fingerprint)
    assert facts["selection"]["count"] == 30
    assert facts["selection"]["best_oracle"] >= facts["selection"]["best_selected"]
    assert [entry["iteration"] for entry in facts["iterations"]] == [0, 1, 2]
    assert sum(facts["distance"]["count"]) == sum(facts["likelihood"]["count"]) == 216
    assert facts["distance"]["count"][0] >= 24 + 24
    assert sorted(p.name for p in out.iterdir()) == [".lock", "facts.json", "scored.parquet"]
    assert f"{len(distinct)} distinct proposals, " in capsys.readouterr().out
    # the loop's own files, and so its counted evaluations, are as they were
    assert {path: path.read_bytes() for path in made.rglob("*.parquet")} == before
    assert Labeled.read(made / "sft1" / "labeled.parquet").meta.spent == 110


def test_again_gives_the_same_bytes(made, tmp_path):
    for name, changes in (("a", {}), ("b", {"batch_size": 7, "budget": 5000})):
        assert main(arguments(made, tmp_path / name, **changes)) == 0
    for name in ("scored.parquet", "facts.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_budget_of_its_own(made, tmp_path, asked, capsys):
    need = int(unlabelled(made)[1].sum())
    assert main(arguments(made, tmp_path / "a", budget=need - 1)) == 2
    assert f"0 of {need - 1} oracle calls are spent and {need} more were asked for" in capsys.readouterr().err
    assert (asked, (tmp_path / "a").exists()) == ([], False)
    assert main(arguments(made, tmp_path / "a", budget=need)) == 0
    assert len(asked) == need


def test_nothing_left_to_score_costs_nothing(made, tmp_path, asked):
    proposals = Proposals.read(made / "sft1" / "proposals.parquet")
    chosen = Selected.read(made / "sft1" / "selected.parquet")
    known = [Labeled.read(made / name / "labeled.parquet").sequence for name in ("seed", "sft1")]
    keys = row_keys(np.concatenate(known))
    old = proposals.parsed & np.isin(row_keys(proposals.sequence), keys) & np.isin(row_keys(proposals.source), keys)
    proposals.take(old).write(tmp_path / "old.parquet")
    kept = np.isin(row_keys(chosen.sequence), row_keys(proposals.sequence[old]))
    chosen.take(kept).write(tmp_path / "chosen.parquet")
    labels = Labeled.read(made / "sft1" / "labeled.parquet")
    labels.take(np.isin(row_keys(labels.sequence), row_keys(chosen.sequence[kept]))).write(tmp_path / "labels.parquet")
    labeled = [made / "seed" / "labeled.parquet", tmp_path / "labels.parquet"]
    changes = {"proposals": tmp_path / "old.parquet", "selected": tmp_path / "chosen.parquet", "labeled": labeled}
    assert main(arguments(made, tmp_path / "analysis", budget=1, **changes)) == 0
    assert asked == []
    assert Scored.read(tmp_path / "analysis" / "scored.parquet").meta.spent == 0


def test_refusals(made, tmp_path, asked, capsys):
    out = tmp_path / "analysis"

    def fails(*words: str, **changed) -> None:
        assert main(arguments(made, out, **changed)) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        for word in words:
            assert word in line
        assert not asked
        assert not out.exists()

    seed, own = (made / name / "labeled.parquet" for name in ("seed", "sft1"))
    chosen = Selected.read(made / "sft1" / "selected.parquet")
    other = chosen.sequence.copy()
    other[7] = (other[7] + 1) % 8
    changed = Selected(chosen.meta, other, chosen.source, chosen.logp_mean)
    changed.write(tmp_path / "changed.parquet")
    words = [
        "changed.parquet has a candidate",
        str(other[7].tolist()),
        "proposals.parquet does not hold (1 such in all)",
    ]
    fails(*words, selected=tmp_path / "changed.parquet")
    chosen.take(np.arange(29)).write(tmp_path / "short.parquet")
    fails("has a label of", "short.parquet does not hold", selected=tmp_path / "short.parquet")
    fails("sft1 needs 2 labelled tables", labeled=[seed])
    fails("holds labels of 'ga' where those of 'sft1' belong", labeled=[own, seed])
    fails("history 'seed'", history="seed")
    fails("batch_size is 0", batch_size=0)
    domain = Domain(8, 12, "0123456789abcdef")
    Selected(Meta(domain), chosen.sequence, chosen.source, chosen.logp_mean).write(tmp_path / "foreign.parquet")
    fails("foreign.parquet", "0123456789abcdef", "one oracle", selected=tmp_path / "foreign.parquet")
    text = SPEC.read_text().replace("random_seed: 0", "random_seed: 1")
    (tmp_path / "other.yaml").write_text(text)
    assert main(["oracle", "--spec", str(tmp_path / "other.yaml"), "--out", str(tmp_path / "other.json")]) == 0
    capsys.readouterr()
    fails("other.json", "labeled.parquet", "one oracle", oracle=tmp_path / "other.json")


@pytest.mark.parametrize(
    ("stage", "options"),
    [
        ("base", ["--labeled", "{scored}"]),
        ("refine", ["--model", "none", "--labeled", "{seed}", "{scored}"]),
        ("filter", ["--proposals", "{round}/proposals.parquet", "--labeled", "{seed}", "{scored}"]),
        ("label", ["--oracle", "{oracle}", "--selected", "{round}/selected.parquet", "--parent", "{scored}", "--history", "sft2"]),
        ("label", ["--oracle", "{oracle}", "--selected", "{scored}", "--parent", "{seed}", "--history", "sft2"]),
        (
            "summarize",
            [
                *("--oracle", "{oracle}", "--proposals", "{round}/proposals.parquet", "--selected", "{round}/selected.parquet"),
                *("--labeled", "{seed}", "{scored}", "--history", "sft1", "--model", "none"),
            ],
        ),
        (
            "analyze",
            [
                *("--oracle", "{oracle}", "--proposals", "{round}/proposals.parquet", "--selected"),
                *("{round}/selected.parquet", "--labeled", "{seed}", "{scored}", "--history", "sft1"),
            ],
        ),
    ],
)  # fmt: skip
def test_no_stage_takes_the_scores_for_labels(made, tmp_path, capsys, stage, options):
    scored = tmp_path / "scored.parquet"
    seed = Labeled.read(made / "seed" / "labeled.parquet")
    Scored(seed.meta, seed.sequence, seed.score).write(scored)
    places = {"scored": scored, "seed": made / "seed" / "labeled.parquet"}
    places |= {"oracle": made / "oracle.json", "round": made / "sft1"}
    out = tmp_path / "next" / "out"
    assert main([stage, *(option.format(**places) for option in options), "--out", str(out)]) == 2
    said = capsys.readouterr().err
    assert f"{scored} is not a " in said
    assert "table (it is 'scored'); what an analysis scored never goes back into the loop" in said
    assert not out.exists()


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
    whole, out = tmp_path / "whole", tmp_path / "analysis"
    assert main(arguments(made, whole)) == 0
    count = len(asked)
    killed = arguments(made, out, batch_size=8)
    died = subprocess.run([sys.executable, "-c", KILLED, "24", *killed], check=False, cwd=ROOT)
    assert died.returncode == -9
    assert [p.name for p in out.iterdir() if p.name != ".lock"] == [".scored.journal"]
    asked.clear()
    assert main(arguments(made, out)) == 0
    assert asked == list(range(24, count))
    for name in ("scored.parquet", "facts.json"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert sorted(p.name for p in out.iterdir()) == [".lock", "facts.json", "scored.parquet"]


def test_a_surrogate_is_compared_with_the_likelihood(made, tmp_path):
    """LEON and the surrogate rank what the round could have chosen; neither is fitted to what the round labelled."""
    fit = ["surrogate", "--labeled", str(made / "seed" / "labeled.parquet"), "--out", str(tmp_path / "surrogate")]
    assert main([*fit, "--members=2", "--filters=8", "--first_steps=60", "--feasibility=true"]) == 0
    out = tmp_path / "analysis"
    assert main(arguments(made, out, surrogate=tmp_path / "surrogate")) == 0
    facts = json.loads((out / "facts.json").read_text())
    assert set(facts["rankings"]) == {"likelihood", "surrogate", "leon"}
    best = facts["selection"]["best_oracle"]
    for found in facts["rankings"].values():
        assert 0 <= found["mean"] <= found["best"] <= best
        assert len(found["tenths"]) == 10
    # this policy's likelihoods are drawn, the surrogate's foresight is not
    assert facts["rankings"]["surrogate"]["rank_correlation"] > facts["rankings"]["likelihood"]["rank_correlation"]
    plain = tmp_path / "plain"
    assert main(arguments(made, plain)) == 0
    others = json.loads((plain / "facts.json").read_text())
    assert others == {key: value for key, value in facts.items() if key != "rankings"}
