"""Tokens and masks of micro-batches, which rows a step covers, and resuming inside an epoch."""

import itertools

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer

from llome.codec import SequenceCodec, format_prompt, format_sequence
from llome.data.batches import StepLoader, StepSampler, TokenTable
from llome.data.pairs import Examples
from llome.domain import Domain

SEQUENCES = np.array([[1, 10, 3, 4, 5, 6, 7, 8], [11, 10, 11, 10, 11, 10, 11, 10], [1] * 8, [2] * 8], dtype=np.int16)


def table_of(path, examples):
    tokenizer = AutoTokenizer.from_pretrained(path)
    return TokenTable(examples, SEQUENCES, SequenceCodec(tokenizer, Domain(12, 8, ""))), tokenizer


def test_collation_of_a_text_tokenizer(text_policy_path):
    table, tokenizer = table_of(text_policy_path, Examples(np.array([0, 1, 2]), np.array([[1, 2], [0, 2], [3, 0]])))
    batch = table.collate(np.array([2, 0]))
    assert batch["rows"].tolist() == [2, 0]
    for row, (source, targets) in enumerate([(2, (3, 0)), (0, (1, 2))]):
        for column, target in enumerate(targets):
            ids = batch["input_ids"][row, column]
            attended, completion = batch["attention_mask"][row, column], batch["completion_mask"][row, column]
            assert tokenizer.decode(ids[attended & ~completion]) == format_prompt(SEQUENCES[source])
            assert tokenizer.decode(ids[completion]) == format_sequence(SEQUENCES[target]) + tokenizer.eos_token
            assert (ids[~attended] == tokenizer.pad_token_id).all()
            assert (completion & ~attended).sum() == 0
            assert completion.int().diff().abs().sum() in (1, 2)  # one run, which starts after the prompt
            start = int(completion.int().argmax())
            assert attended[:start].int().diff().min() >= 0  # padding on the left of the prompt only
            assert start == int(batch["completion_mask"][0, 0].int().argmax())


def test_batches_are_no_wider_than_their_longest_row(text_policy_path):
    table, _ = table_of(text_policy_path, Examples(np.array([0, 1, 2]), np.array([[2], [0], [3]])))
    widths = {rows: table.collate(np.array(rows))["input_ids"].shape[2] for rows in ((0, 1, 2), (2,), (1,))}
    assert widths[(2,)] < widths[(1,)] <= widths[(0, 1, 2)]
    for rows in ((2,), (1,)):
        assert table.collate(np.array(rows))["attention_mask"].all()


def test_collation_of_the_compact_tokenizer(policy):
    table, tokenizer = table_of(policy, Examples(np.array([0, 2]), np.array([[1], [0]])))
    batch = table.collate(np.array([1, 0]))
    element = tokenizer.convert_tokens_to_ids
    expected = [
        element("<inc>"),
        *[element("1")] * 8,
        element("\n"),
        *(element(str(e)) for e in SEQUENCES[0]),
        element("<end>"),
    ]
    assert batch["input_ids"][0, 0].tolist() == expected
    assert batch["attention_mask"].all()
    assert batch["completion_mask"][0, 0].tolist() == [False] * 10 + [True] * 9
    assert batch["input_ids"].dtype == torch.int64


def steps_of(sampler, epoch=0, start=0):
    sampler.set_epoch(epoch)
    return [rows.tolist() for rows in sampler.steps(start)]


def test_a_step_covers_the_same_rows_on_any_number_of_ranks():
    rows = np.arange(100, 153)
    whole = StepSampler(rows, 10, shuffle=True, random_seed=2**62 + 1)
    steps = steps_of(whole)
    assert [len(step) for step in steps] == [10] * 5 + [3]
    assert sorted(itertools.chain(*steps)) == rows.tolist()
    ranks = [StepSampler(rows, 10, shuffle=True, random_seed=2**62 + 1, rank=r, world_size=2) for r in (0, 1)]
    shares = [steps_of(sampler) for sampler in ranks]
    assert [sorted(a + b) for a, b in zip(*shares, strict=True)] == [sorted(step) for step in steps]
    crowd = [StepSampler(rows, 10, shuffle=True, rank=r, world_size=4) for r in range(4)]
    assert [len(sampler) for sampler in crowd] == [6] * 4
    assert [len(steps_of(sampler)[-1]) for sampler in crowd] == [1, 1, 1, 0]  # three rows cannot keep four ranks busy


