"""Sequence <-> text <-> ids, for the compact tokenizer and for one that knows only text."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from lengths import draw_sequences, plain

from llome.codec import SequenceCodec, compact_tokenizer, format_prompt, format_sequence, parse_sequence
from llome.domain import PAD, Domain
from llome.errors import PolicyError

V, L = 12, 5


@pytest.fixture(scope="module")
def sequences() -> np.ndarray:
    return np.random.default_rng(0).integers(0, V, (40, L)).astype(np.int16)


@pytest.fixture(scope="module")
def text_tokenizer() -> Any:
    """A byte-level BPE as Pythia's, learnt from prompts: tokens that span digits, commas and blanks."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    rng = np.random.default_rng(1)
    texts = [format_prompt(row) for row in rng.integers(0, V, (200, L))]
    trainer = trainers.BpeTrainer(
        vocab_size=300,
        special_tokens=["<|endoftext|>", "<|pad|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>", padding_side="left"
    )


def codec_of(kind: str, text_tokenizer: Any) -> SequenceCodec:
    return SequenceCodec(compact_tokenizer(V) if kind == "compact" else text_tokenizer, Domain(V, L, ""))


def test_the_text_is_the_papers() -> None:
    assert format_sequence([3, 1, 5]) == "[3, 1, 5]"
    assert format_prompt(np.array([3, 1, 5])) == "<inc> [3, 1, 5]\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[3, 1, 5]", [3, 1, 5]),
        (" [3,1,  5]\n", [3, 1, 5]),
        ("[03, 1, 5]", [3, 1, 5]),
        ("[3, 1]", None),
        ("[3, 1, 5, 5]", None),
        ("[3, 1, 12]", None),
        ("[3, 1, -1]", None),
        ("[3, 1, 5", None),
        ("3, 1, 5]", None),
        ("[3, 1, 5] [3, 1, 5]", None),
        ("[3, 1, ]", None),
        ("[3, 1, x]", None),
        ("[3, 1, 5.0]", None),
        ("[3, 1, ²]", None),
        ("[3, 1, 99999999999999999999]", None),
        ("[]", None),
        ("", None),
    ],
)
def test_parsing(text: str, expected: list[int] | None) -> None:
    assert parse_sequence(text, Domain(V, 3, "")) == expected


@pytest.mark.parametrize("kind", ["compact", "text"])
def test_completions_round_trip(kind: str, text_tokenizer: Any, sequences: np.ndarray) -> None:
    codec = codec_of(kind, text_tokenizer)
    assert codec.compact == (kind == "compact")
    ids, mask = codec.encode_completions(sequences)
    assert (ids[np.arange(len(ids)), mask.sum(axis=1) - 1] == codec.end_id).all()
    assert (ids[~mask] == codec.pad_id).all()
    decoded, parsed = codec.decode_completions(ids)
    assert parsed.all()
    np.testing.assert_array_equal(decoded, sequences)
    assert decoded.dtype == np.int16


@pytest.mark.parametrize("kind", ["compact", "text"])
def test_prompts_are_padded_on_the_left_and_spell_the_text(
    kind: str, text_tokenizer: Any, sequences: np.ndarray
) -> None:
    codec = codec_of(kind, text_tokenizer)
    ids, mask = codec.encode_prompts(sequences)
    assert (np.diff(mask.astype(int), axis=1) >= 0).all()
    for row, keep, sequence in zip(ids, mask, sequences, strict=True):
        assert row[keep].tolist() == codec.tokenizer(format_prompt(sequence), add_special_tokens=False)["input_ids"]


def test_the_compact_tokenizer_spends_one_token_an_element() -> None:
    codec = SequenceCodec(compact_tokenizer(V), Domain(V, L, ""))
    ids, _ = codec.encode_prompts(np.array([[0, 1, 2, 10, 11]]))
    assert ids.tolist() == [[2, 4, 5, 6, 14, 15, 3]]
    ids, _ = codec.encode_completions(np.array([[0, 1, 2, 10, 11]]))
    assert ids.tolist() == [[4, 5, 6, 14, 15, 1]]


@pytest.mark.parametrize("kind", ["compact", "text"])
def test_what_is_no_sequence_is_not_parsed(kind: str, text_tokenizer: Any) -> None:
    codec = codec_of(kind, text_tokenizer)
    whole = codec.encode_completions(np.array([[1, 2, 3, 4, 5]]))[0][0]
    width = len(whole) + 6

    def row(ids: Any) -> list[int]:
        return [*map(int, ids), *([codec.pad_id] * width)][:width]

    def words(values: list[int]) -> list[int]:
        return codec.tokenizer(format_sequence(values), add_special_tokens=False)["input_ids"]

    ids = np.array(
        [
            row(whole),
            row([*whole, *words([7, 7])]),  # what follows the end does not count
            row(whole[:-1]),  # never ends
            row([*words([1, 2, 3, 4]), codec.end_id]),  # too short
            row([*words([1, 2, 3, 4, 5, 6]), codec.end_id]),  # too long
            row([codec.end_id]),  # empty
            row([codec.pad_id] * width),
        ]
    )
    decoded, parsed = codec.decode_completions(ids)
    assert parsed.tolist() == [True, True, False, False, False, False, False]
    assert decoded[:2].tolist() == [[1, 2, 3, 4, 5]] * 2
    assert (decoded[2:] == -1).all()


