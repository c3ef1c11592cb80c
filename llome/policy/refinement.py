"""Iterative refinement (Algorithm 3): the policy edits its own best sequences, again and again, without seeing the oracle.

Every seed starts one greedy trajectory and one for each temperature. In each iteration a trajectory's input is edited (once when
greedy, n_o times when sampled), and its most likely valid output becomes the next input. All trajectories of an iteration are one batch.
A trajectory none of whose outputs can be parsed keeps its input. Finished iterations are kept in a scratch folder, so that an
interrupted run goes on where it was; draws are keyed by (seed, temperature, iteration, sample), so that it ends the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from llome.draws import row_keys
from llome.policy.sampling import Sampler, Samples
from llome.provenance import replacing

Judge = Callable[[np.ndarray, int], np.ndarray]
"""(N, L) outputs of an iteration that were parsed, its number -> (N,) what each is worth, higher is better."""

TEMPERATURE_RULE = ((0.075, 0.6), (0.1, 0.4), (0.15, 0.2))
"""(upper bound of the last round's mean distance of edits, what is added to every temperature), appendix A.3.2.

A distance is a share: Hamming's of the length, or the edit distance of the longer length where lengths differ."""


def adjusted_temperatures(temperatures: Sequence[float], mean_distance: float | None) -> list[float]:
    """Raise the temperatures if the last round's edits were small (appendix A.3.2; None: there was no round).

    The paper prints the last step as "between 0.1 and 0.1"; the published code has 0.1 to 0.15.
    """
    for bound, increment in TEMPERATURE_RULE:
        if mean_distance is not None and mean_distance < bound:
            return [round(t + increment, 6) for t in temperatures]
    return list(temperatures)


@dataclass(frozen=True)
class Edits:
    """What one or more iterations wrote: N edits."""

    sequence: np.ndarray
    """(N, L) int16; rows of -1 where not parsed."""
    source: np.ndarray
    """(N, L) int16, the input edited."""
    trajectory: np.ndarray
    """(N,) int32, seed number x (1 + number of temperatures) + temperature number (0 greedy)."""
    step: np.ndarray
    """(N,) int32, iteration from 0."""
    temperature: np.ndarray
    """(N,) float32, 0 greedy."""
    logp_sum: np.ndarray
    """(N,) float64, nats."""
    logp_mean: np.ndarray
    """(N,) float64, nats a token."""
    parsed: np.ndarray
    """(N,) bool."""

    @staticmethod
    def concatenate(parts: Sequence[Edits]) -> Edits:
        """All rows of all parts, in order."""
        names = Edits.__dataclass_fields__
        return Edits(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def refine_sequences(
    sampler: Sampler,
    seeds: np.ndarray,
    *,
    temperatures: Sequence[float],
    iterations: int,
    num_samples: int,
    next_input: Literal["iteration", "trajectory"] = "iteration",
    judge: Judge | None = None,
    random_seed: int = 0,
    first_seed: int = 0,
    scratch: Path | None = None,
    progress: Callable[[int], object] | None = None,
) -> Edits:
    """Run Algorithm 3.

    Args:
        sampler: the policy.
        seeds: (S, L) sequences to start from.
        temperatures: T sampling temperatures; greedy decoding comes on top.
        iterations: n_i.
        num_samples: n_o, outputs of a sampled trajectory in one iteration.
        next_input: the most likely output of this iteration (Algorithm 3) or of the whole trajectory (the authors' release).
        judge: what is best in place of what is most likely; asked once an iteration but the last, for all its trajectories.
        random_seed: seed of all draws.
        first_seed: number of the first of `seeds` among all seeds of the round, when they are split over several runs.
        scratch: folder that keeps finished iterations; its name must identify the run.
        progress: called with the number of edits just made.

    Returns:
        S x (1 + T x n_o) x n_i edits, ordered by iteration; within one, greedy first, then by seed, temperature and sample.
    """
    loop = _Loop(
        sampler,
        np.asarray(seeds, dtype=np.int16),
        list(temperatures),
        num_samples,
        next_input,
        judge,
        random_seed,
        first_seed,
    )
    parts = []
    for step in range(iterations):
        saved = scratch / f"iteration-{step}.npz" if scratch is not None else None
        if saved is not None and saved.is_file():
            part = loop.restore(saved)
            if progress is not None:
                progress(len(part.sequence))
        else:
            part = loop.advance(step, progress, last=step + 1 == iterations)
            if saved is not None:
                loop.save(saved, part)
        parts.append(part)
    return Edits.concatenate(parts)


class _Loop:
    """The inputs of all trajectories, greedy (S,) and sampled (S x T,), and one iteration at a time."""

    def __init__(
        self,
        sampler: Sampler,
        seeds: np.ndarray,
        temperatures: list[float],
        num_samples: int,
        next_input: str,
        judge: Judge | None,
        random_seed: int,
        first_seed: int,
    ) -> None:
        self.sampler, self.next_input, self.judge, self.random_seed = sampler, next_input, judge, random_seed
        count, kinds = len(seeds), 1 + len(temperatures)
        number = first_seed + np.arange(count)
        grid = np.repeat(number, len(temperatures)), np.tile(np.arange(1, kinds), count)
        self.groups = [  # (seed number, temperature number, temperature, outputs an iteration)
            (number, np.zeros(count, dtype=np.int64), np.zeros(count), 1),
            (*grid, np.array([0.0, *temperatures])[grid[1]], num_samples),
        ]
        self.kinds = kinds
        self.inputs = [seeds, np.repeat(seeds, len(temperatures), axis=0)]
        self.best = [np.full(len(inputs), -np.inf) for inputs in self.inputs]

    def advance(self, step: int, progress: Callable[[int], object] | None, *, last: bool) -> Edits:
        batch = []
        for sources, (seed, kind, temperature, n) in zip(self.inputs, self.groups, strict=True):
            keys = row_keys(self.random_seed, seed[:, None], kind[:, None], step, np.arange(n)[None])
            batch.append((sources, temperature, keys))
        written, parts = list(self.sampler.sample_groups(batch, progress=progress)), []
        for i, samples in enumerate(written):
            seed, kind, temperature, _ = self.groups[i]
            parts.append(self._edits(samples, self.inputs[i], seed * self.kinds + kind, temperature, step))
        edits = Edits.concatenate(parts)
        for i, values in enumerate([] if last else self._values(written, edits, step)):
            self._choose_next(i, written[i], values)
        return edits

    def _values(self, written: list[Samples], edits: Edits, step: int) -> list[np.ndarray]:
        """What the outputs of each group are worth (P, n): their log-probability, or what the judge says; -inf where not parsed."""
        if self.judge is None:
            return [np.where(samples.parsed, samples.logp_sum, -np.inf) for samples in written]
        values = np.full(len(edits.parsed), -np.inf)
        if edits.parsed.any():
            values[edits.parsed] = self.judge(edits.sequence[edits.parsed], step)
        ends = np.cumsum([samples.parsed.size for samples in written])[:-1]
        return [
            part.reshape(samples.parsed.shape) for part, samples in zip(np.split(values, ends), written, strict=True)
        ]

    def _choose_next(self, group: int, samples: Samples, values: np.ndarray) -> None:
        rows, best = np.arange(len(values)), values.argmax(axis=1)
        floor = self.best[group] if self.next_input == "trajectory" else np.full(len(values), -np.inf)
        better = values[rows, best] > floor
        self.inputs[group] = np.where(better[:, None], samples.sequences[rows, best], self.inputs[group])
        self.best[group] = np.where(better, values[rows, best], floor)

    @staticmethod
    def _edits(
        samples: Samples, sources: np.ndarray, trajectory: np.ndarray, temperature: np.ndarray, step: int
    ) -> Edits:
        n = samples.parsed.shape[1]
        return Edits(
            sequence=samples.sequences.reshape(-1, sources.shape[1]),
            source=np.repeat(sources, n, axis=0),
            trajectory=np.repeat(trajectory, n).astype(np.int32),
            step=np.full(samples.parsed.size, step, dtype=np.int32),
            temperature=np.repeat(temperature, n).astype(np.float32),
            logp_sum=samples.logp_sum.reshape(-1),
            logp_mean=samples.logp_mean.reshape(-1),
            parsed=samples.parsed.reshape(-1),
        )

    def save(self, path: Path, part: Edits) -> None:
        state: dict[str, Any] = {f"inputs{i}": inputs for i, inputs in enumerate(self.inputs)} | {
            f"best{i}": best for i, best in enumerate(self.best)
        }
        with replacing(path) as temporary, open(temporary, "wb") as file:
            np.savez(file, **state, **vars(part))

    def restore(self, path: Path) -> Edits:
        with np.load(path, allow_pickle=False) as saved:
            self.inputs = [saved[f"inputs{i}"] for i in range(len(self.groups))]
            self.best = [saved[f"best{i}"] for i in range(len(self.groups))]
            return Edits(**{name: saved[name] for name in Edits.__dataclass_fields__})
