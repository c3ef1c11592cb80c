"""Decoding within limits: the masks against every sequence there is, and thousands of edits of a policy that knows nothing of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from lengths import draw_sequences, edit_distance, plain

from llome.codec import SequenceCodec
from llome.domain import PAD, Domain
from llome.draws import row_keys
from llome.limits import keeps_limits
from llome.policy.limits import make_mask
from llome.policy.sampling import Sampler, row_tokens

FIXED = [
    {"max_edits": 1},
    {"max_edits": 3},
    {"max_edits": 9},
    {"protected": (0, 2, 3, 4)},
    {"protected": (0, 1, 2, 3, 4)},
    {"protected": (1,), "max_edits": 2},
    {"wild_type": (0, 1, 2, 3, 4), "max_edits": 2, "edits_from": "wild_type"},
    {"wild_type": (0, 1, 2, 3, 4), "max_edits": 4, "edits_from": "wild_type", "protected": (0, 1)},
]
DIFFERING = [
    {"shortest": 1, "max_edits": 1},
    {"shortest": 1, "max_edits": 3},
    {"shortest": 4, "max_edits": 1},
    {"shortest": 3, "max_edits": 2},
    {"shortest": 1, "max_edits": 20},
    {"shortest": 2, "wild_type": (0, 1, 2), "max_edits": 1, "edits_from": "wild_type"},
    {"shortest": 1, "wild_type": (5,), "max_edits": 2, "edits_from": "wild_type"},
]


def domain_of(settings):
    return Domain(6, 5, "", **settings)


@pytest.mark.parametrize("settings", FIXED + DIFFERING)
def test_the_policy_never_leaves_them(settings, compact_policy):
    domain = domain_of(settings)
    model, tokenizer = compact_policy
    codec = SequenceCodec(tokenizer, domain)
    prompts = draw_sequences(50, domain, seed=3)
    temperatures = np.tile([0.0, 0.7, 1.5, 4.0, 20.0], 10)
    keys = row_keys(0, np.arange(50)[:, None], np.arange(60)[None])
    samples = Sampler(model, codec, grammar=True).sample(prompts, temperatures, keys)
    assert samples.parsed.all()
    rows, sources = samples.sequences.reshape(-1, 5), np.repeat(prompts, 60, axis=0)
    assert keeps_limits(rows, sources, domain).all()  # of 3000
    for row, source in zip(rows[::41], sources[::41], strict=True):
        place = list(domain.protected)
        assert (row[place] == source[place]).all()
        if domain.max_edits is not None:
            reference = list(domain.wild_type) if domain.edits_from == "wild_type" else plain(source)
            apart = (
                sum(a != b for a, b in zip(plain(row), reference, strict=True))
                if domain.fixed_length
                else edit_distance(plain(row), reference)
            )
            assert apart <= domain.max_edits
    free = 5 - len(domain.protected)
    assert len(np.unique(rows, axis=0)) > (20 if free and settings.get("wild_type") != (5,) else 5)


@pytest.mark.parametrize("settings", FIXED + DIFFERING)
def test_batches_change_nothing(settings, compact_policy):
    model, tokenizer = compact_policy
    codec = SequenceCodec(tokenizer, domain_of(settings))
    prompts, keys = draw_sequences(7, codec.domain), row_keys(5, np.arange(7)[:, None], np.arange(3)[None])
    whole, small = (
        Sampler(model, codec, grammar=True, max_batch_tokens=rows * row_tokens(codec)).sample(
            prompts, np.full(7, 3.0), keys
        )
        for rows in (21, 2)
    )
    np.testing.assert_array_equal(whole.tokens, small.tokens)


def every_sequence(domain):
    for count in range(domain.least, domain.length + 1):
        yield from itertools.product(range(domain.num_states), repeat=count)


@pytest.mark.parametrize(
    "settings",
    [
        {"length": 4, "max_edits": 2},
        {"length": 4, "max_edits": 1, "protected": (1, 3)},
        {"length": 4, "max_edits": 2, "protected": (0,), "wild_type": (0, 1, 2, 0), "edits_from": "wild_type"},
        {"length": 5, "shortest": 1, "max_edits": 1},
        {"length": 5, "shortest": 1, "max_edits": 3},
        {"length": 5, "shortest": 3, "max_edits": 2},
        {"length": 5, "shortest": 4, "max_edits": 4},
        {"length": 5, "shortest": 2, "max_edits": 2, "wild_type": (2, 0, 1, 2), "edits_from": "wild_type"},
    ],
)
def test_masks_allow_what_is_within_the_limits_and_nothing_else(settings):
    """Walked token by token over all sequences: what is allowed to its end is what keeps the limits, and nothing is a dead end."""
    from llome.codec import compact_tokenizer

    domain = Domain(3, fingerprint="", **settings)
    codec = SequenceCodec(compact_tokenizer(3), domain)
    mask = make_mask(codec, 9)
    everything = np.array([[*row, *[PAD] * (domain.length - len(row))] for row in every_sequence(domain)], np.int16)
    ids = torch.from_numpy(codec.encode_completions(everything)[0])
    for source in draw_sequences(12, domain):
        sources = np.repeat(source[None], len(everything), axis=0)
        states, alive = mask.start(sources), torch.ones(len(everything), dtype=torch.bool)
        for tokens in ids.T:
            allowed = mask.allowed(states)
            assert allowed[alive & (tokens != codec.pad_id)].any(dim=1).all()
            assert not allowed[:, [0, 2, 3, 7, 8]].any()
            alive &= allowed[torch.arange(len(ids)), tokens] | (tokens == codec.pad_id)
            states = mask.advance(states, tokens)
        expected = keeps_limits(everything, sources, domain)
        assert expected.any()
        np.testing.assert_array_equal(alive.numpy(), expected)


def test_protected_elements_that_are_too_many_edits_already_leave_nothing_free(compact_policy):
    settings = {"wild_type": (0, 0, 0, 0, 0), "max_edits": 1, "edits_from": "wild_type", "protected": (0, 1)}
    model, tokenizer = compact_policy
    sampler = Sampler(model, SequenceCodec(tokenizer, domain_of(settings)), grammar=True)
    rows = sampler.sample(
        np.array([[1, 2, 3, 4, 5]]), np.array([5.0]), row_keys(0, np.zeros((1, 1), int), np.arange(50)[None])
    )
    assert (rows.sequences == [1, 2, 0, 0, 0]).all()


@pytest.mark.parametrize(
    "settings",
    [
        {"length": 3, "max_edits": 1},
        {"length": 3, "max_edits": 2, "protected": (1,)},
        {"length": 3, "max_edits": 2, "wild_type": (0, 11, 1), "edits_from": "wild_type", "protected": (0,)},
        {"length": 3, "shortest": 1, "max_edits": 1},
        {"length": 3, "shortest": 2, "max_edits": 2},
        {"length": 3, "shortest": 1, "max_edits": 1, "wild_type": (10, 1), "edits_from": "wild_type"},
    ],
)
def test_masks_of_text_allow_what_is_within_the_limits_and_nothing_else(settings, text_policy):
    """As above, for a tokenizer of pieces of text: 1 is the beginning of 10 and 11 as well."""
    domain = Domain(12, fingerprint="", **settings)
    _, tokenizer = text_policy
    codec = SequenceCodec(tokenizer, domain)
    mask = make_mask(codec, len(tokenizer) + 3)
    everything = np.array([[*row, *[PAD] * (domain.length - len(row))] for row in every_sequence(domain)], np.int16)
    ids, written = (torch.from_numpy(part) for part in codec.encode_completions(everything))
    for source in draw_sequences(5, domain):
        sources = np.repeat(source[None], len(everything), axis=0)
        states, alive = mask.start(sources), torch.ones(len(everything), dtype=torch.bool)
        for tokens, here in zip(ids.T, written.T, strict=True):
            allowed = mask.allowed(states)
            assert allowed[alive & here].any(dim=1).all()
            alive &= allowed[torch.arange(len(ids)), tokens] | ~here
            states = torch.where(here[:, None], mask.advance(states, tokens), states)
        expected = keeps_limits(everything, sources, domain)
        assert expected.any()
        np.testing.assert_array_equal(alive.numpy(), expected)


@pytest.mark.parametrize("settings", [*FIXED[:6], *DIFFERING[:5]])
def test_a_policy_of_text_never_leaves_them(settings, text_policy):
    domain = Domain(12, 5, "", **settings)
    model, tokenizer = text_policy
    prompts = draw_sequences(20, domain, seed=3)
    keys = row_keys(0, np.arange(20)[:, None], np.arange(15)[None])
    sampler = Sampler(model, SequenceCodec(tokenizer, domain), grammar=True)
    samples = sampler.sample(prompts, np.tile([0.0, 0.7, 1.5, 4.0, 20.0], 4), keys)
    assert samples.parsed.all()
    rows, sources = samples.sequences.reshape(-1, 5), np.repeat(prompts, 15, axis=0)
    assert keeps_limits(rows, sources, domain).all()
    if len(domain.protected) < 4:
        assert (rows != sources).any(axis=1).mean() > 0.3
