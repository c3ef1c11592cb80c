"""Programs that score: honest ones, and every way in which one may fail its users; whatever was answered is kept."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from llome.cli import main
from llome.errors import ConfigError, LlomeError, OracleError
from llome.scoring import Budget, Journal, Oracle, load_oracle, make_oracle, save_oracle
from llome.scoring.budget import Labels
from llome.scoring.oracle import Streaming

TEXTS = ["AAAA", "CAAA", "CCAA", "CCCA", "CCCC", "ACAC"]
SEQUENCES = np.array([["ACGT".index(letter) for letter in text] for text in TEXTS])
HONEST = [0.0, 1.0, 2.0, 3.0, 4.0, 2.0]
"""The number of C."""

HEAD = """
import json, os, sys, time, pathlib
started = pathlib.Path("started"); started.write_text(started.read_text() + "x" if started.exists() else "x")
again = len(started.read_text()) > 1
def read():
    return json.loads(sys.stdin.readline() or sys.exit())
def tell(id, score, **more):
    print(json.dumps({"id": id, "score": score, **more}), flush=True)
def count(asked):
    return float(asked["sequence"].count("C"))
"""
LOOP = """
for line in sys.stdin:
    asked = json.loads(line)
    if asked["sequence"] == "CCAA":
        {}
    tell(asked["id"], count(asked))
