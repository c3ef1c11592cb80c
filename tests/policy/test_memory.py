"""The tokens of a batch: the sizes they are counted by, against what the sampler allocates, and what happens where memory is short."""

import numpy as np
import pytest
import torch

from llome.codec import SequenceCodec
from llome.domain import Domain
from llome.draws import row_keys
from llome.policy import memory
from llome.policy.sampling import Sampler, row_tokens
from llome.policy.tree import TreeCache


@pytest.fixture
def compact(compact_policy):
    model, tokenizer = compact_policy
    return model, SequenceCodec(tokenizer, Domain(6, 5, ""))


def test_the_size_of_a_row_is_counted_by_hand(compact, text_policy):
    """2 layers, 2 heads of 8, width 16, inner 64, float64; grouped queries: 2 of 4 heads of width 4 are cached, inner 32."""
    model = compact[0]
    vocabulary = model.get_output_embeddings().weight.shape[0]
    assert memory.row_bytes(model, 13) == 13 * (2 * 2 * 2 * 8 + 8 * 16 + 2 * 64) * 8 + 32 * vocabulary
    llama, vocabulary = text_policy[0], text_policy[0].get_output_embeddings().weight.shape[0]
    assert memory.row_bytes(llama, 7) == 7 * (2 * 2 * 2 * 4 + 8 * 16 + 2 * 32) * 8 + 32 * vocabulary


@pytest.mark.parametrize("which", ["compact_policy", "text_policy"])
def test_the_cache_of_a_batch_is_within_what_was_counted(which, request, monkeypatch):
    model, tokenizer = request.getfixturevalue(which)
    codec = SequenceCodec(tokenizer, Domain(6, 5, ""))
    held = []
    start = TreeCache.__init__

    def noted(self, *args):
        start(self, *args)
        held.append(sum(t.nbytes for pairs in (self.prefix, self.suffix) for pair in pairs for t in pair))

    monkeypatch.setattr(TreeCache, "__init__", noted)
    keys = row_keys(0, np.arange(9)[:, None])
    Sampler(model, codec).sample(np.random.default_rng(0).integers(0, 6, (9, 5)), np.ones(9), keys)
    assert 0 < held[0] <= 9 * memory.row_bytes(model, row_tokens(codec))


def test_room_enough_gives_the_same_batches_everywhere(compact, capsys):
    sampler = Sampler(*compact)
    assert sampler.rows_per_batch == memory.DEFAULT_TOKENS["cpu"] // row_tokens(compact[1])
    assert capsys.readouterr().err == ""


def test_little_memory_means_smaller_batches_and_a_message(compact, monkeypatch, capsys):
    model, codec = compact
    width = row_tokens(codec)
    monkeypatch.setattr(memory, "free_bytes", lambda device: 100 * memory.row_bytes(model, width))
    assert Sampler(model, codec).rows_per_batch == 60  # .6 of the free memory
    message = capsys.readouterr().err
    assert f"batches hold {60 * width:,} tokens instead of 262,144" in message
    assert "max_batch_tokens" in message
    monkeypatch.setattr(memory, "free_bytes", lambda device: 0)
    assert Sampler(model, codec).rows_per_batch == 1  # it is tried
    assert Sampler(model, codec, max_batch_tokens=10 * width).rows_per_batch == 10  # asked for


def test_free_memory_is_what_the_control_group_leaves(monkeypatch, tmp_path):
    free = memory.free_bytes(torch.device("cpu"))
    assert free > 2**20
    (tmp_path / "memory.max").write_text("3000000\n")
    (tmp_path / "memory.current").write_text("1000000\n")
    monkeypatch.setattr(memory, "_control_group", lambda: str(tmp_path))
    assert memory.free_bytes(torch.device("cpu")) == 2_000_000
    (tmp_path / "memory.max").write_text("max\n")
    assert memory.free_bytes(torch.device("cpu")) > 2_000_000
