"""The spec on disk, the budget, and the journal down to the byte."""

from __future__ import annotations

import json

import numpy as np
import pytest

from llome.domain import Domain
from llome.errors import BudgetExhaustedError, ConfigError, LlomeError, OracleError, TableError
from llome.scoring import Budget, Ehrlich, Journal, Oracle, load_oracle, save_oracle
from llome.scoring.oracle import read_settings


class Counting:
    """An oracle that remembers what it was asked, and answers with a function of sequence and query number."""

    num_states, length, optimum, deterministic, fingerprint, repeats = 8, 12, None, False, "counting", 1
    domain = Domain(8, 12, "counting")

    def __init__(self, die_at: int | None = None) -> None:
        self.asked: list[int] = []
        self.die_at = die_at

    def __call__(self, sequences, *, query=0):
        if self.die_at is not None and query + len(sequences) > self.die_at:
            raise KeyboardInterrupt
        self.asked += range(query, query + len(sequences))
        scores = sequences.sum(axis=1) + 0.1 * np.arange(query, query + len(sequences))
        return np.where(sequences[:, 0] == 0, -np.inf, scores)

    def initial_solution(self):
        return np.zeros(12, dtype=np.int64)

    def spec(self):
        return {}


@pytest.fixture
def sequences():
    return np.random.default_rng(0).integers(8, size=(50, 12))


def test_protocol():
    assert isinstance(Ehrlich(), Oracle)
    assert isinstance(Counting(), Oracle)


@pytest.mark.parametrize(
    "arguments",
    [{}, {"num_states": 32, "dim": 32, "num_motifs": 4, "motif_length": 4, "quantization": 2, "noise_std": 0.1}],
)
def test_spec_round_trip(tmp_path, arguments, monkeypatch):
    oracle = Ehrlich(**arguments, epistasis_factor=0.3, random_seed=9)
    save_oracle(oracle, tmp_path / "oracle.json")
    monkeypatch.setattr(Ehrlich, "_draw", lambda self: pytest.fail("drawn again"))
    loaded = load_oracle(tmp_path / "oracle.json")
    assert loaded.transition_matrix.dtype == np.float32
    assert loaded.transition_matrix.tobytes() == oracle.transition_matrix.tobytes()
    assert loaded.arguments == oracle.arguments
    assert loaded.fingerprint == oracle.fingerprint
    assert loaded.initial_solution().tolist() == oracle.initial_solution().tolist()
    x = np.random.default_rng(1).integers(oracle.num_states, size=(200, oracle.length))
    np.testing.assert_array_equal(loaded(x, query=3), oracle(x, query=3))
    spec = json.loads((tmp_path / "oracle.json").read_text())
    assert spec["kind"] == "ehrlich"
    assert spec["alphabet"] == [str(e) for e in range(oracle.num_states)]
    assert spec["optimum"] == 1.0
    save_oracle(loaded, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "oracle.json").read_bytes()


def test_equal_functions_have_equal_fingerprints():
    assert Ehrlich(quantization=3, noise_std=0).fingerprint == Ehrlich(quantization=None, noise_std=0.0).fingerprint
    assert len({Ehrlich(random_seed=s).fingerprint for s in range(5)} | {Ehrlich(noise_std=0.1).fingerprint}) == 6


def test_tampered_spec(tmp_path):
    path = tmp_path / "oracle.json"
    save_oracle(Ehrlich(8, 12, 2, 3), path)
    original = json.loads(path.read_text())

    def changed(edit) -> None:
        spec = json.loads(json.dumps(original))
        edit(spec)
        path.write_text(json.dumps(spec))

    changed(lambda s: s["arrays"]["motifs"][0].__setitem__(0, 5))
    with pytest.raises(OracleError, match=r"oracle\.json was changed.*llome oracle"):
        load_oracle(path)
    changed(lambda s: s["arguments"].__setitem__("noise_std", 1.0))
    with pytest.raises(OracleError, match="was changed"):
        load_oracle(path)
    changed(lambda s: s.pop("fingerprint"))
    with pytest.raises(OracleError, match="not the spec of an oracle"):
        load_oracle(path)
    path.write_text(json.dumps(original)[:200])
    with pytest.raises(TableError, match="corrupt or truncated"):
        load_oracle(path)
    path.write_text("[]")
    with pytest.raises(OracleError, match="not the spec"):
        load_oracle(path)
    with pytest.raises(TableError, match="does not exist"):
        load_oracle(tmp_path / "none.json")