"""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def command(script: str, **settings: Any) -> Any:
    Path("score.py").write_text(HEAD + script)
    common = {
        "name": "command",
        "alphabet": "dna",
        "length": 4,
        "command": [sys.executable, "-S", "score.py"],
        "timeout": 20,
    }
    return make_oracle(common | settings)


def python(code: str, **settings: Any) -> Any:
    Path("mine.py").write_text(code)
    return make_oracle(
        {"name": "python", "alphabet": "dna", "length": 4, "function": "mine:score", "timeout": 20} | settings
    )


def ask(oracle: Any, *, journal: bool = True, **options: Any) -> Labels:
    with Journal("journal", {}, 4) as lines, Budget(oracle, journal=lines if journal else None, **options) as budget:
        labels = budget.ask(SEQUENCES)
        assert budget.spent == len(SEQUENCES) * oracle.repeats + labels.again
        return labels


def kept() -> dict[str, float]:
    """What the journal holds: score by sequence."""
    found = {}
    for line in Path("journal").read_text().splitlines()[1:]:
        answers = json.loads(line)
        for sequence, score in zip(answers["sequences"], answers.get("scores", ()), strict="scores" in answers):
            found["".join("ACGT"[e] for e in sequence)] = score
    return found


def test_a_command_is_started_once_and_kept_alive():
    oracle = command(LOOP.format("pass"))
    assert isinstance(oracle, Streaming)
    assert isinstance(oracle, Oracle)
    labels = ask(oracle, batch_size=2)
    assert labels.score.tolist() == HONEST
    assert labels.query.tolist() == list(range(6))
    assert (labels.again, labels.failed.any()) == (0, False)
    assert Path("started").read_text() == "x"
    assert kept() == dict(zip(TEXTS, HONEST, strict=True))


def test_the_same_oracle_from_its_spec_with_more_patience():
    oracle = command(LOOP.format("pass"), timeout=5)
    save_oracle(oracle, "oracle.json")
    save_oracle(command(LOOP.format("pass"), timeout=7, retries=3), "other.json")
    assert Path("oracle.json").read_bytes() == Path("other.json").read_bytes()
    loaded = load_oracle("other.json")
    assert (loaded.problem.timeout, loaded.retries, loaded.fingerprint) == (7, 3, oracle.fingerprint)  # type: ignore[attr-defined]
    assert str(Path.cwd()) not in Path("oracle.json").read_text()
    assert ask(loaded).score.tolist() == HONEST


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ('tell(asked["id"], None, message="no fold"); continue', "no fold"),
        ('tell(asked["id"], None); continue', "no score, and no message"),
        ('tell(asked["id"], "high"); continue', "the score 'high' is no number"),
        ('tell(asked["id"], True); continue', "the score True is no number"),
        ('tell(asked["id"], float("nan")); continue', "the score is nan, and scores are finite"),
        ('tell(asked["id"], float("inf")); continue', "the score is inf, and scores are finite"),
        ('tell(asked["id"], 10**400); continue', "scores are finite"),
        ('tell(asked["id"], 1, feasible="perhaps"); continue', "feasible is 'perhaps'"),
        ("sys.exit(3)", "ended with exit code 3 and left 1 of 1 sequences without an answer"),
        ("os.kill(os.getpid(), 9)", "was ended by SIGKILL"),
        (
            'sys.stdout.write("{\\"id\\": "); sys.stdout.flush(); sys.exit(1)',
            "in the middle of a line, '{\"id\": ', and left",
        ),
        ('sys.stderr.write("no GPU\\n"); sys.exit(1)', "the last it wrote to standard error: no GPU"),
        ("os.close(1); time.sleep(60)", "closed its standard output and left 1 of 1"),
    ],
)
def test_one_sequence_fails_and_is_attempted_again_and_no_label_is_lost(fault, message):
    labels = ask(command(LOOP.format(fault), retries=1))
    expected = np.array(HONEST)
    expected[2] = np.nan
    np.testing.assert_array_equal(labels.score, expected)
    assert labels.failed.tolist() == [text == "CCAA" for text in TEXTS]
    assert message in labels.message[2]
    again = ask(command("sys.exit('nothing is asked again')"))
    np.testing.assert_array_equal(again.score, expected)
    assert again.message.tolist() == labels.message.tolist()
    assert again.again == labels.again


def test_what_fails_once_and_not_again_has_a_label():
    assert ask(command(LOOP.format("again or sys.exit(1)"))).score.tolist() == HONEST
    assert Path("started").read_text() == "xx"


def test_no_retries():
    labels = ask(command(LOOP.format('tell(asked["id"], None); continue'), retries=0))
    assert (labels.failed.sum(), labels.again) == (1, 0)


def test_a_hang_is_ended_and_the_others_are_asked_again():
    began = time.monotonic()
    labels = ask(command(LOOP.format("time.sleep(60)"), timeout=0.7))
    assert labels.failed.tolist() == [text == "CCAA" for text in TEXTS]
    assert "did not answer within 0.7 seconds and left 1 of 1 sequences" in labels.message[2]
    assert labels.score[3:].tolist() == HONEST[3:]
    assert time.monotonic() - began < 20


def test_it_reads_nothing_and_floods_both_outputs():
    """Pipes are full in every direction; the clock goes on."""
    oracle = command('sys.stderr.write("x" * 10**7); sys.stderr.flush(); time.sleep(60)', timeout=1)
    with pytest.raises(OracleError, match=r"did not answer within 1 seconds .*x{100}.* raise timeout"):
        ask(oracle)
    assert kept() == {}
    with pytest.raises(OracleError, match=r"a line that is no answer: 'y{120}\.\.\.'"):
        ask(command('sys.stdout.write("y" * 10**8)'))


def test_a_flood_of_standard_error_between_answers():
    assert ask(command(LOOP.format('sys.stderr.write("x" * 10**7)'))).score.tolist() == HONEST


@pytest.mark.parametrize(
    ("script", "message", "answered"),
    [
        (
            'a, b = read(), read(); tell(a["id"], 1); tell(a["id"], 1); time.sleep(60)',
            "answered the id 0, which is answered already",
            1,
        ),
        (
            'a = read(); tell(a["id"], 1); tell(77, 1); time.sleep(60)',
            "answered the id 77, which is answered already or was not",
            1,
        ),
        (
            'a = read(); tell(a["id"], 1); print("Loading...", flush=True); time.sleep(60)',
            "no answer: 'Loading...'; what is meant",
            1,
        ),
        ('a = read(); tell(a["id"], 1); print("[1]", flush=True); time.sleep(60)', r"no answer: '\[1\]'", 1),
        ('a = read(); tell(a["id"], 1); tell("1", 1); time.sleep(60)', "without the id of a sequence", 1),
        ('a = read(); tell(a["id"], 1); os.write(1, b"\\xff\\n"); time.sleep(60)', "a line that is no answer", 1),
    ],
)
def test_one_that_cannot_be_trusted_is_stopped_and_what_it_said_before_is_kept(script, message, answered):
    with pytest.raises(OracleError, match=message):
        ask(command(script))
    assert len(kept()) == answered
    labels = ask(command(LOOP.format("pass")))
    assert labels.score.tolist() == [1.0, *HONEST[1:]]
    assert labels.again == 0


def test_out_of_order_is_fine():
    labels = ask(command('all = [read() for _ in range(6)]\nfor asked in all[::-1]: tell(asked["id"], count(asked))'))
    assert labels.score.tolist() == HONEST


def test_a_slow_start_is_told_from_failing_sequences():
    script = "time.sleep(60)\n" + LOOP.format("pass")
    with pytest.raises(OracleError, match="has not answered anything yet, so no sequence is taken for failed"):
        ask(command(script, timeout=0.3))
    assert ask(command("time.sleep(0.5)\n" + LOOP.format("pass"), timeout=15)).score.tolist() == HONEST


def test_the_first_sequence_of_all_brings_it_down():
    labels = ask(command(LOOP.format("pass").replace("CCAA", "AAAA").replace("pass", "sys.exit(1)")))
    assert labels.failed.tolist() == [text == "AAAA" for text in TEXTS]
    assert labels.score[1:].tolist() == HONEST[1:]


def test_one_that_never_works_is_stopped():
    with pytest.raises(OracleError, match=r"cannot start .*nowhere.*No such file"):
        ask(command("", command=["./nowhere"]))
    with pytest.raises(OracleError, match=r"ended with exit code 5 .* it has not answered anything yet"):
        ask(command("sys.exit(5)"))
    Path("started").unlink()
    dies = "asked = read()\nif again: sys.exit(1)\ntell(asked['id'], 1); sys.exit(1)"
    with pytest.raises(OracleError, match="was started 5 times without an answer"):
        ask(command(dies, retries=9))
    assert ask(command(LOOP.format("pass"), retries=9)).score.tolist() == [1.0, *HONEST[1:]]


def test_sign_and_constraint():
    script = """
