"""The formulas of memory against what processes really take: within a fifth, on the small policy on a CPU.

Resident memory also holds what kernels allocate for themselves, some ten MiB here, which no formula of tensors knows.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from benchmarks.memory import in_fresh_process

from llome.planning.memory import PRECISIONS, Refining, Training, refining_parts, training_parts
from llome.planning.shapes import Shape, count_tokens

SHAPE = Shape("small", 6, 256, 1024, 8, 36)
TOKENS = count_tokens(SHAPE, 32, 32)
# Half of all: every objective meets each size and has checkpointing on and off, and every size meets both.
CASES = [
    ("sft", 64, False),
    ("sft", 8, True),
    ("dpo", 64, True),
    ("dpo", 8, False),
    ("marge", 64, False),
    ("marge", 8, True),
]


@pytest.mark.parametrize(
    ("objective", "size", "checkpointing"),
    [pytest.param(*case, marks=() if case == ("sft", 64, False) else pytest.mark.slow) for case in CASES],
)
def test_a_training_step_takes_what_is_planned(objective: str, size: int, checkpointing: bool) -> None:
    settings = {
        "objective": objective,
        "batch_size": 64,
        "micro_batch_size": size,
        "gradient_checkpointing": checkpointing,
        "num_states": 32,
        "length": 32,
        "hidden_size": 256,
        "num_layers": 6,
        "num_heads": 8,
    }
    step = Training(
        precision=PRECISIONS["32-true"],
        moments=2,
        examples=size,
        micro_batches=64 // size,
        completions=2 if objective == "dpo" else 1,
        checkpointing=checkpointing,
        foreach=False,  # on a CPU torch takes one tensor at a time
    )
    parts = training_parts(SHAPE, TOKENS, step)
    _, rise, _ = in_fresh_process(settings)
    assert parts.peak - parts.weights == pytest.approx(rise, rel=0.2)


@pytest.mark.parametrize(
    ("width", "heads", "layers", "tokens"),
    [
        (256, 8, 6, 32_768),
        pytest.param(640, 10, 4, 32_768, marks=pytest.mark.slow),
    ],  # folded weights, and transformers' modules
)
def test_a_refinement_takes_what_is_planned(width: int, heads: int, layers: int, tokens: int) -> None:
    script = Path(__file__).with_name("sampling_peak.py")
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    given = (32, 32, width, layers, heads, tokens)
    done = subprocess.run(
        [sys.executable, script, *map(str, given)], env=environment, capture_output=True, text=True, check=True
    )
    shape = Shape("small", layers, width, 4 * width, heads, 36)
    rows = tokens // (TOKENS.prompt + TOKENS.written) // 8 * 8
    parts = refining_parts(shape, TOKENS, Refining(4, rows, rows // 8))
    folded = parts.weights - 4 * shape.parameters  # made for the batch; the weights are there before it
    assert parts.peak - parts.weights + folded == pytest.approx(int(done.stdout), rel=0.2)