def test_resealed_nonsense(tmp_path):
    """A spec whose fingerprint is right but whose parts do not belong together."""
    from llome.scoring.oracle import fingerprint

    path = tmp_path / "oracle.json"
    for edit, words in [
        (lambda s: s["arguments"].__setitem__("dim", 13), "do not fit"),
        (lambda s: s["arrays"].pop("motifs"), "incomplete"),
        (lambda s: s["arrays"].__setitem__("motifs", "abc"), "num_motifs"),
        (lambda s: s.__setitem__("optimum", 2.0), "another version"),
    ]:
        spec = Ehrlich(8, 12, 2, 3).spec()
        edit(spec)
        path.write_text(json.dumps(spec | {"fingerprint": fingerprint(spec)}))
        with pytest.raises(OracleError, match=words):
            load_oracle(path)
    spec = Ehrlich().spec() | {"kind": "erlich"}
    path.write_text(json.dumps(spec | {"fingerprint": fingerprint(spec)}))
    with pytest.raises(ConfigError, match="did you mean 'ehrlich'"):
        load_oracle(path)


def test_settings_file(tmp_path):
    path = tmp_path / "o.yaml"
    with pytest.raises(ConfigError, match=r"cannot read .*o\.yaml"):
        read_settings(path)
    path.write_text("- 1")
    with pytest.raises(ConfigError, match="holds no settings"):
        read_settings(path)
    path.write_text("a: [1")
    with pytest.raises(ConfigError, match="no valid YAML"):
        read_settings(path)


def test_budget_counts_repeats_and_refuses_before_calling(sequences):
    oracle = Counting()
    budget = Budget(oracle, total=100, spent=20, batch_size=7)
    budget(sequences)
    assert budget.spent == 70
    assert oracle.asked == list(range(20, 70))
    with pytest.raises(BudgetExhaustedError, match=r"70 of 100 .* 50 more .*raise the budget to 120 .*at most 30"):
        budget(sequences)
    assert (budget.spent, len(oracle.asked)) == (70, 50)
    budget(sequences[:30])
    assert budget.spent == 100
    with pytest.raises(BudgetExhaustedError):
        budget(sequences[:1])
    budget(sequences[:0])


def test_budget_validates_what_goes_in_and_comes_out(sequences):
    oracle = Counting()
    with pytest.raises(OracleError, match="outside"):
        Budget(oracle)(sequences + 7)
    assert not oracle.asked
    with pytest.raises(ConfigError, match="batch_size is 0"):
        Budget(oracle, batch_size=0)
    answers = {
        "query 12 with nan": np.array([0.0, 1, np.nan]),
        "query 11 with inf": np.array([0.0, np.inf, 1]),
        r"shape \(2,\)": np.zeros(2),
        r"shape \(3, 1\)": np.zeros((3, 1)),
        "dtype <U1": np.array(["a", "b", "c"]),
        "dtype object": np.array([None, 1, 2]),
    }
    for words, answer in answers.items():
        budget = Budget(lambda x, query, answer=answer: answer, spent=10)
        budget.oracle.domain, budget.oracle.repeats = Counting.domain, 1
        with pytest.raises(OracleError, match=words):
            budget(sequences[:3])
        assert budget.spent == 10


def test_progress_hears_of_everything(sequences, tmp_path):
    heard = []
    with Journal(tmp_path / "j", {}, 12) as journal:
        Budget(Counting(), journal=journal, batch_size=20, progress=heard.append)(sequences)
    assert heard == [20, 20, 10]
    heard.clear()
    with Journal(tmp_path / "j", {}, 12) as journal:
        Budget(Counting(), journal=journal, batch_size=20, progress=heard.append)(sequences)
    assert heard == [50]


@pytest.mark.parametrize("die_at", [0, 5, 20, 21, 49])
@pytest.mark.parametrize("batch_again", [3, 10])
def test_interrupted_equals_uninterrupted(tmp_path, sequences, die_at, batch_again):
    expected = Budget(Counting(), spent=1000)(sequences)
    first = Counting(die_at=1000 + die_at)
    with Journal(tmp_path / "j", {"a": 1}, 12) as journal, pytest.raises(KeyboardInterrupt):
        Budget(first, spent=1000, journal=journal, batch_size=5)(sequences)
    second = Counting()
    with Journal(tmp_path / "j", {"a": 1}, 12) as journal:
        budget = Budget(second, spent=1000, journal=journal, batch_size=batch_again)
        scores = np.concatenate([budget(sequences[:23]), budget(sequences[23:])])
        np.testing.assert_array_equal(scores, expected)
        assert budget.spent == 1050
        assert first.asked + second.asked == list(range(1000, 1050))
        journal.finish(keep=False)
    assert not list(tmp_path.iterdir())