for line in sys.stdin:
    asked = json.loads(line)
    tell(asked["id"], None if asked["sequence"] == "AAAA" else count(asked), feasible=asked["sequence"][0] == "C")
"""
    labels = ask(command(script, maximize=False, optimum=0))
    np.testing.assert_array_equal(labels.score, [-np.inf, -1, -2, -3, -4, -np.inf])
    assert str(labels.score[1]) == "-1.0"
    oracle = command(script, maximize=False, optimum=4)
    assert (oracle.optimum, oracle.spec()["optimum"]) == (-4.0, -4.0)


def test_lengths_that_differ():
    oracle = command(LOOP.format("pass"), length=[2, 4])
    sequences = np.array([[1, 1, -1, -1], [1, 0, 1, -1], [1, 1, 1, 1]])
    assert oracle(sequences).tolist() == [2.0, 2.0, 3.0 + 1]
    oracle.close()
    for bad in ([1, -1, -1, -1], [1, -1, 1, 1], [1, 4, -1, -1], [1, -2, -1, -1]):
        with pytest.raises(OracleError, match="sequence 1 is none of 2 to 4 elements"):
            oracle(np.array([sequences[0], bad]))


def test_repeats_are_averaged_and_journaled():
    script = 'for line in sys.stdin: asked = json.loads(line); tell(asked["id"], asked["id"] * 1.0)'
    labels = ask(command(script, repeats=3), batch_size=4)
    np.testing.assert_array_equal(labels.measurements, np.arange(18.0).reshape(3, 6).T)
    np.testing.assert_array_equal(labels.score, labels.measurements.mean(axis=1))
    again = ask(command("sys.exit(1)", repeats=3))
    np.testing.assert_array_equal(again.measurements, labels.measurements)


def test_a_measurement_that_fails_is_left_out_of_the_mean():
    script = """
for line in sys.stdin:
    asked = json.loads(line)
    tell(asked["id"], None if asked["id"] in (0, 7, 13) else 2.0 * asked["id"])
