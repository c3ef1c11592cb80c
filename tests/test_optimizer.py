"""Ask and tell: the same stages, files and bytes as a run under Snakemake, and nothing held in memory alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from llome.cli import main
from llome.domain import PAD
from llome.errors import ConfigError, LlomeError, TableError
from llome.optimizer import Optimizer
from llome.scoring.oracle import Oracle, make_oracle
from llome.tables import Labeled

TINY: dict[str, Any] = yaml.safe_load(Path(__file__).parents[1].joinpath("configs/experiments/tiny.yaml").read_text())


@pytest.fixture
def oracle(at_root: Path) -> Oracle:
    return make_oracle(yaml.safe_load((at_root / "configs/oracles/tiny.yaml").read_text()))


def measure(oracle: Oracle, texts: list[str]) -> list[float]:
    return oracle(np.array([oracle.domain.alphabet.encode(text) for text in texts])).tolist()


def started(oracle: Oracle, folder: Path, **changes: Any) -> tuple[Optimizer, list[str]]:
    """A run that has been told 40 mutants of the initial solution."""
    settings = {key: value for key, value in TINY.items() if key != "seed"} | {"train_on": "all"} | changes
    optimizer = Optimizer(settings, folder=folder)
    rng = np.random.default_rng(0)
    start = np.tile(oracle.initial_solution(), (40, 1))
    rows = np.where(rng.random(start.shape) < 0.15, rng.integers(oracle.num_states, size=start.shape), start)
    texts = list(dict.fromkeys(oracle.domain.alphabet.decode(rows)))
    optimizer.tell(texts, measure(oracle, texts))
    return optimizer, texts


def test_a_loop_of_ones_own(oracle: Oracle, tmp_path: Path) -> None:
    optimizer, given = started(oracle, tmp_path)
    assert optimizer.labels == len(given)  # what a script that is started again looks at
    first = optimizer.ask(5)
    assert optimizer.labels == len(given)
    assert len(first) == 5 == len(set(first))
    assert not set(first) & set(given)
    assert optimizer.ask(5) == first  # nothing was told: nothing changes
    assert Optimizer.load(tmp_path / "tiny").ask(5) == first  # and another process goes on
    scores = measure(oracle, first)
    optimizer.tell(first[3:], scores[3:])  # in two parts, in any order
    optimizer.tell(first[2::-1], scores[2::-1])
    assert optimizer.rounds == 1
    assert Optimizer.load(tmp_path / "tiny").labels == len(given) + 5
    second = optimizer.ask()
    assert not set(second) & set(first + given)
    assert optimizer.rounds == 1
    optimizer.tell(second, measure(oracle, second))
    everything = given + first + second
    sequence, score = optimizer.best or ("", 0.0)
    assert score == max(measure(oracle, everything)) == measure(oracle, [sequence])[0]
    assert Labeled.read(tmp_path / "tiny/r0/sft2/labeled.parquet").meta.spent == len(everything)
    with pytest.raises(LlomeError, match=r"all 2 rounds of the schedule are labelled|has ended after 2 rounds"):
        optimizer.ask()
    assert main(["verify", str(tmp_path / "tiny")]) == 0


def test_what_was_not_asked_for_is_refused(oracle: Oracle, tmp_path: Path) -> None:
    optimizer, given = started(oracle, tmp_path)
    asked = optimizer.ask(4)
    with pytest.raises(TableError, match=f"{given[0]} was not asked for in sft1"):
        optimizer.tell([given[0]], [0.5])
    optimizer.tell(asked[:1], [0.5])
    with pytest.raises(TableError, match=f"{asked[0]} was told already"):
        optimizer.tell(asked[:1], [0.5])
    with pytest.raises(ConfigError, match=r"score of .* is nan"):
        optimizer.tell(asked[1:2], [float("nan")])
    with pytest.raises(ConfigError, match="2 sequences were told with 1 scores"):
        optimizer.tell(asked[1:3], [0.5])
    optimizer.tell(asked[1:3], [0.5, 123.0], feasible=[True, False])
    labeled = Labeled.read(tmp_path / "tiny/r0/sft1/labeled.parquet")
    assert labeled.score.tolist() == [0.5, 0.5, -np.inf]
    assert (labeled.sequence != PAD).all()
    optimizer.ask(2)  # goes on without the fourth
    assert main(["verify", str(tmp_path / "tiny")]) == 0


def test_before_anything_was_told(oracle: Oracle, tmp_path: Path) -> None:
    optimizer = Optimizer({key: value for key, value in TINY.items() if key != "seed"}, folder=tmp_path)
    assert optimizer.best is None
    with pytest.raises(LlomeError, match=r"no label to start from; tell\(\) some"):
        optimizer.ask()
    with pytest.raises(TableError, match="what was told: line 1: '1 2 3' has length 3, expected 12"):
        optimizer.tell(["1 2 3"], [0.5])
    with pytest.raises(ConfigError, match="has 2 schedules; name one"):
        Optimizer({**TINY, "name": "two", "schedules": [[{"sft": 1}], [{"sft": 2}]]}, folder=tmp_path)
    with pytest.raises(ConfigError, match="another experiment of the same name"):
        Optimizer({**TINY, "random_seed": 5}, folder=tmp_path)
    with pytest.raises(ConfigError, match="holds no run"):
        Optimizer.load(tmp_path / "nothing")


def test_saved_and_loaded_elsewhere(oracle: Oracle, tmp_path: Path) -> None:
    optimizer, _ = started(oracle, tmp_path / "here")
    optimizer.save(tmp_path / "there" / "copy")
    with pytest.raises(ConfigError, match="save to a new folder"):
        optimizer.save(tmp_path / "there" / "copy")
    copy = Optimizer.load(tmp_path / "there" / "copy")
    assert copy.ask(6) == optimizer.ask(6)
    asked = copy.ask(6)
    copy.tell(asked, measure(oracle, asked))
    assert (copy.rounds, optimizer.rounds) == (1, 0)


def test_another_k_chooses_again(oracle: Oracle, tmp_path: Path) -> None:
    optimizer, _ = started(oracle, tmp_path)
    assert len(optimizer.ask(3)) == 3
    model = tmp_path / "tiny/r0/sft1/model/llome.json"
    made = model.stat().st_mtime_ns
    assert len(optimizer.ask(6)) == 6
    assert model.stat().st_mtime_ns == made  # the policy is not trained again
