"""Alphabets and what a problem's sequences look like."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

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
    domain = Domain(4, 12, "print", shortest=2, letters=tuple("ACGT"), wild_type=(0, 1, 3), max_edits=2)
    assert Domain(**json.loads(json.dumps(asdict(domain)))) == domain
    assert (domain.fixed_length, domain.describe()) == (False, "V 4, L 2-12")
    assert (Domain(4, 8, "print").fixed_length, Domain(4, 8, "print").describe()) == (True, "V 4, L 8")


WRONG = [
    ({"wild_type": (0, 1)}, "the wild type has length 2, but sequences have 4"),
    ({"shortest": 3, "wild_type": (0, 1)}, "the wild type has length 2, but sequences have 3-4"),
    ({"wild_type": (0, 1, 2, 5)}, "an element outside 0..4"),
    ({"protected": (0, 4)}, "protected position 4 is outside 0..3"),
    ({"protected": (-1,)}, "protected position -1 is outside 0..3"),
    ({"protected": (0,), "shortest": 3}, "need sequences of one length, but these have 3-4.*max_edits"),
    ({"max_edits": 0}, "max_edits is 0; allow at least 1"),
    ({"max_edits": 1, "edits_from": "wild_type"}, "there is no wild_type"),
    ({"edits_from": "seed"}, "edits_from is 'seed'"),
    ({"shortest": 5}, "the shortest sequence has length 5 and the longest 4"),
    ({"shortest": 0}, "the shortest sequence has length 0"),
    ({"letters": ("A", "C")}, "5 elements has 2 letters"),
]


@pytest.mark.parametrize(("settings", "said"), WRONG)
def test_limits_that_nothing_can_keep_to(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Domain(5, 4, "print", **settings)


def test_what_is_limited() -> None:
    assert not Domain(5, 4, "print", wild_type=(0, 1, 2, 3)).limited
    assert Domain(5, 4, "print", protected=(0,)).limited
    assert Domain(5, 4, "print", shortest=1, max_edits=1).limited
    assert (Domain(5, 4, "print").least, Domain(5, 4, "print", shortest=1).least) == (4, 1)