"""
    labels = ask(command(script, repeats=3, retries=0))
    np.testing.assert_array_equal(labels.measurements[:2], [[np.nan, 12, 24], [2, np.nan, np.nan]])
    assert labels.score[:2].tolist() == [18.0, 2.0]
    assert not labels.failed.any()


def test_the_budget_is_a_hard_stop_for_retries_too():
    fault = LOOP.format('tell(asked["id"], None); continue').replace('== "CCAA"', '!= "AAAA"')
    oracle = command(fault, retries=5)
    with Budget(oracle, total=9) as budget:
        labels = budget.ask(SEQUENCES)
    assert (budget.spent, labels.again) == (9, 3)
    assert labels.failed.sum() == 5


def test_python_functions_of_all_sorts():
    assert (
        ask(python("def score(texts):\n    print('hello')\n    return [t.count('C') for t in texts]")).score.tolist()
        == HONEST
    )
    Path("journal").unlink()
    numpy = "import numpy\ndef score(texts, by):\n    return numpy.array([by * t.count('C') for t in texts])"
    assert ask(python(numpy, arguments={"by": 2.0})).score.tolist() == [2 * s for s in HONEST]
    Path("journal").unlink()
    of_class = """
class score:
    def __init__(self, letter):
        self.letter = letter
    def __call__(self, text):
        if text == "CCAA":
            raise KeyError("no such fold")
        return {"score": text.count(self.letter), "feasible": text != "AAAA"}
