"""The grammar of a completion as token tables: well-formed, of the right length, in range, for any tokenizer.

The text `[3, 1, 5]` is read by a small automaton of characters; a token is allowed in a state if all its characters are. Two counters
suffice whatever the length: the automaton's state (which number has been begun) and how many elements are complete, so the tables are
(states, vocabulary) and are built once. A compact tokenizer has a one-state automaton.
"""

from __future__ import annotations

import numpy as np

from llome.codec import SequenceCodec, format_sequence
from llome.errors import PolicyError

_START, _NUMBER, _COMMA, _CLOSED = range(4)
_FIRST_VALUE = 4


class Grammar:
    """Which tokens may come next, for rows that are each in a state (automaton state, elements complete)."""

    def __init__(self, codec: SequenceCodec, vocabulary_size: int) -> None:
        """Build the tables.

        Args:
            codec: of the policy's tokenizer and problem.
            vocabulary_size: size of the logits' last axis, which may exceed the tokenizer's.

        Raises:
            PolicyError: the tokenizer's pieces do not spell the text.
        """
        self.length = codec.length
        self.end_id = codec.end_id
        if codec.compact:
            self._limit = codec.length
            self._next = np.full((1, vocabulary_size), -1, dtype=np.int32)
            self._next[0, codec.elements] = 0
            self._gain = (self._next >= 0).astype(np.int32)
            self._closes = np.zeros(self._next.shape, dtype=bool)
            self._next[0, codec.end_id], self._closes[0, codec.end_id] = 0, True
        else:
            self._limit = codec.length - 1
            self._build_text_tables(codec, vocabulary_size)

    def _build_text_tables(self, codec: SequenceCodec, vocabulary_size: int) -> None:
        pieces = _spelling_pieces(codec)
        states = _FIRST_VALUE + codec.num_states
        self._next = np.full((states, vocabulary_size), -1, dtype=np.int32)
        self._gain = np.zeros((states, vocabulary_size), dtype=np.int32)
        self._closes = np.zeros((states, vocabulary_size), dtype=bool)
        for token, piece in pieces:
            for start in range(states):
                state, commas = start, 0
                for character in piece:
                    state = _step(state, character, codec.num_states)
                    commas += character == ","
                    if state < 0:
                        break
                else:
                    self._next[start, token], self._gain[start, token] = state, commas
                    self._closes[start, token] = state == _CLOSED
        self._next[_CLOSED, codec.end_id] = _CLOSED
        self._closes[_CLOSED, codec.end_id] = True

    def start(self, rows: int) -> np.ndarray:
        """(rows, 2) int32 states before the first token."""
        return np.zeros((rows, 2), dtype=np.int32)

    def allowed(self, states: np.ndarray) -> np.ndarray:
        """(rows, 2) states -> (rows, vocabulary) bool."""
        where, count = states[:, 0], states[:, 1, None] + self._gain[states[:, 0]]
        closes = self._closes[where]
        return (self._next[where] >= 0) & np.where(closes, count == self._limit, count <= self._limit)

    def advance(self, states: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """States after `tokens` (rows,), each of which must have been allowed."""
        where = states[:, 0]
        return np.stack([self._next[where, tokens], states[:, 1] + self._gain[where, tokens]], axis=1)


def _step(state: int, character: str, num_states: int) -> int:
    """One character of `[n, n, ...]`; -1 where it is not allowed. Values 0..V-1 are states too: the number read so far."""
    if state == _START:
        return _NUMBER if character == "[" else -1
    if state == _COMMA:
        return _NUMBER if character == " " else -1
    if state == _NUMBER:
        return _FIRST_VALUE + int(character) if character.isdigit() and int(character) < num_states else -1
    if state >= _FIRST_VALUE:
        value = state - _FIRST_VALUE
        if character == ",":
            return _COMMA
        if character == "]":
            return _CLOSED
        if character.isdigit() and value and 10 * value + int(character) < num_states:
            return _FIRST_VALUE + 10 * value + int(character)
    return -1


def _spelling_pieces(codec: SequenceCodec) -> list[tuple[int, str]]:
    """(token, text) of every token made of the text's characters alone. Raises PolicyError if pieces do not add up to the text."""
    tokenizer = codec.tokenizer
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[i] for i in range(len(tokenizer))])
    pieces = {
        i: text for i, text in enumerate(texts) if text and i not in special and set(text) <= set("[], 0123456789")
    }
    probe = format_sequence(np.arange(codec.num_states))
    ids = tokenizer([probe], add_special_tokens=False)["input_ids"][0]
    if "".join(pieces.get(i, "?") for i in ids) != probe:
        raise PolicyError(
            "the grammar mask does not fit this tokenizer (its pieces do not spell '[0, 1, ...]'); set grammar: false"
        )
    return list(pieces.items())