def test_an_element_out_of_range_is_not_parsed(text_tokenizer: Any) -> None:
    wide = SequenceCodec(text_tokenizer, Domain(50, L, ""))
    ids, _ = wide.encode_completions(np.array([[1, 2, 3, 4, 12], [1, 2, 3, 4, 11]]))
    _, parsed = SequenceCodec(text_tokenizer, Domain(V, L, "")).decode_completions(ids)
    assert parsed.tolist() == [False, True]
    # special tokens of the compact vocabulary where an element belongs
    compact = SequenceCodec(compact_tokenizer(V), Domain(V, L, ""))
    ids, _ = compact.encode_completions(np.array([[1, 2, 3, 4, 5]] * 2))
    ids[0, 2] = 2
    assert compact.decode_completions(ids)[1].tolist() == [False, True]


def test_the_compact_tokenizer_survives_saving(tmp_path: Any, sequences: np.ndarray) -> None:
    from transformers import AutoTokenizer

    compact_tokenizer(V).save_pretrained(tmp_path)
    before, after = (
        SequenceCodec(t, Domain(V, L, "")) for t in (compact_tokenizer(V), AutoTokenizer.from_pretrained(tmp_path))
    )
    assert after.compact
    np.testing.assert_array_equal(after.encode_prompts(sequences)[0], before.encode_prompts(sequences)[0])
    assert (after.end_id, after.pad_id) == (before.end_id, before.pad_id)


def test_tokenizers_that_cannot_serve_are_refused(text_tokenizer: Any) -> None:
    with pytest.raises(PolicyError, match="fewer than 32 elements"):
        SequenceCodec(compact_tokenizer(V), Domain(32, L, ""))
    with pytest.raises(PolicyError, match="only a compact tokenizer"):
        _ = SequenceCodec(text_tokenizer, Domain(V, L, "")).elements
    bare = compact_tokenizer(V)
    bare.eos_token = None
    with pytest.raises(PolicyError, match="no end or padding token"):
        SequenceCodec(bare, Domain(V, L, ""))


def test_no_sequences_encode_to_no_rows(text_tokenizer: Any) -> None:
    for kind in ("compact", "text"):
        ids, mask = codec_of(kind, text_tokenizer).encode_prompts(np.empty((0, L), dtype=np.int16))
        assert len(ids) == len(mask) == 0


@pytest.mark.parametrize("kind", ["compact", "text"])
def test_lengths_may_differ(kind: str, text_tokenizer: Any) -> None:
    domain = Domain(V, L, "", shortest=1)
    rows = draw_sequences(60, domain)
    rows[0, 1:] = PAD
    codec = SequenceCodec(compact_tokenizer(V) if kind == "compact" else text_tokenizer, domain)
    ids, mask = codec.encode_prompts(rows)
    assert (np.diff(mask.astype(int), axis=1) >= 0).all()
    assert (ids[~mask] == codec.pad_id).all()
    for row, keep, sequence in zip(ids, mask, rows, strict=True):
        text = format_prompt(plain(sequence))
        if kind == "compact":  # padding is part of the prompt
            assert keep.all()
            text = text.replace("]", ", <pad>" * int((sequence < 0).sum()) + "]")
        assert row[keep].tolist() == codec.tokenizer(text, add_special_tokens=False)["input_ids"]
    ids, mask = codec.encode_completions(rows)
    assert (np.diff(mask.astype(int), axis=1) <= 0).all()
    assert (ids[~mask] == codec.pad_id).all()
    assert (ids[np.arange(len(ids)), mask.sum(axis=1) - 1] == codec.end_id).all()
    decoded, parsed = codec.decode_completions(ids)
    assert parsed.all()
    np.testing.assert_array_equal(decoded, rows)
    for part in (rows[:1], rows[:0]):  # no wider than it need be
        assert codec.encode_completions(part)[0].shape[0] == len(part)
        if len(part):
            np.testing.assert_array_equal(codec.decode_completions(codec.encode_completions(part)[0])[0], part)
    narrower = SequenceCodec(codec.tokenizer, Domain(V, L - 1, "", shortest=2))
    decoded, parsed = narrower.decode_completions(ids)
    lengths = (rows >= 0).sum(axis=1)
    np.testing.assert_array_equal(parsed, (lengths >= 2) & (lengths <= L - 1))
    np.testing.assert_array_equal(decoded[parsed], rows[parsed, : L - 1])
    assert (decoded[~parsed] == PAD).all()