"""
    labels = ask(python(of_class, arguments={"letter": "C"}, one_by_one=True))
    np.testing.assert_array_equal(labels.score, [-np.inf, 1, np.nan, 3, 4, 2])
    assert labels.message[2] == "KeyError: 'no such fold'"


FAULTY = "calls = 0\ndef score(texts):\n    global calls\n    calls += 1\n    good = [float(t.count('C')) for t in texts]\n    "


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("return good[:-1] if calls == 2 else good", "raised ValueError: it returned 1 scores for 2 sequences"),
        ("return good + [1] if calls == 2 else good", "raised ValueError: it returned 3 scores for 2 sequences"),
        (
            "return 'abc' if calls == 2 else good",
            "raised TypeError: it returned str for 2 sequences; it must return 2 numbers",
        ),
        ("return None if calls == 2 else good", "raised TypeError: it returned NoneType for 2 sequences"),
        ("return 1 / 0 if calls == 2 else good", "raised ZeroDivisionError: division by zero"),
    ],
)
def test_a_python_batch_that_goes_wrong_is_a_stop(fault, message):
    with pytest.raises(OracleError, match=message) as caught:
        ask(python(FAULTY + fault), batch_size=2)
    assert kept() == dict(zip(TEXTS[:2], HONEST[:2], strict=True))
    assert "serve.py" not in caught.value.__notes__[0] or "it returned" in message
    labels = ask(python(FAULTY + "return good"))
    assert (labels.score.tolist(), labels.again) == (HONEST, 0)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        ("return ['high' if t == 'CCAA' else t.count('C') for t in texts]", "the score 'high' is no number"),
        ("return [float('inf') if t == 'CCAA' else t.count('C') for t in texts]", "the score is inf"),
        ("return [float('nan') if t == 'CCAA' else t.count('C') for t in texts]", "the score is nan"),
        ("return [None if t == 'CCAA' else t.count('C') for t in texts]", "no score, and no message"),
        ("import os\n    if 'CCAA' in texts: os._exit(7)\n    return good", "ended with exit code 7"),
        (
            "import os\n    if 'CCAA' in texts: print('no GPU'), os.abort()\n    return good",
            "was ended by SIGABRT .*no GPU",
        ),
        ("import time\n    if 'CCAA' in texts: time.sleep(60)\n    return good", "did not answer within 2 seconds"),
        ("import sys\n    if 'CCAA' in texts: sys.exit(4)\n    return good", "ended with exit code 4"),
    ],
)
def test_one_sequence_of_a_python_function_fails(fault, message):
    labels = ask(python(FAULTY + fault, timeout=2), batch_size=3)
    assert labels.failed.tolist() == [text == "CCAA" for text in TEXTS]
    np.testing.assert_array_equal(labels.score[~labels.failed], np.array(HONEST)[~labels.failed])
    import re

    assert re.search(message, labels.message[2], re.DOTALL)


def test_python_that_cannot_be_loaded_shows_the_users_own_traceback():
    with pytest.raises(OracleError, match="raised ModuleNotFoundError: No module named 'nowhere'"):
        ask(python("", function="nowhere:score"))
    with pytest.raises(OracleError, match=r"raised AttributeError.*has no attribute 'scores'"):
        ask(python("score = 1", function="mine:scores"))
    with pytest.raises(OracleError, match="raised TypeError: mine:score is int, which cannot be called"):
        ask(python("score = 1"))
    with pytest.raises(OracleError, match="raised RuntimeError: no weights") as caught:
        ask(
            python(
                "class score:\n    def __init__(self):\n        self.load()\n    def load(self):\n        raise RuntimeError('no weights')"
            )
        )
    (trace,) = caught.value.__notes__
    assert "mine.py" in trace
    assert "self.load()" in trace
    assert "serve.py" not in trace


def test_the_command_line_shows_the_traceback_and_then_one_line(tmp_path, capsys):
    save_oracle(
        python(
            "def score(texts):\n    return helper(texts)\ndef helper(texts):\n    raise ValueError('bad\\nnews')",
            start="AAAA",
        ),
        "o.json",
    )
    assert main(["seed", "--oracle", "o.json", "--out", "seed", "--rounds", "1", "--population", "20"]) == 2
    *trace, last = capsys.readouterr().err.strip().splitlines()
    assert "    return helper(texts)" in trace
    assert trace[-2:] == ["ValueError: bad", "news"]
    assert last.startswith("llome seed: error: mine:score raised")


def test_settings_that_make_no_oracle():
    for settings, words in [
        ({"command": "python score.py"}, "give a list of words"),
        ({"command": []}, "give a list of words"),
        ({"comand": ["x"]}, "'comand', did you mean 'command'"),
        ({"length": 0}, "length is 0"),
        ({"length": [5, 4]}, "the shortest comes first"),
        ({"length": "4"}, "give a number of elements"),
        ({"alphabet": "AAC"}, "comes twice"),
        ({"wild_type": "ACGU"}, "wild_type: .* letter 'U'"),
        ({"start": "ACG"}, "start: 'ACG' has 3 elements; sequences have 4"),
        ({"protected": [4]}, "position 4; sequences have positions 0 to 3"),
        ({"edits_from": "wild_type"}, "no wild_type is given"),
        ({"timeout": 0}, "more than 0 seconds"),
        ({"retries": -1}, "retries is -1"),
        ({"repeats": 0}, "repeats is 0"),
        ({"maximize": "no"}, "maximize is 'no'"),
        ({"optimum": float("nan")}, "optimum is nan"),
    ]:
        with pytest.raises(ConfigError, match=words):
            command("", **settings)
    with pytest.raises(ConfigError, match="the key 'length' is missing"):
        make_oracle({"name": "command", "alphabet": "dna", "command": ["x"]})
    with pytest.raises(ConfigError, match=r"function is 'score'; give package\.module:Name"):
        python("", function="score")
    with pytest.raises(ConfigError, match="names none; give start"):
        command("").initial_solution()
    assert issubclass(ConfigError, LlomeError)


def test_poli_by_name_and_arguments(monkeypatch):
    """A stand-in of the same shape; the real one (poli-core 1.3.1) was tried by hand with aloha."""
    Path("poli").mkdir()
    Path("poli/__init__.py").write_text("""
import numpy
class objective_factory:
    @staticmethod
    def create(name, **arguments):
        class Problem:
            black_box = staticmethod(lambda x: (x == arguments["letter"]).sum(axis=1, keepdims=True) * (name == "letters"))
        return Problem
""")
    settings = {"name": "poli", "alphabet": "dna", "length": 4, "black_box": "letters", "arguments": {"letter": "C"}}
    save_oracle(make_oracle(settings), "oracle.json")
    oracle = load_oracle("oracle.json")
    assert ask(oracle).score.tolist() == HONEST
