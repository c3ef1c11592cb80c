"""What counts as a valid output, for compact and for text tokenizers."""

import numpy as np
import pytest
from transformers import AutoTokenizer

from llome.callbacks.validity import ValidityCallback, validity
from llome.codec import SequenceCodec
from llome.domain import Domain
from llome.errors import ConfigError


def shares_of(path, texts, prompts):
    tokenizer = AutoTokenizer.from_pretrained(path)
    codec = SequenceCodec(tokenizer, Domain(12, 8, ""))
    rows = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    ids = np.full((len(rows), max(map(len, rows)) + 1), codec.pad_id)
    for row, tokens in zip(ids, rows, strict=True):
        row[: len(tokens)] = tokens
    return validity(codec, ids, np.array(prompts), codec.decode_completions(ids)[0])


def test_text(text_policy_path):
    end = "<|endoftext|>"
    texts = [
        f"[1, 2, 3, 4, 5, 6, 7, 8]{end}",  # valid and new
        f"[1, 1, 1, 1, 1, 1, 1, 1]{end}",  # a copy
        f"[1, 2, 3, 4, 5, 6, 7, 12]{end}",  # out of range
        f"[1, 2, 3]{end}",  # too short
        f"[1, 2, 3, 4, 5, 6, 7, 8{end}",  # no list
        "[1, 2, 3, 4, 5, 6, 7, 8]",  # does not end
        f"{end}",
        f"[99]{end}",
    ]
    shares = shares_of(text_policy_path, texts, [[1] * 8] * 8)
    assert shares == {"parsed": 5 / 8, "right_length": 3 / 8, "in_range": 3 / 8, "valid": 2 / 8, "novel": 1 / 8}


def test_compact(policy):
    texts = [
        "1 2 3 4 5 6 7 8<end>",
        "1 1 1 1 1 1 1 1<end>",
        "1 2 3<end>",
        "1 2 3 4\n 5 6 7 8<end>",
        "<end>",
        "1 2 3 4 5 6 7 8",
    ]
    shares = shares_of(policy, texts, [[1] * 8] * 6)
    assert shares == {"parsed": 3 / 6, "right_length": 2 / 6, "in_range": 3 / 6, "valid": 2 / 6, "novel": 1 / 6}


def test_number_of_prompts():
    with pytest.raises(ConfigError, match=r"validity.num_prompts is -1"):
        ValidityCallback(-1)
