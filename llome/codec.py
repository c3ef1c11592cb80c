"""Sequence <-> text <-> token ids, and the compact tokenizer of small policies.

The text is the paper's (appendix A.3.1): the prompt `<inc> [3, 1, 5]` and a line end, the completion `[3, 1, 5]` and the end token.
A pretrained tokenizer sees that text. A small policy built here has a compact tokenizer, one token an element and none for
punctuation, saved as an ordinary tokenizer; `SequenceCodec` recognises it by its behaviour and then maps whole arrays by look-up.
No torch here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llome.domain import PAD, Domain
from llome.errors import PolicyError

CONTROL = "<inc>"
LINE_END = "\n"
END = "<end>"
_PADDING = "<pad>"


def format_sequence(sequence: Sequence[int] | np.ndarray) -> str:
    """`[3, 1, 5]`."""
    return "[" + ", ".join(map(str, np.asarray(sequence).tolist())) + "]"


def format_prompt(sequence: Sequence[int] | np.ndarray) -> str:
    """`<inc> [3, 1, 5]` and a line end."""
    return f"{CONTROL} {format_sequence(sequence)}{LINE_END}"


def parse_sequence(text: str, domain: Domain) -> list[int] | None:
    """The sequence a completion spells, or None unless it is well-formed, of a length and of elements that the problem has."""
    text = text.strip()
    if not (text.startswith("[") and text.endswith("]")):
        return None
    parts = [part.strip() for part in text[1:-1].split(",")]
    if not domain.least <= len(parts) <= domain.length:
        return None
    if not all(part.isascii() and part.isdigit() and len(part) <= 5 for part in parts):
        return None
    values = [int(part) for part in parts]
    return values if max(values) < domain.num_states else None


def compact_tokenizer(num_states: int) -> Any:
    """A fast tokenizer of V + 4 tokens: pad 0, end 1, `<inc>` 2, line end 3, then element e as token e + 4.

    Brackets, commas and blanks are dropped, so the paper's text and the plain elements encode alike.
    """
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {_PADDING: 0, END: 1, CONTROL: 2, LINE_END: 3} | {str(e): e + 4 for e in range(num_states)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token=_PADDING))
    tokenizer.normalizer = normalizers.Replace(Regex(r"[\[\], ]+"), " ")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(" ", "removed"), pre_tokenizers.Split(LINE_END, "isolated")]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=_PADDING,
        eos_token=END,
        additional_special_tokens=[CONTROL],
        padding_side="left",
    )


class SequenceCodec:
    """Encodes prompts and completions of one problem for one tokenizer, and decodes completions, whole arrays at a time."""

    def __init__(self, tokenizer: Any, domain: Domain) -> None:
        """Raises PolicyError where the tokenizer lacks an end or padding token, or does not spell every element."""
        self._whose = f"the tokenizer of {tokenizer.name_or_path}" if tokenizer.name_or_path else "the tokenizer"
        if tokenizer.eos_token_id is None or tokenizer.pad_token_id is None:
            raise PolicyError(
                f"{self._whose} has no end or padding token; save one with both, or let `llome base` prepare the policy"
            )
        self.tokenizer = tokenizer
        self.domain, self.num_states, self.length = domain, domain.num_states, domain.length
        self.end_id: int = tokenizer.eos_token_id
        self.pad_id: int = tokenizer.pad_token_id
        try:
            self._elements = self._find_elements()
            if self._elements is None:
                self._check_spelling()
        except PolicyError:
            raise
        except Exception as err:  # the tokenizers library knows no class of its own
            raise PolicyError(
                f"{self._whose} cannot spell a sequence ({err}); choose a model that reads numbers"
            ) from err

    def _find_elements(self) -> np.ndarray | None:
        """(V,) token of each element if the tokenizer is compact, else None; sets the prompt's fixed ends."""
        probe = [[e] for e in range(self.num_states)]
        prompts = self._tokenize([format_prompt(p) for p in probe])
        completions = self._tokenize([format_sequence(p) for p in probe])
        if {len(ids) for ids in prompts} != {3} or {len(ids) for ids in completions} != {1}:
            return None
        elements = np.array([ids[0] for ids in completions], dtype=np.int64)
        if len(set(elements.tolist())) != self.num_states or self.pad_id in elements or self.end_id in elements:
            raise PolicyError(
                f"{self._whose} knows fewer than {self.num_states} elements; build the base policy for this oracle"
            )
        self._prompt_ends = prompts[0][0], prompts[0][2]
        return elements

    def _check_spelling(self) -> None:
        """Every element must survive encoding and decoding; an unknown token in its place would be learnt as well as any other."""
        count = -(-self.num_states // self.length)
        sequences = np.resize(np.arange(self.num_states), (count, self.length))
        read = self.decode_completions(self.encode_completions(sequences)[0])[0]
        wrong = (read != sequences).any(axis=1)
        if wrong.any():
            raise PolicyError(
                f"{self._whose} does not give back {format_sequence(sequences[wrong.argmax()])}; choose a model that reads"
                " numbers, or let `llome base` build one for this oracle"
            )

    @property
    def compact(self) -> bool:
        """One token an element, none for punctuation."""
        return self._elements is not None

    @property
    def elements(self) -> np.ndarray:
        """(V,) int64 token of each element; compact tokenizers only."""
        if self._elements is None:
            raise PolicyError("only a compact tokenizer has one token an element")
        return self._elements

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False)["input_ids"] if texts else []

    def encode_prompts(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, L) -> ids (N, P) int64, padded on the left, and mask (N, P) bool, False on padding.

        Where lengths differ a compact tokenizer's prompts hold what the arrays hold, and a small policy sees the padding after an end: an
        element then lies as far from its copy whatever the length, and copying is learnt in half the steps.
        """
        if self._elements is None:
            return self._pad(self._tokenize([format_prompt(s) for s in self._trimmed(sequences)]), left=True)
        first, last = self._prompt_ends
        ids = np.empty((len(sequences), self.length + 2), dtype=np.int64)
        ids[:, 0], ids[:, -1] = first, last
        ids[:, 1:-1] = self._elements[sequences]
        if not self.domain.fixed_length:
            ids[:, 1:-1][sequences < 0] = self.pad_id
        return ids, np.ones(ids.shape, dtype=bool)

    def encode_completions(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, L) -> ids (N, T) int64 with the end token, padded on the right, and mask (N, T) bool, False on padding."""
        if self._elements is None:
            return self._pad(
                [[*ids, self.end_id] for ids in self._tokenize([format_sequence(s) for s in self._trimmed(sequences)])],
                left=False,
            )
        if not self.domain.fixed_length:
            return self._differing_completions(sequences)
        ids = np.full((len(sequences), self.length + 1), self.end_id, dtype=np.int64)
        ids[:, :-1] = self._elements[sequences]
        return ids, np.ones(ids.shape, dtype=bool)

    def _trimmed(self, sequences: np.ndarray) -> np.ndarray | list[np.ndarray]:
        return sequences if self.domain.fixed_length else [row[row >= 0] for row in sequences]

    def _differing_completions(self, sequences: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        lengths = (sequences >= 0).sum(axis=1)
        columns = np.arange(lengths.max(initial=-1) + 1)
        ids = np.full((len(sequences), self.length + 1), self.end_id, dtype=np.int64)
        ids[:, :-1] = self.elements[sequences]  # beyond an end: overwritten
        ids, ends = ids[:, : len(columns)], lengths[:, None]
        mask = columns <= ends
        return np.where(columns == ends, self.end_id, np.where(mask, ids, self.pad_id)), mask

    def _pad(self, rows: list[list[int]], left: bool) -> tuple[np.ndarray, np.ndarray]:
        lengths = np.array([len(row) for row in rows], dtype=np.int64)
        columns = np.arange(lengths.max(initial=0))
        mask = columns >= (len(columns) - lengths)[:, None] if left else columns < lengths[:, None]
        ids = np.full(mask.shape, self.pad_id, dtype=np.int64)
        ids[mask] = np.fromiter((i for row in rows for i in row), dtype=np.int64, count=int(lengths.sum()))
        return ids, mask

    def decode_completions(self, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, T) token ids, anything after the first end token ignored -> sequences (N, L) int16 and parsed (N,) bool.

        Rows that are not well-formed, of a length that the problem has and in range, or that never end, are -1 and not parsed.
        """
        ended = ids == self.end_id
        lengths = np.where(ended.any(axis=1), ended.argmax(axis=1), -1)
        sequences = np.full((len(ids), self.length), -1, dtype=np.int16)
        if self._elements is not None:
            parsed = (lengths >= self.domain.least) & (lengths <= self.length)
            table = np.full(int(max(ids.max(initial=0), self._elements.max())) + 1, PAD, dtype=np.int16)
            table[self._elements] = np.arange(self.num_states)
            values = table[ids[:, : self.length]]
            inside = np.arange(values.shape[1]) < lengths[:, None]
            parsed &= ((values >= 0) | ~inside).all(axis=1)
            sequences[parsed, : values.shape[1]] = np.where(inside, values, PAD)[parsed]
            return sequences, parsed
        parsed = np.zeros(len(ids), dtype=bool)
        texts = self.tokenizer.batch_decode(
            [row[: max(n, 0)] for row, n in zip(ids.tolist(), lengths.tolist(), strict=True)]
        )
        for i, (text, n) in enumerate(zip(texts, lengths.tolist(), strict=True)):
            values_or_none = parse_sequence(text, self.domain) if n >= 0 else None
            if values_or_none is not None:
                sequences[i, : len(values_or_none)], parsed[i] = values_or_none, True
        return sequences, parsed
