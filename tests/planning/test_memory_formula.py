"""The formulas of memory and operations against numbers counted by hand on a toy shape, and Pythia's against the published ones."""

from __future__ import annotations

from dataclasses import replace

import pytest

from llome.errors import ConfigError
from llome.planning import hours, memory, shapes
from llome.planning.memory import PRECISIONS, Refining, Training, refining_parts, training_parts
from llome.planning.planned import FREE_SHARE, remedy
from llome.planning.reading import _DEFAULT_TOKENS
from llome.planning.shapes import PYTHIA, Shape, Tokens, count_tokens, find_shape

# arXiv 2304.01373 and the hub's model cards
PUBLISHED = {
    "pythia-14m": 14_067_712,
    "pythia-70m": 70_426_624,
    "pythia-160m": 162_322_944,
    "pythia-410m": 405_334_016,
    "pythia-1b": 1_011_781_632,
    "pythia-1.4b": 1_414_647_808,
    "pythia-2.8b": 2_775_208_960,
    "pythia-6.9b": 6_857_302_016,
}
TOY = Shape(
    "toy", 2, 4, 16, 2, 10
)  # a layer: 4*16 + 16 + 2*64 + 16 + 4 + 16 = 244 parameters; 2*244 + 2*40 + 8 = 576 in all
TOKENS = Tokens(prompt=4, completion=3, written=3, compact=True)  # 3 positions of prompts, 4 of completions, 7 of a row
STEP = Training(PRECISIONS["32-true"], moments=2, examples=5, micro_batches=1, foreach=False)


def test_parameters_of_every_pythia_are_the_published_ones() -> None:
    assert {name: shape.parameters for name, shape in PYTHIA.items()} == PUBLISHED


def test_a_small_policy_has_the_parameters_of_its_shape() -> None:
    from llome.policy.causal_lm import build_small_policy

    model, tokenizer = build_small_policy(8, 12, hidden_size=16, num_layers=3, num_heads=2, random_seed=0)
    shape = Shape("small", 3, 16, 64, 2, 12)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    tokens = count_tokens(shape, 8, 12)
    assert (tokens.prompt, tokens.completion) == (14, 13)
    assert len(tokenizer("<inc> [1, 2, 3, 4, 5, 6, 7, 1, 2, 3, 4, 5]\n")["input_ids"]) == tokens.prompt


def test_tokens_of_text_are_two_an_element_and_a_few() -> None:
    assert count_tokens(PYTHIA["pythia-14m"], 32, 32) == Tokens(70, 66, 74, False)


def test_parts_of_a_step_by_hand() -> None:
    """The head's backward pass is the peak: 15 positions of prompts, 20 of completions, 35 of rows, 4 bytes a number."""
    parts = training_parts(TOY, TOKENS, STEP)
    assert (parts.weights, parts.gradients, parts.optimiser, parts.cache) == (4 * 576, 4 * 576, 8 * 576, 0)
    prompts = (
        15 * (4 + 9 * 4 + 2 * 16) + 15 * 2 * 4
    )  # one whole layer, and of the last one its input, raw and normalised
    completions = 2 * (20 * (4 + 5 * 4 + 2 * 16) + 35 * 2 * 4)
    masks, end, logits = 2 * 20 * 7, 20 * 2 * 4, 4 * 20 * 10
    assert parts.activations == 4 * (prompts + completions + masks + end + logits)
    assert parts.peak == 12 * 576 + parts.activations + 4 * 40  # and the head's gradient, of 40 numbers


def test_a_forward_pass_ends_with_the_cache_where_prompts_are_long_and_the_vocabulary_small() -> None:
    parts = training_parts(replace(TOY, vocabulary=2), Tokens(8, 3, 3, True), STEP)  # 35, 20 and 55 positions
    kept = 35 * 72 + 35 * 8 + 2 * (20 * 56 + 55 * 8) + 2 * 20 * 11
    assert parts.activations == 4 * (kept + 2 * 35 * 2 * 4 + 4 * 20 * 4)


