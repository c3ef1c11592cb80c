"""The grammar of a completion as token tables: well-formed, of a right length, in range, for any tokenizer.

The text `[3, 1, 5]` is read by a small automaton of characters; a token is allowed in a state if all its characters are. Two counters
suffice whatever the length: the automaton's state (which number has been begun) and how many elements are still to come, so the tables
are (states, vocabulary) and are built once. A compact tokenizer has a one-state automaton.
"""

from __future__ import annotations

import numpy as np
import torch

from llome.codec import SequenceCodec, format_sequence
from llome.errors import PolicyError

_START, NUMBER, _COMMA, CLOSED = range(4)
"""States of the automaton: before the list, before a number, after a comma, after the list."""
FIRST_VALUE = 4
"""The first of those that are the number read so far."""


class Grammar:
    """Which tokens may come next, for rows that are each in a state (automaton state, elements that are still to come)."""

    def __init__(self, codec: SequenceCodec, vocabulary_size: int, *, device: str | torch.device = "cpu") -> None:
        """Build the tables.

        Args:
            codec: of the policy's tokenizer and problem.
            vocabulary_size: size of the logits' last axis, which may exceed the tokenizer's.
            device: where the tables lie.

        Raises:
            PolicyError: the tokenizer's pieces do not spell the text.
        """
        if codec.compact:
            following = np.full((1, vocabulary_size), -1, dtype=np.int64)
            following[0, codec.elements] = 0
            gain = (following >= 0).astype(np.int64)
            closes = np.zeros(following.shape, dtype=bool)
            following[0, codec.end_id], closes[0, codec.end_id] = 0, True
        else:
            following, gain, closes = _text_tables(codec, vocabulary_size)
        self._remaining = codec.length if codec.compact else codec.length - 1  # elements, or commas, at most
        slack = codec.length - codec.domain.least
        most = int(gain.max()) + 1
        # What is allowed depends on whether so much may come, up to `most`, and on whether so little need: numbers alike are one kind.
        counts = np.arange(self._remaining + 1)
        kinds = np.stack([np.minimum(counts, most), np.clip(counts - slack, 0, most)], axis=1)
        _, first, kind = np.unique(kinds, axis=0, return_index=True, return_inverse=True)
        to_come = counts[first][None, :, None]
        fits = gain[:, None] <= to_come
        fits &= ~closes[:, None] | (gain[:, None] >= to_come - slack)
        self._kind = torch.from_numpy(kind.reshape(-1)).to(device)  # of each number to come
        self._allowed = torch.from_numpy((following >= 0)[:, None] & fits).to(device)  # (states, kinds, vocabulary)
        self._next, self._gain = torch.from_numpy(following).to(device), torch.from_numpy(gain).to(device)

    def start(self, sources: np.ndarray) -> torch.Tensor:
        """(rows, 2) int64 states before the first token of edits of `sources` (rows, L)."""
        return torch.tensor([0, self._remaining], device=self._next.device).expand(len(sources), 2)

    def allowed(self, states: torch.Tensor) -> torch.Tensor:
        """(rows, 2) states -> (rows, vocabulary) bool."""
        return self._allowed[states[:, 0], self._kind[states[:, 1]]]

    def advance(self, states: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
        """States after `tokens` (rows,), each of which was allowed; a row that has ended may go anywhere."""
        where = states[:, 0]
        following = self._next[where, tokens].clamp(min=0)
        return torch.stack([following, (states[:, 1] - self._gain[where, tokens]).clamp(min=0)], dim=1)


def _text_tables(codec: SequenceCodec, vocabulary_size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(states, vocabulary) each: the state after a token (-1 not allowed), commas it holds, whether it closes the list."""
    following, pieces = text_automaton(codec, vocabulary_size)
    commas = np.zeros(vocabulary_size, dtype=np.int64)
    for token, piece in pieces:
        commas[token] = piece.count(",")
    return following, np.where(following >= 0, commas, 0), following == CLOSED


def text_automaton(codec: SequenceCodec, vocabulary_size: int) -> tuple[np.ndarray, list[tuple[int, str]]]:
    """(states, vocabulary) the state after a token, -1 where it is not allowed; and (token, text) of all that spell the text."""
    states, pieces = FIRST_VALUE + codec.num_states, _spelling_pieces(codec)
    following = np.full((states, vocabulary_size), -1, dtype=np.int64)
    for token, piece in pieces:
        for start in range(states):
            state = start
            for character in piece:
                state = _step(state, character, codec.num_states)
                if state < 0:
                    break
            else:
                following[start, token] = state
    following[CLOSED, codec.end_id] = CLOSED
    return following, pieces


def _step(state: int, character: str, num_states: int) -> int:
    """One character of `[n, n, ...]`; -1 where it is not allowed. Values 0..V-1 are states too: the number read so far."""
    if state == _START:
        return NUMBER if character == "[" else -1
    if state == _COMMA:
        return NUMBER if character == " " else -1
    if state == NUMBER:
        return FIRST_VALUE + int(character) if character.isdigit() and int(character) < num_states else -1
    if state >= FIRST_VALUE:
        value = state - FIRST_VALUE
        if character == ",":
            return _COMMA
        if character == "]":
            return CLOSED
        if character.isdigit() and value and 10 * value + int(character) < num_states:
            return FIRST_VALUE + 10 * value + int(character)
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
