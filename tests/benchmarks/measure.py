"""What a bench file calls: times ours with pytest-benchmark, notes the peer beside it, and says what was asked of the row.

A peer is timed on one thread and on as many as ours has, and its better time counts: some are slower on two, by far where another
process has one of the cores. Everything the table needs lies in the benchmark's `extra_info`, so that pytest-benchmark's JSON is the
whole record.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from .environments import ROOT, Allowed, NotMeasuredError, run_peer
from .peers.clock import busy_share, repeat
from .sizes import Size

Asked = Literal["speed-up", "slow-down", "seconds", "value", "nothing"]
"""What floor and aim bound: the speed against the peer's (at least), the time against another's, the seconds or the value (at most)."""


class Measure:
    """One row of the table. Without pytest-benchmark (at toy sizes) every function is called once."""

    def __init__(self, benchmark: Any, size: Size, folder: Path, *, peers: Allowed = "nothing") -> None:
        """Note how to measure; `folder` is for files that are handed to peers."""
        self.size, self.info = size, {} if benchmark is None else benchmark.extra_info
        self._benchmark, self.folder, self._peers = benchmark, folder, peers

    def ours(
        self,
        path: str,
        function: Callable[[], Any],
        *,
        asked: Asked = "speed-up",
        floor: float | None = None,
        aim: float | None = None,
        unit: str = "",
        work: float | Callable[[Any], float] = 1.0,
        rounds: int | None = None,
        warm_up: bool = True,
        seconds: Callable[[Any], Sequence[float]] | None = None,
        flops: float = 0.0,
        moved: float = 0.0,
    ) -> Any:
        """Time a function and describe the row.

        Args:
            path: the path's name in the table.
            function: what is timed.
            asked: what `floor` and `aim` bound.
            floor: worst value that is acceptable; None: nothing is asked.
            aim: value that is hoped for.
            unit: of `work`; without one the row shows seconds.
            work: units done by a call, or how to read them off its result.
            rounds: timed calls; None: those of the size.
            warm_up: whether one call that is not counted comes first.
            seconds: reads timings off the result, where the function times itself (steps without their start-up).
            flops: floating-point operations of a timing, for its share of the machine's product of matrices.
            moved: bytes read and written by a timing, for its share of the machine's copy.

        Returns:
            What the function returned.
        """
        rounds = rounds or self.size.rounds
        self.info.update(threads=torch.get_num_threads(), busy=busy_share() if self._benchmark else None)
        if self._benchmark is None:
            result = function()
        else:
            result = self._benchmark.pedantic(function, rounds=rounds, iterations=1, warmup_rounds=int(warm_up))
        self.info.update(path=path, asked=asked, floor=floor, aim=aim, unit=unit, flops=flops, moved=moved)
        self.info["work"] = float(work(result) if callable(work) else work)
        if seconds is not None:
            self.info["seconds"] = list(seconds(result))
        return result

    @property
    def environment(self) -> dict[str, str]:
        """Of child processes: this checkout's llome and benchmarks, no workflow to follow."""
        kept = {name: value for name, value in os.environ.items() if name != "LLOME_WORKFLOW_PID"}
        return kept | {"PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}

    def value(self, value: float, unit: str) -> None:
        """The row's number where it is no time: bytes held, an exponent."""
        self.info.update(value=value, unit=unit)

    def remark(self, text: str) -> None:
        """Add what a reader of the row should know."""
        self.info["remark"] = "; ".join(filter(None, [self.info.get("remark"), text]))

    def peer(
        self, name: str, seconds: Sequence[float], *, work: float | None = None, scale: float = 1.0, remark: str = ""
    ) -> None:
        """Note a peer's timings.

        Args:
            name: what was timed.
            seconds: of each call.
            work: units done by a call; None: as ours.
            scale: factor on its time, where part of the work was measured.
            remark: what was measured then.
        """
        self.info["peer"] = {
            "name": name,
            "seconds": [scale * s for s in seconds],
            "work": self.info["work"] if work is None else float(work),
        }
        if remark:
            self.remark(remark)

    def repeat_peer(self, function: Callable[[], Any], rounds: int) -> list[float]:
        """Timings of a peer that runs in this process, for `peer`."""
        threads, timings = torch.get_num_threads(), []
        try:
            for count in self._threads:
                torch.set_num_threads(count)
                timings.append(repeat(function, rounds))
        finally:
            torch.set_num_threads(threads)
        return min(timings, key=min)

    @property
    def _threads(self) -> list[int]:
        return sorted({1, self.info["threads"]})

    def peer_script(
        self,
        name: str,
        environment: str,
        script: str,
        *,
        given: dict[str, Any],
        rounds: int | None = None,
        case: str = "",
    ) -> dict[str, Any] | None:
        """Run a peer's script in its environment on `given` (arrays and texts); its answer, or None where it cannot be measured."""
        file = self.folder / "given.npz"
        arrays: dict[str, Any] = {key: json.dumps(v) if isinstance(v, dict) else v for key, v in given.items()}
        np.savez(file, **arrays)
        try:
            answer = run_peer(
                environment,
                script,
                given=file,
                rounds=rounds or self.size.rounds,
                case=case,
                threads=self._threads,
                allowed=self._peers,
            )
        except NotMeasuredError as err:
            self.info["peer"] = {"name": name, "not_measured": str(err)}
            return None
        self.peer(name, answer["seconds"], remark=f"peer on {answer['threads']} threads")
        return answer