def test_micro_batches_hold_the_gradients_so_far_and_their_own() -> None:
    """The second pass's prompts meet gradients of both layers' completions, held apart until they are added."""
    parts = training_parts(TOY, TOKENS, replace(STEP, examples=1, micro_batches=5))
    assert parts.gradients == 4 * 576 + 4 * 2 * 244


def test_logits_count_four_times_where_the_vocabulary_is_large() -> None:
    wide = replace(TOY, vocabulary=100_000)
    parts = training_parts(wide, TOKENS, STEP)
    assert parts.activations == pytest.approx(4 * 4 * 20 * 100_000, rel=0.01)


@pytest.mark.parametrize(
    ("precision", "numbers"),
    [("32-true", (4, 4, 8)), ("bf16-mixed", (4, 4, 8)), ("bf16-true", (2, 2, 4)), ("64-true", (8, 8, 16))],
)
def test_bytes_of_a_parameter(precision: str, numbers: tuple[int, int, int]) -> None:
    parts = training_parts(TOY, TOKENS, replace(STEP, precision=PRECISIONS[precision]))
    assert (parts.weights, parts.gradients, parts.optimiser) == tuple(n * 576 for n in numbers)


def test_devices_share_what_is_sharded_and_ddp_has_buckets() -> None:
    ddp = training_parts(TOY, TOKENS, replace(STEP, devices=2))
    assert (ddp.weights, ddp.gradients, ddp.optimiser) == (4 * 576, 2 * 4 * 576, 8 * 576)
    sharded = training_parts(TOY, TOKENS, replace(STEP, devices=2, sharded=True))
    assert (sharded.weights, sharded.gradients, sharded.optimiser) == (2 * 576, 2 * 576, 4 * 576)


def test_adapters_alone_have_gradients_and_state() -> None:
    # rank 3 on 4 -> 12 in two layers: 2 * 3 * 16 = 96 parameters; also on 4 -> 16: 2 * 3 * 20 = 120 more
    assert TOY.adapters(3, ("query_key_value",)) == 96
    assert TOY.adapters(3) == 384
    assert TOY.adapters(3, ("query_key_value", "dense_h_to_4h")) == 216
    parts = training_parts(TOY, TOKENS, replace(STEP, trainable=96))
    assert (parts.weights, parts.gradients, parts.optimiser) == (4 * 672, 4 * 96, 8 * 96)
    with pytest.raises(ConfigError, match="no linear map 'q_proj'"):
        TOY.adapters(3, ("q_proj",))


def test_checkpointing_keeps_the_stream_and_the_cache() -> None:
    """Completions are computed again in the first layer last: 15, 20 and 35 positions as above; one layer's gradients pile up."""
    parts = training_parts(TOY, TOKENS, replace(STEP, checkpointing=True))
    read = 2 * 15 * (4 * 4 + 2 * 4 * 4)
    first = 20 * (4 * 4 + (5 * 4 + 2 * 16) * 4) + 35 * 2 * 4 * 4 + 4 * 20 * 7
    work, pile = 20 * (16 + 2 * 4) * 4, 2 * 4 * 4 * 35
    assert parts.activations == read + first + work + pile
    assert parts.peak == 12 * 576 + 4 * 244 + parts.activations


def test_parts_of_a_refinement_by_hand() -> None:
    wide = replace(TOY, width=1024, inner=4096)  # not folded
    parts = refining_parts(wide, TOKENS, Refining(2, rows=6, prompts=2))
    assert parts.weights == 2 * wide.parameters
    assert parts.cache == 2 * 2 * 1024 * 2 * (2 * 4 + 6 * 3)
    assert parts.peak == parts.weights + parts.cache + parts.activations
    folded = refining_parts(TOY, TOKENS, Refining(4, rows=6, prompts=2))
    assert folded.weights == 4 * 576 + 4 * 2 * 17 * 16  # of each layer 17 h^2 once more


