"""Alphabets and what a problem's sequences look like."""

from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest

from llome.domain import PAD, Alphabet, Domain
from llome.errors import ConfigError


def test_named_and_listed_alphabets() -> None:
    assert Alphabet.of("dna").letters == ("A", "C", "G", "T")
    assert len(Alphabet.of("Protein").letters) == 20
    assert Alphabet.of("01") == Alphabet.of(["0", "1"]) == Alphabet.of(2)


@pytest.mark.parametrize(
    ("setting", "text", "sequence"),
    [
        ("dna", "GATTACA", [2, 0, 3, 3, 0, 1, 0]),
        (32, "31 0 7", [31, 0, 7]),
        (["Ala", "Cys"], "Cys Ala Cys", [1, 0, 1]),
        (8, "7 0", [7, 0]),
    ],
)
def test_text_and_back(setting: str | int | list[str], text: str, sequence: list[int]) -> None:
    alphabet = Alphabet.of(setting)
    assert alphabet.encode(text) == sequence
    padded = np.array([[*sequence, PAD, PAD], [*sequence, 0, 1]])
    assert alphabet.decode(padded) == [text, alphabet.separator.join([text, alphabet.letters[0], alphabet.letters[1]])]
    assert alphabet.decode(np.empty((0, 3), dtype=np.int16)) == []
    assert alphabet.decode(np.full((1, 2), PAD)) == [""]


@pytest.mark.parametrize(
    ("setting", "said"),
    [("A", "two letters or more"), ("ABA", "'A' comes twice"), (["A", ""], "'' is no letter"), (["A", "B C"], "'B C'")],
)
def test_what_is_no_alphabet(setting: str | list[str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Alphabet.of(setting)


def test_a_letter_that_is_missing_is_named() -> None:
    with pytest.raises(ConfigError, match="'GAUC' has the letter 'U', which is not in the alphabet ACGT"):
        Alphabet.of("dna").encode("GAUC")


def test_a_domain_survives_json() -> None:
    domain = Domain(20, 12, "print", shortest=8, letters=tuple("AC"), wild_type=(0, 1), protected=(3,), max_edits=2)
    assert Domain(**json.loads(json.dumps(asdict(domain)))) == domain
    assert (domain.fixed_length, domain.describe()) == (False, "V 20, L 8-12")
    assert (Domain(4, 8, "print").fixed_length, Domain(4, 8, "print").describe()) == (True, "V 4, L 8")
