"""The proposer in memory, with a small model made here; and proposers of the user's own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from llome.errors import ConfigError, PolicyError, ProposerError
from llome.leon.proposers import make_proposer
from llome.leon.proposing import Request
from llome.leon.space import Space

REQUEST = Request(task="x", space=Space.of({"x": {"low": 0, "high": 1}}, "here"), context={}, count=1, seed=7)
TEMPLATE = (
    "{% for m in messages %}{% if m.role == 'system' and no_system %}{{ raise_exception('none') }}{% endif %}"
    "<{{ m.role }}>{{ m.content }}{% endfor %}<assistant>"
)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of random weights that writes single characters."""
    import torch
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM, PreTrainedTokenizerFast

    letters = ["<end>", "<other>", *map(chr, range(32, 127)), "\n"]
    words = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="<other>"))
    words.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    path = tmp_path_factory.mktemp("models") / "tiny"
    PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<other>").save_pretrained(path)
    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=len(letters),
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=1024,
        eos_token_id=0,
        bos_token_id=0,
    )
    GPTNeoXForCausalLM(config).save_pretrained(path)
    return path


def local(directory: Path, **more: Any) -> Any:
    return make_proposer({"name": "hf", "model": str(directory), "device": "cpu", "max_tokens": 24, **more})


def test_answers_are_keyed_by_seed(directory: Path) -> None:
    import torch

    proposer = local(directory)
    assert proposer.name == "tiny"
    state = torch.get_rng_state()
    one, again = proposer.propose(REQUEST), local(directory).propose(REQUEST)
    assert torch.equal(state, torch.get_rng_state())
    other = proposer.propose(Request(**{**vars(REQUEST), "seed": 8}))
    assert one == again
    assert one.text != other.text
    prompt = "\n\n".join(m["content"] for m in REQUEST.messages()) + "\n\n"
    assert one.tokens_in == len(prompt)
    assert 1 <= one.tokens_out <= 24
    likeliest = local(directory, temperature=0.0)
    assert likeliest.propose(REQUEST).text == likeliest.propose(Request(**{**vars(REQUEST), "seed": 8})).text


def test_a_chat_template_is_used(directory: Path) -> None:
    proposer = local(directory)
    system, user = (m["content"] for m in REQUEST.messages())
    proposer._tokenizer.chat_template = TEMPLATE
    assert proposer.propose(REQUEST).tokens_in == len(f"<system>{system}<user>{user}<assistant>")
    proposer._tokenizer.chat_template = TEMPLATE.replace("and no_system", "")
    assert proposer.propose(REQUEST).tokens_in == len(f"<user>{system}\n\n{user}<assistant>")


def test_a_prompt_that_is_too_long_is_refused(directory: Path) -> None:
    long = Request(**{**vars(REQUEST), "task": "x" * 1000})
    with pytest.raises(ProposerError, match=r"which with max_tokens 24 is more than the 1024 of tiny; lower"):
        local(directory).propose(long)


def test_mistakes(directory: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="top_p is 0"):
        local(directory, top_p=0)
    with pytest.raises(PolicyError, match="is not to be had here"):
        local(directory, device="cuda:7")
    with pytest.raises(PolicyError, match="cannot load a causal language model"):
        local(tmp_path / "nothing")
    with pytest.raises(ConfigError, match="unknown key 'trust_remote_code'"):
        local(directory, trust_remote_code=True)


def test_a_proposer_of_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_proposer.py").write_text(
        "from llome.leon.proposing import Answer\n"
        "class Mine:\n"
        "    name = 'mine'\n"
        "    def __init__(self, text): self.text = text\n"
        "    def propose(self, request): return Answer(self.text)\n"
        "class Nameless:\n"
        "    def propose(self, request): return None\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    made = make_proposer({"name": "python", "function": "my_own_proposer:Mine", "arguments": {"text": "[]"}})
    assert (made.name, made.propose(REQUEST).text) == ("mine", "[]")
    for function, said in {
        "my_own_proposer": "give package.module:Name",
        "my_own_proposer:Nobody": "has no attribute 'Nobody'",
        "no_such_module:Mine": "No module named 'no_such_module'",
        "my_own_proposer:Nameless": "makes no proposer",
    }.items():
        with pytest.raises(ConfigError, match=said):
            make_proposer({"name": "python", "function": function})
