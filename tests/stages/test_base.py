"""Stage `base`: a small policy that has learnt to copy, a pretrained one taken over whole, refusals."""

import numpy as np
import pytest

from llome.cli import main
from llome.data.copies import copies_with_edits
from llome.domain import Domain
from llome.draws import row_keys
from llome.policy.causal_lm import codec_for, load_card, load_policy
from llome.policy.sampling import Sampler
from llome.tables import Labeled, Meta

DOMAIN = Domain(6, 5, "a" * 16)


@pytest.fixture
def labeled(tmp_path):
    sequence = np.stack(np.unravel_index(np.random.default_rng(0).permutation(6**5)[:400], (6,) * 5), axis=1).astype(
        np.int16
    )
    score = np.where(np.arange(400) % 5 == 0, -np.inf, 0.5)
    table = Labeled(
        Meta(DOMAIN, spent=400),
        sequence,
        score,
        np.arange(400),
        np.ones(400, np.int32),
        np.array(["ga"] * 400, dtype=object),
    )
    table.write(tmp_path / "labeled.parquet")
    return table


def run(folder, *options):
    return main(["base", f"--labeled={folder}/labeled.parquet", f"--out={folder}/model", "--device=cpu", *options])


def test_copies_are_edited_at_the_given_rate():
    sequences = np.zeros((10, 20), dtype=np.int16)
    everything, examples = copies_with_edits(sequences, 5000, domain=Domain(5, 20, ""), edit_rate=0.1, random_seed=3)
    assert everything.shape == (5010, 20)
    np.testing.assert_array_equal(np.bincount(examples.sources), np.full(10, 500))
    copies = everything[examples.targets[:, 0]]
    expected = 0.1 * 4 / 5  # an element redrawn may stay
    assert abs((copies != 0).mean() - expected) < 5 * np.sqrt(expected * (1 - expected) / copies.size)
    np.testing.assert_allclose(np.bincount(copies[copies > 0])[1:] / (copies > 0).sum(), 0.25, atol=0.02)
    np.testing.assert_array_equal(everything[:10], sequences)


def test_the_warm_up_teaches_copying(tmp_path, labeled):
    options = [
        "--hidden_size=32",
        "--num_heads=2",
        "--warmup_steps=250",
        "--warmup_learning_rate=0.01",
        "--warmup_batch_size=64",
    ]
    assert run(tmp_path, *options, "--warmup_edit_rate=0.02") == 0
    model, tokenizer, card = load_policy(tmp_path / "model")
    samples = Sampler(model, codec_for(tokenizer, card)).sample(
        labeled.sequence[:100], np.zeros(100), row_keys(0, np.arange(100)[:, None])
    )
    assert samples.parsed.mean() > 0.95
    assert (samples.sequences[:, 0] == labeled.sequence[:100]).mean() > 0.9
    assert card.objective == "base"
    assert card.settings["warmup_edit_rate"] == 0.02
    assert not (tmp_path / ".scratch").exists() or not list((tmp_path / ".scratch").iterdir())


def test_the_same_seed_gives_the_same_bytes(tmp_path, labeled):
    weights = []
    for seed in (1, 1, 2):
        assert run(tmp_path, "--hidden_size=16", "--num_heads=2", "--warmup_steps=3", f"--random_seed={seed}") == 0
        weights.append((tmp_path / "model" / "model.safetensors").read_bytes())
    assert weights[0] == weights[1] != weights[2]


def test_a_pretrained_directory_is_taken_over(tmp_path, labeled, capsys):
    import torch
    from transformers import AutoModelForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM

    from llome.codec import compact_tokenizer

    torch.manual_seed(0)
    config = GPTNeoXConfig(
        vocab_size=10, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
    )
    pretrained = GPTNeoXForCausalLM(config)
    pretrained.save_pretrained(tmp_path / "hub")
    compact_tokenizer(6).save_pretrained(tmp_path / "hub")
    assert run(tmp_path, f"--pretrained={tmp_path}/hub") == 0
    taken = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    for mine, theirs in zip(taken.parameters(), pretrained.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    assert load_card(tmp_path / "model").domain == DOMAIN
    capsys.readouterr()
    assert run(tmp_path, f"--pretrained={tmp_path}/nowhere") == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--warmup_steps=-1", "warmup_steps is -1"),
        ("--warmup_edit_rate=2", "warmup_edit_rate is 2"),
        ("--num_heads=7", "num_heads 7"),
    ],
)
def test_impossible_settings_are_refused(tmp_path, labeled, capsys, option, words):
    assert run(tmp_path, option) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "model").exists()
