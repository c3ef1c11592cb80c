"""Functions of the user's own language that score: honest ones, and those that raise, hang or answer nonsense; settings that make none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from programs import HONEST, TEXTS, ask, command, here, kept, python  # noqa: F401

from llome.cli import main
from llome.errors import ConfigError, LlomeError, OracleError
from llome.scoring import load_oracle, make_oracle, save_oracle


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
