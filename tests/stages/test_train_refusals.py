"""What `llome train` is given and cannot use, policies, tables and checkpoints, is refused in one line before anything is written."""

import dataclasses
import json
import shutil

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import torch
from test_train import Killed, kill_at
from training_fixtures import DOMAIN, draw_table, labeled, policy  # noqa: F401

from llome.cli import main
from llome.codec import compact_tokenizer
from llome.policy.causal_lm import PolicyCard, build_small_policy, save_policy
from llome.reporting.analysis.scored import Scored
from llome.tables import Meta

SIZE = {"hidden_size": 16, "num_layers": 1, "num_heads": 2, "random_seed": 0}


def make_policy(path, num_states=12, length=8, domain=DOMAIN, tokenizer=None, **size):
    model, own = build_small_policy(num_states, length, **SIZE | size)
    save_policy(path, model, tokenizer or own, PolicyCard("base", domain))
    return path


def word_tokenizer(unknown):
    """Knows no number; with an unknown token it reads every element as that one."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = Tokenizer(
        models.WordLevel({"<pad>": 0, "<end>": 1, "yes": 2}, **({"unk_token": "<pad>"} if unknown else {}))
    )
    words.pre_tokenizer = pre_tokenizers.Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="<end>")


def without(token):
    tokenizer = compact_tokenizer(12)
    setattr(tokenizer, token, None)
    return tokenizer


def zero_weights(path):
    file = make_policy(path) / "model.safetensors"
    file.write_bytes(bytes(file.stat().st_size))


def other_architecture(path):
    """The card lists sizes, so a config.json of another model must come with its size to get that far."""
    make_policy(path)
    config = {"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"], "vocab_size": 16, "n_positions": 32}
    config |= {"n_embd": 16, "n_layer": 1, "n_head": 2, "bos_token_id": 1, "eos_token_id": 1}
    (path / "config.json").write_text(json.dumps(config))
    card = json.loads((path / "llome.json").read_text())
    card["files"]["config.json"][0] = (path / "config.json").stat().st_size
    (path / "llome.json").write_text(json.dumps(card))


def problem(**changes):
    return dataclasses.replace(DOMAIN, **changes)


PARENTS = {
    "missing": (lambda path: None, "parent does not exist: it is incomplete or not ours; make it with `llome base`"),
    "empty": (lambda path: path.mkdir(), "parent holds no llome.json"),
    "a file": (lambda path: path.write_text(""), "parent is a file"),
    "no card": (lambda path: (make_policy(path) / "llome.json").write_text("[]"), "llome.json is not a policy card"),
    "another alphabet": (
        lambda path: make_policy(path, 20, domain=problem(num_states=20)),
        "(V 20, L 8); use files of",
    ),
    "another length": (
        lambda path: make_policy(path, 12, 9, problem(length=9)),
        "(V 12, L 9); use files of one oracle",
    ),
    "another oracle": (lambda path: make_policy(path, domain=problem(fingerprint="0" * 16)), "with 0000000000000000"),
    "a small tokenizer": (
        lambda path: make_policy(path, 6),
        "parent knows fewer than 12 elements; build the base policy",
    ),
    "a small vocabulary": (
        lambda path: make_policy(path, 6, tokenizer=compact_tokenizer(12)),
        "parent has 16 tokens, but the model embeds 10",
    ),
    "a short context": (lambda path: make_policy(path, 12, 3), "take 19 tokens, but the policy"),
    "no end token": (lambda path: make_policy(path, tokenizer=without("eos_token")), "parent has no end token"),
    "no padding": (
        lambda path: make_policy(path, tokenizer=without("pad_token")),
        "parent has no end or padding token",
    ),
    "no numbers": (lambda path: make_policy(path, tokenizer=word_tokenizer(True)), "does not give back [0, 1, 2, 3, 4"),
    "no words": (lambda path: make_policy(path, tokenizer=word_tokenizer(False)), "parent cannot spell a sequence"),
    "no weights": (zero_weights, "cannot load a causal language model from"),
    "other weights": (other_architecture, "parent are not those of a GPT2LMHeadModel"),
}


def write_table(path, rows=slice(None), scores=None):
    table = draw_table(150)
    table = table.take(np.arange(len(table))[rows])
    dataclasses.replace(table, **({} if scores is None else {"score": np.full(len(table), scores)})).write(path)


def write_scores(path):
    table = draw_table(150)
    Scored(Meta(DOMAIN), table.sequence, table.score).write(path)


TABLES = {
    "missing": (lambda path: None, "labels does not exist; run the stage that writes it"),
    "a folder": (lambda path: path.mkdir(), "labels is a folder where a labeled table belongs; give the file"),
    "a text": (
        lambda path: path.write_text("model:\n"),
        "labels is not a labeled table, it is no Parquet file; give the",
    ),
    "no bytes": (lambda path: path.write_bytes(b""), "labels is corrupt or truncated"),
    "any Parquet": (
        lambda path: pyarrow.parquet.write_table(pyarrow.table({"a": [1]}), path),
        "labels is not a labeled table (it is 'no llome table'); give the right file",
    ),
    "scores of an analysis": (
        write_scores,
        "labels is not a labeled table (it is 'scored'); what an analysis scored never goes back",
    ),
    "no rows": (lambda path: write_table(path, slice(0)), "there is no sequence to learn from in"),
    "one row": (lambda path: write_table(path, slice(1)), "of 1 labelled sequences (0 feasible), 0 have a neighbour"),
    "equal scores": (lambda path: write_table(path, scores=0.5), "0 a better one"),
    "nothing feasible": (lambda path: write_table(path, scores=-np.inf), "of 150 labelled sequences (0 feasible)"),
}


@pytest.fixture
def train(root, policy, labeled, tmp_path):  # noqa: F811
    def train(objective, *more, parent=policy, table=labeled):
        args = ["train", "fit", "--config", str(root / f"configs/train/{objective}_tiny.yaml"), "--random_seed", "5"]
        return main(
            [*args, "--parent", str(parent), "--labeled", str(table), "--out", str(tmp_path / "r/model"), *more]
        )

    return train


def assert_refused(code, message, capsys, folder):
    error = capsys.readouterr().err
    assert code == 2
    assert message in error
    assert error.count("\n") == 1
    assert [file for file in folder.rglob("*") if file.is_file() and file.name != ".lock"] == []


@pytest.mark.parametrize("objective", ["dpo", "marge"])
@pytest.mark.parametrize("what", PARENTS)
def test_parents_that_cannot_serve(train, tmp_path, capsys, objective, what):
    make, message = PARENTS[what]
    make(tmp_path / "parent")
    assert_refused(train(objective, parent=tmp_path / "parent"), message, capsys, tmp_path / "r")


@pytest.mark.parametrize("objective", ["dpo", "marge"])
@pytest.mark.parametrize("what", TABLES)
def test_tables_that_teach_nothing(train, tmp_path, capsys, objective, what):
    make, message = TABLES[what]
    make(tmp_path / "labels")
    assert_refused(train(objective, table=tmp_path / "labels"), message, capsys, tmp_path / "r")


def test_a_pair_is_no_triple(train, tmp_path, capsys):
    """Two sequences, one better: a pair for the others, but no neighbour that is no better."""
    table = draw_table(150).take(np.arange(2))
    dataclasses.replace(table, score=np.array([0.25, 0.5])).write(tmp_path / "two")
    code = train("dpo", "--data.max_distance", "1", table=tmp_path / "two")
    message = (
        "no training triples: of 2 labelled sequences (2 feasible), 2 have a neighbour within 1.0 of the length, 1 a"
    )
    assert_refused(code, f"{message} better one and 0 a no better one too, 0 triples matched", capsys, tmp_path / "r")
    assert train("marge", "--data.max_distance", "1", table=tmp_path / "two") == 0


def cut(file):
    file.write_bytes(file.read_bytes()[:-1000])


def weights_alone(file):
    torch.save({"state_dict": torch.load(file, weights_only=True)["state_dict"]}, file)


TAMPERED = {
    "cut short": ("last.ckpt", cut, "it is cut short or no checkpoint"),
    "empty": ("last.ckpt", lambda file: file.write_bytes(b""), "it is cut short or no checkpoint"),
    "a text": ("last.ckpt", lambda file: file.write_text("hello"), "it is cut short or no checkpoint"),
    "a list": ("last.ckpt", lambda file: torch.save([1], file), "it is no checkpoint of a training"),
    "weights alone": ("last.ckpt", weights_alone, "it was not written by this run"),
    "best cut short": ("best.ckpt", cut, "it is cut short or no checkpoint"),
    "best gone": ("best.ckpt", lambda file: file.unlink(), "it is missing"),
}
VALIDATING = ("--trainer.val_check_interval", "3")


def kill(train, monkeypatch, folder, objective="marge", **files):
    """Train until the ninth step; the scratch folder that is left."""
    with monkeypatch.context() as patch:
        kill_at(patch, 9)
        with pytest.raises(Killed):
            train(objective, *VALIDATING, **files)
    (scratch,) = folder.glob("r/.scratch/*")
    return scratch


@pytest.mark.parametrize("what", TAMPERED)
def test_checkpoints_that_cannot_be_gone_on_from(train, tmp_path, monkeypatch, capsys, what):
    name, tamper, reason = TAMPERED[what]
    scratch = kill(train, monkeypatch, tmp_path)
    tamper(scratch / name)
    capsys.readouterr()
    assert train("marge", *VALIDATING) == 2
    remedy = f"delete the folder {scratch} and run the same command again: it trains anew"
    assert capsys.readouterr().err == f"llome train: error: cannot go on from {scratch / name}: {reason}; {remedy}\n"
    assert not (tmp_path / "r" / "model").exists()
    shutil.rmtree(scratch)
    assert train("marge", *VALIDATING) == 0


@pytest.mark.parametrize(
    ("objective", "width", "reason"),
    [("dpo", 16, "it was not written by this run"), ("marge", 32, "its weights are those of another policy")],
)
def test_a_checkpoint_of_another_run_is_refused(train, tmp_path, monkeypatch, capsys, objective, width, reason):
    other = kill(train, monkeypatch, tmp_path, objective, parent=make_policy(tmp_path / "other", hidden_size=width))
    foreign = other.rename(tmp_path / "foreign")
    scratch = kill(train, monkeypatch, tmp_path)
    shutil.copy(foreign / "last.ckpt", scratch)
    capsys.readouterr()
    assert train("marge", *VALIDATING) == 2
    assert f"cannot go on from {scratch / 'last.ckpt'}: {reason}; delete the folder" in capsys.readouterr().err


@pytest.mark.parametrize("tamper", [lambda file: torch.save([1], file), lambda file: torch.save(torch.zeros(3), file)])
def test_a_reference_that_is_none_is_not_read(train, tmp_path, monkeypatch, capsys, tamper):
    scratch = kill(train, monkeypatch, tmp_path)
    (reference,) = scratch.glob("reference-*.pt")
    tamper(reference)
    capsys.readouterr()
    assert train("marge", *VALIDATING) == 2
    assert "the reference log-probabilities of its start are not in" in capsys.readouterr().err
    (scratch / "last.ckpt").unlink()
    assert train("marge", *VALIDATING) == 0