def test_orders_differ_by_epoch_and_seed_and_can_be_kept():
    rows = np.arange(64)
    sampler = StepSampler(rows, 8, shuffle=True, random_seed=1)
    assert steps_of(sampler, 0) == steps_of(sampler, 0)
    assert steps_of(sampler, 0) != steps_of(sampler, 1)
    assert steps_of(sampler, 0) != steps_of(StepSampler(rows, 8, shuffle=True, random_seed=2), 0)
    assert steps_of(sampler, 3)[5:] == steps_of(sampler, 3, start=5)
    assert list(itertools.chain(*steps_of(StepSampler(rows, 5, shuffle=False)))) == rows.tolist()


@pytest.mark.parametrize("micro_batch_size", [1, 3, 7, 100])
def test_micro_batches_make_up_the_step(policy, micro_batch_size):
    examples = Examples(np.repeat(np.arange(4), 5), np.tile([1, 2, 3, 0, 1], 4)[:, None])
    table, _ = table_of(policy, examples)
    loader = StepLoader(table, StepSampler(np.arange(20), 8, shuffle=True, random_seed=4), micro_batch_size)
    steps = list(loader)
    assert len(loader) == len(steps) == 3
    assert all(len(micro["rows"]) <= micro_batch_size for step in steps for micro in step)
    got = [torch.cat([micro["rows"] for micro in step]).tolist() for step in steps]
    assert got == steps_of(loader.sampler)


@pytest.mark.parametrize(("micro_batch_size", "counts"), [(2, [2, 2, 1]), (100, [1, 1, 1])])
def test_all_ranks_get_as_many_micro_batches(policy, micro_batch_size, counts):
    """Steps of 8, 8 and 1 rows on three ranks: 3 + 3 + 2 rows, so that the last rank has a row less, and none of the last step."""
    examples = Examples(np.repeat(np.arange(4), 5)[:17], np.tile([1, 2, 3, 0, 1], 4)[:17, None])
    table, _ = table_of(policy, examples)
    samplers = [StepSampler(np.arange(17), 8, shuffle=True, rank=r, world_size=3) for r in range(3)]
    ranks = [list(StepLoader(table, sampler, micro_batch_size)) for sampler in samplers]
    assert [[len(step) for step in steps] for steps in ranks] == [counts] * 3
    rows = sorted(int(row) for steps in ranks for step in steps for micro in step for row in micro["rows"])
    assert rows == list(range(17))
    (idle,) = ranks[2][2]
    assert idle["rows"].tolist() == []
    assert idle["input_ids"].shape[0] == 1
    assert idle["attention_mask"].any()
    assert not idle["completion_mask"].any()


def test_a_loader_resumes_inside_an_epoch(policy):
    examples = Examples(np.repeat(np.arange(4), 5), np.tile([1, 2, 3, 0, 1], 4)[:, None])
    table, _ = table_of(policy, examples)

    def loader():
        return StepLoader(table, StepSampler(np.arange(20), 4, shuffle=True, random_seed=4), 2)

    whole = [torch.cat([m["rows"] for m in step]).tolist() for step in loader()]
    first = loader()
    taken = [next(iterator) for iterator in [iter(first)] for _ in range(2)]
    assert len(taken) == 2
    second = loader()
    pending = iter(second)  # Lightning may ask for the iterator before it restores the place
    second.load_state_dict(first.state_dict())
    rest = [torch.cat([m["rows"] for m in step]).tolist() for step in pending]
    assert rest == whole[2:]
    assert second.state_dict() == {"taken": 0}  # the epoch is over: the next one starts at its first step
    assert len(list(second)) == len(second) == 5
