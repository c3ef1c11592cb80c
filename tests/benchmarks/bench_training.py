"""An optimiser step of training, through `llome train fit` as users run it, against TRL's trainers on the same texts.

A step costs three forward passes' worth: 6 operations a weight and 12 w a layer and position attended to, a token, of B C T tokens. The
time is a step's mean over chunks of steps, without start-up, matching or export; checkpoints and logs that fall due are in it.
"""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from lightning.pytorch import Callback

from llome.cli import main
from llome.codec import format_prompt, format_sequence
from llome.data.datamodule import PropEnDataModule
from llome.policy.causal_lm import load_policy

from .measure import Measure
from .peers.clock import Chunks
from .problems import ROOT, forward_flops

pytestmark = pytest.mark.filterwarnings("ignore")


class StepClock(Callback):
    """Hands every step's end to the chunks of the run under way."""

    chunks: Chunks

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
        """A step has ended."""
        StepClock.chunks.step()


def fit(measure: Measure, policy: tuple[Path, Path], objective: str, **data: int) -> list[float]:
    """Seconds a step, chunk by chunk, of a run of configs/train/OBJECTIVE.yaml without validation."""
    size = measure.size
    steps = size.training_chunk * (1 + size.training_chunks)
    StepClock.chunks = Chunks(size.training_chunk)
    args = ["train", "fit", "--config", str(ROOT / "configs" / "train" / f"{objective}.yaml")]
    args += ["--parent", str(policy[0]), "--labeled", str(policy[1])]
    args += ["--out", str(measure.folder / objective / "model")]
    args += ["--trainer.accelerator", "cpu", "--trainer.max_steps", str(steps), "--trainer.max_epochs", "1000"]
    args += [
        "--trainer.limit_val_batches",
        "0",
        "--trainer.enable_progress_bar",
        "false",
        "--validity.num_prompts",
        "0",
    ]
    args += ["--trainer.callbacks+", f"{__name__}.StepClock", "--data.val_fraction", "0"]
    args += [word for name, value in data.items() for word in (f"--data.{name}", str(value))]
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        code = main(args)
    assert code == 0, out.getvalue() + err.getvalue()
    return StepClock.chunks.seconds


def texts(policy: tuple[Path, Path], kind: Any, count: int) -> dict[str, Any]:
    """Prompts and completions of the examples that ours trains on, as text; no more than a peer's run reads."""
    data = PropEnDataModule(str(policy[0]), [str(policy[1])], kind=kind)
    data.setup("fit")
    rows = np.random.default_rng(0).permutation(len(data.examples))[:count]
    prompts = [format_prompt(data.sequences[row]) for row in data.examples.sources[rows]]
    completions = [[format_sequence(data.sequences[row]) for row in targets] for targets in data.examples.targets[rows]]
    return {"prompts": np.array(prompts), "completions": np.array(completions)}


@pytest.mark.parametrize(("objective", "kind", "completions"), [("sft", "pairs", 1), ("dpo", "triples", 2)])
def bench_training_against_trl(
    measure: Measure, small_policy: tuple[Path, Path], objective: str, kind: str, completions: int
) -> None:
    """The same model, batch, texts, precision, clipping and optimiser."""
    size = measure.size
    settings = yaml.safe_load((ROOT / "configs" / "train" / f"{objective}.yaml").read_text())
    batch = settings["data"]["batch_size"]
    model, _, card = load_policy(small_policy[0])
    width = 2 * card.domain.length + 3
    tokens = batch * completions * width
    measure.ours(
        f"a step of {objective.upper()}, batch {batch}",
        lambda: fit(measure, small_policy, objective),
        floor=1.5,
        aim=3.0,
        unit="tokens",
        work=tokens,
        rounds=1,
        warm_up=False,
        seconds=lambda chunks: chunks,
        flops=3.0 * tokens * forward_flops(model, positions=width // 2),
    )
    given = {
        "model": str(small_policy[0]),
        "batch_size": batch,
        "chunk": size.training_chunk,
        "chunks": size.training_chunks,
        **texts(small_policy, kind, batch * size.training_chunk * (1 + size.training_chunks)),
    }
    answer = measure.peer_script("TRL", "trl", "trl_training.py", given=given, case=objective)
    if answer is not None:
        assert answer["tokens"] == tokens, f"TRL's batch holds {answer['tokens']} tokens, ours {tokens}"


def bench_marge_against_sft(measure: Measure, small_policy: tuple[Path, Path]) -> None:
    """MargE looks at the whole batch's log-probabilities first; with one micro-batch that must not cost a second pass."""
    batch = yaml.safe_load((ROOT / "configs" / "train" / "marge.yaml").read_text())["data"]["batch_size"]
    model, _, card = load_policy(small_policy[0])
    width = 2 * card.domain.length + 3
    measure.ours(
        f"a step of MARGE, batch {batch}",
        lambda: fit(measure, small_policy, "marge"),
        asked="slow-down",
        floor=1.5,
        unit="tokens",
        work=batch * width,
        rounds=1,
        warm_up=False,
        seconds=lambda chunks: chunks,
        flops=3.0 * batch * width * forward_flops(model, positions=width // 2),
    )
    measure.peer("our SFT, same batch", fit(measure, small_policy, "sft", batch_size=batch))
