"""Small policies: compact, and one with a byte-level BPE tokenizer such as Pythia's, trained here."""

import pytest

from llome.codec import format_prompt
from llome.policy.causal_lm import build_small_policy


@pytest.fixture(scope="session")
def compact_policy():
    """(model in float64, tokenizer) for V 6, L 5; weights scaled up so that its distributions are far from flat."""
    model, tokenizer = build_small_policy(6, 5, hidden_size=16, num_layers=2, num_heads=2, random_seed=1)
    model = model.double()
    for parameter in model.parameters():
        parameter.data.mul_(8.0)
    return model, tokenizer


@pytest.fixture(scope="session")
def bpe_tokenizer():
    """A byte-level BPE tokenizer whose pieces cut the text in uneven ways."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    texts = [format_prompt([(3 * i + j) % 12 for j in range(5)]) for i in range(40)]
    trainer = trainers.BpeTrainer(
        vocab_size=290,
        special_tokens=["<|endoftext|>", "<|padding|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>")


@pytest.fixture(scope="session")
def text_policy(bpe_tokenizer):
    """(model in float64, tokenizer) for V 12, L 5 with the BPE tokenizer; a Llama with grouped-query attention."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=len(bpe_tokenizer) + 3,  # embeddings padded beyond the tokenizer, as Pythia's are
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        bos_token_id=None,
        eos_token_id=bpe_tokenizer.eos_token_id,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).double().eval()
    for parameter in model.parameters():
        parameter.data.mul_(4.0)
    tokenizer = bpe_tokenizer
    tokenizer.pad_token, tokenizer.padding_side = "<|padding|>", "left"
    return model, tokenizer