def test_numbers_that_are_the_samplers_are_the_same_here() -> None:
    from llome.policy import memory as samplers
    from llome.policy import neox

    assert samplers._BYTES_A_LOGIT == memory.BYTES_A_CHOICE
    assert samplers.DEFAULT_TOKENS["cuda"] == _DEFAULT_TOKENS
    assert samplers._SHARE == FREE_SHARE
    assert neox.MAX_WIDTH == shapes.FOLDED_WIDTH


def test_operations_by_hand() -> None:
    # 2 * 2 * 244 a position, 3 + 4 of them, and 2 * 40 a completion's position
    assert hours.example_operations(TOY, TOKENS, 1) == 4 * 244 * 7 + 80 * 4
    assert hours.example_operations(TOY, TOKENS, 2) == 4 * 244 * 11 + 80 * 8
    each = hours.example_operations(TOY, TOKENS, 1)

    def count(step: Training, **more: bool) -> float:
        given = {"looks_ahead": False, "reference": False} | more
        return hours.training_operations(TOY, TOKENS, step, examples=100, epochs=2, held_out=0.1, **given) / each

    assert count(STEP) == pytest.approx(2 * (90 * 3 + 10))
    assert count(STEP, looks_ahead=True) == count(STEP)  # a single micro-batch is read once
    assert count(replace(STEP, micro_batches=2), looks_ahead=True) == pytest.approx(2 * (90 * 4 + 10))
    assert count(replace(STEP, checkpointing=True), reference=True) == pytest.approx(2 * (90 * 4 + 10) + 100)
    assert count(replace(STEP, trainable=96)) == pytest.approx(2 * (90 * 2 + 10))


def test_seconds_are_bound_by_products_or_by_memory() -> None:
    slow_memory = hours.Card("c", 1.0, {4: 1e30}, 1e3)
    slow_products = hours.Card("c", 1.0, {4: 1e3}, 1e30)
    batch, given = Refining(4, rows=6, prompts=2), {"rows": 11, "iterations": 5}
    moved = 4 * (488 + 40) + 2 * 2 * 4 * 4 * (2 * 4 + 6 * 1.5)
    assert hours.refining_seconds(TOY, TOKENS, batch, card=slow_memory, **given) == pytest.approx(
        5 * 2 * 3 * moved / 600
    )
    products = 2 * 488 * 2 * 4 + 3 * (2 * 488 + 80) * 6
    assert hours.refining_seconds(TOY, TOKENS, batch, card=slow_products, **given) == pytest.approx(
        5 * 2 * products / 400
    )


def test_remedies_go_from_the_least_change_to_the_greatest() -> None:
    shape, tokens = PYTHIA["pythia-1.4b"], count_tokens(PYTHIA["pythia-1.4b"], 32, 128)
    step = replace(STEP, examples=64, micro_batches=2, foreach=True)
    found = [remedy(shape, tokens, step, hours.Card("c", gib * 2**30, {}, 1.0)) for gib in (120, 60, 30, 22, 12, 9, 3)]
    assert found[0].startswith("micro-batch")
    assert found[-1] == "no"
    kinds = [text.split()[0] for text in found]
    order = ["micro-batch", "checkpointing", "FSDP2", "LoRA", "no"]
    assert kinds == sorted(kinds, key=order.index)
    assert "FSDP2" in kinds


def test_a_model_that_is_not_known_is_refused(tmp_path) -> None:
    with pytest.raises(ConfigError, match=r"'pythia-2\.7b' is not known, did you mean"):
        find_shape("pythia-2.7b")
    assert find_shape("EleutherAI/pythia-1.4b") is PYTHIA["pythia-1.4b"]
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    with pytest.raises(ConfigError, match="of type 'llama', and the formulas count GPT-NeoX alone"):
        find_shape(str(tmp_path))
    (tmp_path / "config.json").write_text('{"model_type": "gpt_neox", "num_hidden_layers": 2}')
    with pytest.raises(ConfigError, match="hidden_size is missing"):
        find_shape(str(tmp_path))
