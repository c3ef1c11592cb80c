"""Limits on edits for tokenizers of text: the automaton of characters and the limits of elements, side by side.

A number is an element once a comma or the bracket follows it; until then it is the beginning of one. So a piece that goes on with a
number is allowed if some element that is allowed begins so, and a piece that completes one if that element is allowed, and with it
what the piece says is next: another element, or the end. Pieces that both go on with a number and complete one, or complete several,
are left out: the same text can be written in others, which is how tokenizers that never join digits and punctuation write it anyway.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from llome.codec import SequenceCodec
from llome.policy.grammar import CLOSED, FIRST_VALUE, NUMBER, text_automaton
from llome.policy.limits import limits_of


class TextLimits:
    """See `llome.policy.limits.Mask`. A state holds that of the automaton, then that of the limits."""

    def __init__(self, codec: SequenceCodec, vocabulary_size: int, *, device: str | torch.device = "cpu") -> None:
        """Build the tables; arguments and errors as of `llome.policy.grammar.Grammar`."""
        count = codec.num_states
        following, pieces = text_automaton(codec, vocabulary_size)
        completes = np.zeros(vocabulary_size, dtype=bool)
        for token, piece in pieces:
            ends = piece.count(",") + piece.count("]")
            completes[token] = ends > 0
            if ends > 1 or (ends and any(character.isdigit() for character in piece)):
                following[:, token] = -1
        texts = [str(value) for value in range(count)]
        begins = np.array([[other.startswith(text) for other in texts] for text in texts])
        self.count, self.device = count, torch.device(device)
        self.limits = limits_of(codec.domain, np.arange(count), count, count + 1, device=device)
        self._following = torch.from_numpy(following).to(device)
        self._completes = torch.from_numpy(completes).to(device)
        self._begins = torch.from_numpy(begins.astype(np.float32)).to(device)  # (V, V): what each element begins with

    def start(self, sources: np.ndarray) -> Tensor:
        """See `Mask`."""
        inner = self.limits.start(sources)
        return torch.cat([torch.zeros((len(inner), 1), dtype=inner.dtype, device=self.device), inner], dim=1)

    def allowed(self, states: Tensor) -> Tensor:
        """See `Mask`."""
        automaton, inner = states[:, 0].long(), states[:, 1:]
        following = self._following[automaton]  # (R, vocabulary)
        elements = self.limits.allowed(inner)[:, : self.count]
        begun = elements.float() @ self._begins.T > 0
        # Which state of the automaton a piece may lead to: those that go on, and those that complete the number that has been begun.
        goes_on = torch.zeros((len(states), FIRST_VALUE + self.count), dtype=torch.bool, device=self.device)
        goes_on[:, NUMBER] = True
        goes_on[:, FIRST_VALUE:] = begun
        goes_on[:, CLOSED] = automaton == CLOSED  # and the end token follows
        completed = torch.zeros_like(goes_on)
        value = (automaton - FIRST_VALUE).clamp(min=0)
        whole = (automaton >= FIRST_VALUE) & elements.gather(1, value[:, None])[:, 0]
        then = self.limits.allowed(self.limits.advance(inner, value))
        completed[:] = (whole & then[:, : self.count].any(dim=1))[:, None]
        completed[:, CLOSED] = whole & then[:, self.count]
        to = following.clamp(min=0)
        found = torch.where(self._completes, completed.gather(1, to), goes_on.gather(1, to))
        return found & (following >= 0)

    def advance(self, states: Tensor, tokens: Tensor) -> Tensor:
        """See `Mask`."""
        automaton, inner = states[:, 0].long(), states[:, 1:]
        value = (automaton - FIRST_VALUE).clamp(min=0)
        completed = (self._completes[tokens] & (automaton >= FIRST_VALUE))[:, None]
        inner = torch.where(completed, self.limits.advance(inner, value), inner)
        following = self._following[automaton, tokens].clamp(min=0)
        return torch.cat([following[:, None].to(states.dtype), inner], dim=1)
