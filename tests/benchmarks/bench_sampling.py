"""Sampling and refinement with the small policy, against transformers' `generate`.

A token costs the forward pass: 2 operations a weight, and 4 w a layer and position attended to, of which there are 34 of the prompt and
on average 17 of the completion. At 100,000 weights that is some 230 kFLOP, in products so small that the share of the machine's
large product stays low; what is left is the cost of launching operations, which batching divides.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from llome.draws import row_keys
from llome.policy.causal_lm import codec_for, load_policy
from llome.policy.sampling import Sampler, Samples
from llome.stages.refine import refine
from llome.tables import Labeled, best_sequences

from .measure import Measure
from .peers import generate
from .problems import ROOT, forward_flops

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


class Case:
    """A policy, prompts, and both ways to sample from it."""

    def __init__(self, policy: tuple[Path, Path], prompts: int) -> None:
        self.model, tokenizer, card = load_policy(policy[0])
        self.codec = codec_for(tokenizer, card)
        self.prompts = best_sequences([Labeled.read(policy[1])], prompts)
        self.sampler = Sampler(self.model, self.codec)
        self.peer, _, _ = load_policy(policy[0])
        self.ids, self.mask = self.codec.encode_prompts(self.prompts)
        self.tokens = self.codec.length + 1
        self.flops = forward_flops(self.model, positions=self.ids.shape[1] + self.tokens // 2)

    def sample(self, temperatures: np.ndarray, samples: int) -> Samples:
        """Every prompt at every temperature."""
        prompts = np.repeat(self.prompts, len(temperatures), axis=0)
        rows = np.arange(len(prompts))[:, None]
        keys = row_keys(0, rows, np.arange(samples)[None])
        return self.sampler.sample(prompts, np.tile(temperatures, len(self.prompts)), keys)

    def generate(self, rows: slice, temperature: float, samples: int) -> int:
        """Tokens that one call of `generate` wrote for these prompts."""
        tokens, _ = generate.generate(
            self.peer,
            self.ids[rows],
            self.mask[rows],
            samples=samples,
            temperature=temperature,
            max_tokens=self.tokens,
        )
        return generate.count_tokens(tokens, self.codec.end_id)


def bench_sampling_against_one_generate(measure: Measure, small_policy: tuple[Path, Path]) -> None:
    """One batch for both: all prompts, several samples each, temperature 1, with log-probabilities."""
    size = measure.size
    case = Case(small_policy, size.prompts)
    made: Samples = measure.ours(
        f"sampling with log-probabilities, {len(case.prompts)} x {size.samples}",
        lambda: case.sample(np.ones(1), size.samples),
        floor=4.0,
        aim=10.0,
        unit="tokens",
        work=lambda samples: int(samples.num_tokens.sum()),
    )
    measure.info["flops"] = case.flops * float(made.num_tokens.sum())
    torch.manual_seed(0)
    written: list[int] = []
    seconds = measure.repeat_peer(lambda: written.append(case.generate(slice(None), 1.0, size.samples)), size.rounds)
    measure.peer("generate, one batch", seconds, work=float(np.mean(written)))


def bench_sampling_against_generate_one_by_one(measure: Measure, small_policy: tuple[Path, Path]) -> None:
    """The published code's way: a call for each seed and temperature."""
    size = measure.size
    case = Case(small_policy, size.prompts)
    made: Samples = measure.ours(
        f"the same at {len(size.temperatures)} temperatures",
        lambda: case.sample(np.array(size.temperatures), size.samples),
        floor=40.0,
        aim=100.0,
        unit="tokens",
        work=lambda samples: int(samples.num_tokens.sum()),
        rounds=min(3, size.rounds),
    )
    measure.info["flops"] = case.flops * float(made.num_tokens.sum())
    torch.manual_seed(0)
    written: list[int] = []

    def one_by_one() -> None:
        calls = [(seed, temperature) for seed in range(size.calls_one_by_one) for temperature in size.temperatures]
        written.append(sum(case.generate(slice(s, s + 1), t, size.samples) for s, t in calls))

    scale = len(case.prompts) / size.calls_one_by_one
    seconds = measure.repeat_peer(one_by_one, min(2, size.rounds))
    remark = f"peer on {size.calls_one_by_one} of {len(case.prompts)} seeds, scaled"
    measure.peer(
        "generate, a call a seed and temperature",
        seconds,
        work=scale * float(np.mean(written)),
        scale=scale,
        remark=remark,
    )


def bench_whole_refinement(measure: Measure, small_policy: tuple[Path, Path], tmp_path: Path) -> None:
    """The stage itself, from its tables to its table: seeds x (1 + temperatures x samples) x iterations edits."""
    settings = yaml.safe_load((ROOT / measure.size.refine).read_text())
    model, table = small_policy

    def run() -> None:
        with contextlib.redirect_stderr(io.StringIO()), contextlib.redirect_stdout(io.StringIO()):
            refine(model=model, labeled=[table], out=tmp_path / "proposals.parquet", device="cpu", **settings)

    edits = (
        settings["num_seeds"] * settings["iterations"] * (1 + len(settings["temperatures"]) * settings["num_samples"])
    )
    policy, _, card = load_policy(model)
    tokens = edits * (card.domain.length + 1)
    positions = 3 * card.domain.length // 2
    measure.ours(
        f"a whole refinement, {edits:,} edits",
        run,
        asked="seconds",
        floor=60.0,
        aim=20.0,
        rounds=min(2, measure.size.rounds),
        warm_up=False,
        flops=tokens * forward_flops(policy, positions=positions),
    )
