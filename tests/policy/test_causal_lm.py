"""Policy directories: whole or refused, loadable by transformers alone, the same bytes for the same policy."""

import json
import shutil

import numpy as np
import pytest
import torch

from llome.codec import SequenceCodec
from llome.domain import Domain
from llome.errors import PolicyError
from llome.policy.causal_lm import (
    PolicyCard,
    build_small_policy,
    hash_policy,
    load_card,
    load_policy,
    load_pretrained,
    save_policy,
)

CARD = PolicyCard("base", Domain(6, 5, "f" * 16), settings={"hidden_size": 16})


@pytest.fixture
def saved(tmp_path):
    model, tokenizer = build_small_policy(6, 5, hidden_size=16, num_layers=1, num_heads=2, random_seed=3)
    save_policy(tmp_path / "model", model, tokenizer, CARD)
    return tmp_path / "model"


def test_round_trip_keeps_weights_tokenizer_and_card(saved, tmp_path):
    model, tokenizer, card = load_policy(saved)
    again, _ = build_small_policy(6, 5, hidden_size=16, num_layers=1, num_heads=2, random_seed=3)
    for mine, theirs in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert (card.objective, card.domain, card.settings) == (CARD.objective, CARD.domain, CARD.settings)
    assert SequenceCodec(tokenizer, Domain(6, 5, "")).compact
    save_policy(tmp_path / "copy", model, tokenizer, CARD)
    assert hash_policy(tmp_path / "copy") == hash_policy(saved)
    assert {p.name: p.read_bytes() for p in saved.iterdir()} == {
        p.name: p.read_bytes() for p in (tmp_path / "copy").iterdir()
    }


def test_every_file_is_as_readable_as_any_other(saved, tmp_path):
    (tmp_path / "plain").write_text("")
    mode = (tmp_path / "plain").stat().st_mode
    assert {file.stat().st_mode for file in saved.iterdir()} == {mode}


def test_transformers_alone_loads_it(saved):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(saved)
    assert model.config.vocab_size == 10
    assert AutoTokenizer.from_pretrained(saved)("<inc> [3, 1]\n")["input_ids"] == [2, 7, 5, 3]


@pytest.mark.parametrize("name", ["model.safetensors", "config.json", "tokenizer.json", "llome.json"])
def test_a_directory_without_one_file_is_refused(saved, name):
    (saved / name).unlink()
    with pytest.raises(PolicyError, match=name.replace(".", r"\.")):
        load_card(saved)


def test_a_truncated_file_and_a_foreign_card_are_refused(saved):
    weights = (saved / "model.safetensors").read_bytes()
    (saved / "model.safetensors").write_bytes(weights[:-5])
    with pytest.raises(PolicyError, match=f"has {len(weights) - 5} bytes instead of {len(weights)}"):
        load_policy(saved)
    (saved / "llome.json").write_text(json.dumps({"objective": "base"}))
    with pytest.raises(PolicyError, match="not a policy card"):
        load_card(saved)
    with pytest.raises(PolicyError, match="does not exist"):
        load_card(saved / "nowhere")


def test_a_pretrained_directory_gets_padding_and_pickled_weights_are_refused(text_policy, bpe_tokenizer, tmp_path):
    model, _ = text_policy
    model.save_pretrained(tmp_path / "hub")
    bpe_tokenizer.save_pretrained(tmp_path / "hub")
    _, tokenizer = load_pretrained(tmp_path / "hub")
    assert tokenizer.pad_token == "<|padding|>"
    assert tokenizer.padding_side == "left"
    codec = SequenceCodec(tokenizer, Domain(12, 5, ""))
    ids, mask = codec.encode_prompts(np.array([[1, 2, 3, 4, 5], [10, 11, 10, 11, 10]]))
    assert mask[1].all()
    assert not mask[0, 0]
    assert ids[0, 0] == codec.pad_id
    shutil.copy(tmp_path / "hub" / "config.json", tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    bpe_tokenizer.save_pretrained(tmp_path)
    with pytest.raises(PolicyError, match="safetensors"):
        load_pretrained(tmp_path)


def test_widths_that_cannot_be():
    with pytest.raises(PolicyError, match="hidden_size 10 is not a multiple of num_heads 4"):
        build_small_policy(6, 5, hidden_size=10, num_layers=1, num_heads=4, random_seed=0)
