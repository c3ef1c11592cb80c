"""Completion log-probabilities against hand-computed values, finite differences and padding."""

import math

import pytest
import torch

from llome.losses.logps import completion_logps, count_correct
from llome.losses.sft import sft_loss


def problem(seed=0, width=7, vocabulary=5):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(3, width, vocabulary, generator=generator, dtype=torch.float64)
    ids = torch.randint(vocabulary, (3, width), generator=generator)
    mask = torch.zeros(3, width, dtype=torch.bool)
    mask[0, 4:], mask[1, 4:6], mask[2, 4] = True, True, True
    return logits, ids, mask


def test_by_hand():
    logits = torch.tensor([[[0.0, math.log(3.0)], [math.log(4.0), 0.0], [9.0, 9.0]]], dtype=torch.float64)
    ids = torch.tensor([[1, 1, 0]])
    mask = torch.tensor([[False, True, True]])
    logps, lengths = completion_logps(logits, ids, mask)
    assert logps.tolist() == pytest.approx([math.log(3 / 4) + math.log(4 / 5)])
    assert lengths.tolist() == [2]
    assert sft_loss(logps).tolist() == pytest.approx([-math.log(3 / 5)])
    assert count_correct(logits, ids, mask).tolist() == [2]
    assert count_correct(logits, 1 - ids, mask).tolist() == [0]


def test_is_the_log_softmax_of_each_token():
    logits, ids, mask = problem()
    expected = torch.zeros(3, dtype=torch.float64)
    for row, column in mask.nonzero().tolist():
        expected[row] += torch.log_softmax(logits[row, column - 1], dim=0)[ids[row, column]]
    logps, lengths = completion_logps(logits, ids, mask)
    torch.testing.assert_close(logps, expected, rtol=0, atol=1e-12)
    assert logps.dtype == torch.float64
    assert lengths.tolist() == [3, 2, 1]


def test_the_last_positions_are_enough():
    logits, ids, mask = problem()
    for kept in (4, 5, 6):
        torch.testing.assert_close(
            completion_logps(logits[:, -kept:], ids, mask)[0], completion_logps(logits, ids, mask)[0]
        )


def test_padding_and_prompts_do_not_matter():
    logits, ids, mask = problem()
    other_logits, other_ids = logits.clone(), ids.clone()
    other_ids[~mask] = 3
    other_logits[:, :3] = 1e4
    other_logits[1, 5:] = torch.inf  # after the last token that counts
    expected = completion_logps(logits, ids, mask)
    for got, want in zip(completion_logps(other_logits, other_ids, mask), expected, strict=True):
        torch.testing.assert_close(got, want, rtol=0, atol=0)
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(completion_logps(logits[order], ids[order], mask[order])[0], expected[0][order])


def test_gradients():
    logits, ids, mask = problem()
    logits.requires_grad_()
    assert torch.autograd.gradcheck(lambda x: completion_logps(x, ids, mask)[0], (logits,))
    completion_logps(logits, ids, mask)[0].sum().backward()
    assert logits.grad is not None
    assert logits.grad[:, :3].abs().max() == 0  # before the last prompt token
    assert logits.grad[:, -1].abs().max() == 0


@pytest.mark.parametrize("scale", [1e4, 1e30])
def test_extreme_logits_are_finite(scale):
    logits, ids, mask = problem()
    logits = (logits * scale).float().requires_grad_()
    logps, _ = completion_logps(logits, ids, mask)
    logps.sum().backward()
    assert torch.isfinite(logps).all()
    assert torch.isfinite(logits.grad).all()


def test_half_precision_sums_in_single():
    logits, ids, mask = problem()
    half = logits.to(torch.bfloat16)
    logps, _ = completion_logps(half, ids, mask)
    assert logps.dtype == torch.float32
    torch.testing.assert_close(logps, completion_logps(half.float(), ids, mask)[0])
