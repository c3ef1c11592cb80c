"""The grammar allows exactly the tokenisations of well-formed texts."""

import numpy as np
import pytest
import torch

from llome.codec import SequenceCodec, format_sequence
from llome.domain import Domain
from llome.errors import PolicyError
from llome.policy.grammar import Grammar


def walk(grammar: Grammar, ids: list[int]) -> bool:
    states = grammar.start(np.zeros((1, 5)))
    for token in ids:
        if not grammar.allowed(states)[0, token]:
            return False
        states = grammar.advance(states, torch.tensor([token]))
    return True


def test_compact_grammar_counts_elements(compact_policy):
    codec = SequenceCodec(compact_policy[1], Domain(6, 5, ""))
    grammar = Grammar(codec, 10)
    states = grammar.start(np.zeros((2, 5)))
    for _ in range(5):
        np.testing.assert_array_equal(np.flatnonzero(grammar.allowed(states)[0]), codec.elements)
        states = grammar.advance(states, torch.tensor(codec.elements[:2]))
    np.testing.assert_array_equal(np.flatnonzero(grammar.allowed(states)[1]), [codec.end_id])


def test_text_grammar_accepts_every_sequence_and_nothing_else(text_policy):
    tokenizer = text_policy[1]
    codec = SequenceCodec(tokenizer, Domain(12, 5, ""))
    assert not codec.compact
    grammar = Grammar(codec, len(tokenizer) + 3)
    rng = np.random.default_rng(0)

    def accepted(text: str) -> bool:
        return walk(grammar, [*tokenizer(text, add_special_tokens=False)["input_ids"], codec.end_id])

    for sequence in rng.integers(0, 12, (50, 5)):
        assert accepted(format_sequence(sequence))
    for text in ["[1, 2, 3, 4]", "[1, 2, 3, 4, 5, 6]", "[1, 2, 3, 4, 12]", "[1, 2, 3, 4, 05]", "[1,2, 3, 4, 5]", "[1, 2, 3, 4, 5",
                 "[1, 2, 3, 4, 5]]", "1, 2, 3, 4, 5]", "[1, 2, , 4, 5]", "[1, 2, 3, 4, 5] "]:  # fmt: skip
        assert not accepted(text), text


def test_other_tokenizers_are_refused(text_policy):
    codec = SequenceCodec(text_policy[1], Domain(12, 5, ""))

    class Broken:
        all_special_ids = ()

        def __len__(self):
            return 3

        def __call__(self, texts, **_):
            return {"input_ids": [[0, 1] for _ in texts]}

        def batch_decode(self, rows):
            return ["x"] * len(rows)

    codec.tokenizer = Broken()
    with pytest.raises(PolicyError, match="grammar: false"):
        Grammar(codec, 3)
