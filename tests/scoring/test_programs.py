"""Programs that score: honest ones, and every way in which one may fail its users; whatever was answered is kept."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from programs import HONEST, LOOP, SEQUENCES, TEXTS, ask, command, here, kept  # noqa: F401

from llome.errors import OracleError
from llome.scoring import Budget, Oracle, load_oracle, save_oracle
from llome.scoring.oracle import Streaming


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