def test_journal_cut_at_any_byte(tmp_path, sequences, monkeypatch):
    monkeypatch.setattr("llome.lines.os.fsync", lambda descriptor: None)  # a slow disk is not what is tested
    path = tmp_path / "j"
    sequences = sequences[:6]
    with Journal(path, {"a": 1}, 12) as journal:
        expected = Budget(Counting(), journal=journal, batch_size=2)(sequences)
    whole = path.read_bytes()
    ends = [i + 1 for i, byte in enumerate(whole) if byte == ord("\n")]
    assert len(ends) == 4  # the key and three batches
    for cut in range(len(whole) + 1):
        path.write_bytes(whole[:cut])
        oracle = Counting()
        with Journal(path, {"a": 1}, 12) as journal:
            scores = Budget(oracle, journal=journal, batch_size=2)(sequences)
        np.testing.assert_array_equal(scores, expected)
        kept = 2 * max(0, sum(end <= cut for end in ends) - 1)
        assert oracle.asked == list(range(kept, 6)), cut
        assert path.read_bytes() == whole, cut


def test_each_batch_is_synced_before_the_next_is_asked(tmp_path, sequences, monkeypatch):
    events = []

    class Logged(Counting):
        def __call__(self, sequences, *, query=0):
            events.append(f"ask {query}")
            return super().__call__(sequences, query=query)

    def fsync(descriptor):
        events.append(f"sync {len((tmp_path / 'j').read_bytes().splitlines())} lines")

    monkeypatch.setattr("llome.lines.os.fsync", fsync)
    with Journal(tmp_path / "j", {}, 12) as journal:
        Budget(Logged(), journal=journal, batch_size=20)(sequences)
    assert events == ["sync 1 lines", "ask 0", "sync 2 lines", "ask 20", "sync 3 lines", "ask 40", "sync 4 lines"]


def test_journal_of_other_settings_is_put_aside_and_begun_anew(tmp_path, sequences, capsys):
    with Journal(tmp_path / "j", {"seed": 1}, 12) as journal:
        Budget(Counting(), journal=journal)(sequences)
    oracle = Counting()
    with Journal(tmp_path / "j", {"seed": 2}, 12) as journal:
        Budget(oracle, journal=journal)(sequences[:4])
    assert oracle.asked == [0, 1, 2, 3]
    (aside,) = tmp_path.glob("j.*")
    assert len(aside.read_text().splitlines()) == 2
    assert f"what was answered before lies in {aside}" in capsys.readouterr().err


def test_journal_of_other_sequences_is_refused(tmp_path, sequences):
    with Journal(tmp_path / "j", {}, 12) as journal:
        Budget(Counting(), journal=journal)(sequences)
    oracle = Counting()
    with Journal(tmp_path / "j", {}, 12) as journal:
        with pytest.raises(OracleError, match="answers other sequences from query 0"):
            Budget(oracle, journal=journal)(sequences[::-1])
        with pytest.raises(OracleError, match="from query 3"):
            Budget(oracle, journal=journal, spent=3)(sequences)
    assert not oracle.asked


@pytest.mark.parametrize(
    "damage", [b"\x00", b"[]\n", b'{"query":9}\n', b'{"query":0,"scores":[1],"sequences":[[1]]}\n']
)
def test_journal_damaged_in_the_middle_is_refused(tmp_path, sequences, damage):
    path = tmp_path / "j"
    with Journal(path, {}, 12) as journal:
        Budget(Counting(), journal=journal, batch_size=10)(sequences)
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + lines[1] + damage + b"".join(lines[2:]))
    with pytest.raises(OracleError, match="line 3 is corrupt; delete"):
        Journal(path, {}, 12)


def test_journal_cannot_be_written(tmp_path):
    (tmp_path / "j").mkdir()
    with pytest.raises(LlomeError, match="cannot write"):
        Journal(tmp_path / "j", {}, 12)
