"""What the tests of training share: a small labelled problem, and tiny policies with a compact and with a text tokenizer."""

from pathlib import Path

import numpy as np
import pytest

from llome.codec import format_prompt
from llome.domain import Domain
from llome.policy.causal_lm import PolicyCard, build_small_policy, save_policy
from llome.tables import Labeled, Meta

DOMAIN = Domain(num_states=12, length=8, fingerprint="feedfacecafebeef")


def draw_table(total: int, *, seed: int = 0, domain: Domain = DOMAIN) -> Labeled:
    """Clustered sequences with scores in quarters, a fifth of them infeasible."""
    rng = np.random.default_rng(seed)
    base = rng.integers(domain.num_states, size=(4, domain.length))
    rows = base[rng.integers(4, size=3 * total)]
    rows = np.where(rng.random(rows.shape) < 0.15, rng.integers(domain.num_states, size=rows.shape), rows)
    sequences = np.unique(rows, axis=0).astype(np.int16)
    sequences = sequences[rng.permutation(len(sequences))[:total]]
    scores = rng.integers(5, size=len(sequences)) / 4
    scores[rng.random(len(sequences)) < 0.2] = -np.inf
    return Labeled(
        meta=Meta(domain, spent=len(sequences)),
        sequence=sequences,
        score=scores,
        query=np.arange(len(sequences)),
        round=np.ones(len(sequences), dtype=np.int32),
        origin=np.array(["ga"] * len(sequences), dtype=object),
    )


@pytest.fixture(scope="session")
def labeled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A labelled table of 150 sequences."""
    path = tmp_path_factory.mktemp("labeled") / "labeled.parquet"
    draw_table(150).write(path)
    return path


@pytest.fixture(scope="session")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy with the compact tokenizer."""
    path = tmp_path_factory.mktemp("policy") / "model"
    model, tokenizer = build_small_policy(
        DOMAIN.num_states, DOMAIN.length, hidden_size=16, num_layers=1, num_heads=2, random_seed=0
    )
    save_policy(path, model, tokenizer, PolicyCard("base", DOMAIN))
    return path


@pytest.fixture(scope="session")
def text_policy_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny policy with absolute positions and a byte-level tokenizer, whose prompts and completions differ in length."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trained.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=270,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    trained.train_from_iterator([format_prompt([(3 * i + j) % 12 for j in range(8)]) for i in range(40)], trainer)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=trained, eos_token="<|endoftext|>", pad_token="<|padding|>", padding_side="left"
    )
    config = GPT2Config(
        vocab_size=len(tokenizer), n_positions=128, n_embd=16, n_layer=1, n_head=2, bos_token_id=None, eos_token_id=0
    )
    config.resid_pdrop = config.embd_pdrop = config.attn_pdrop = 0.0
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("text_policy") / "model"
    save_policy(path, GPT2LMHeadModel(config), tokenizer, PolicyCard("base", DOMAIN))
    return path
