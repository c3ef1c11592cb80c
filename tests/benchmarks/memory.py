"""Memory of a training step of SFT, DPO and MargE side by side: `python tests/benchmarks/memory.py` prints a table, writes nothing.

A GPT-NeoX from a configuration, one labelled table and one effective batch for all, whole or in micro-batches, with and without
gradient checkpointing. Each row is a fresh process. `held` are all tensors alive before the first step: were there a second model for
the reference, it would be there twice. `peak` is how far two steps rise above that, gradients and the optimiser's state included:
on a GPU of what the allocator gave out, else of resident memory. DPO's examples have two completions, the others' one.
"""

from __future__ import annotations

import gc
import itertools
import json
import logging
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path
from typing import Any

OBJECTIVES = ("sft", "dpo", "marge")
STEPS = 2
MIB = 2**20


def main(
    hidden_size: int = 256,
    num_layers: int = 6,
    num_heads: int = 8,
    num_states: int = 32,
    length: int = 32,
    batch_size: int = 64,
    micro_batch_sizes: list[int] = [64, 8],  # noqa: B006 (jsonargparse shows it; never changed)
) -> None:
    """Measure and print.

    Args:
        hidden_size: width of the policy.
        num_layers: its blocks.
        num_heads: its attention heads a block.
        num_states: size of the alphabet; the vocabulary is compact.
        length: of a sequence.
        batch_size: examples of a step.
        micro_batch_sizes: examples of one forward and backward pass, one table row each.
    """
    print(f"GPT-NeoX of {num_layers} x {hidden_size}, V {num_states}, L {length}, {batch_size} examples a step")
    print(
        "| objective | micro-batch | checkpointing | held (MiB) | peak (MiB) | seconds a step |\n|---|---|---|---|---|---|"
    )
    for size, on, objective in itertools.product(micro_batch_sizes, (False, True), OBJECTIVES):
        row = {"objective": objective, "micro_batch_size": size, "gradient_checkpointing": on, "batch_size": batch_size}
        row |= {"num_states": num_states, "length": length, "hidden_size": hidden_size}
        held, peak, seconds = in_fresh_process(row | {"num_layers": num_layers, "num_heads": num_heads})
        shown = f"{objective} | {size} | {'on' if on else 'off'} | {held / MIB:.1f} | {peak / MIB:.0f} | {seconds:.2f}"
        print(f"| {shown} |", flush=True)


def in_fresh_process(settings: dict[str, Any]) -> list[float]:
    """[held, peak, seconds] of `measure`; glibc gives back at once what is freed, so that nothing hides in its arenas."""
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "65536"}
    code = f"import json, memory; print(json.dumps(memory.measure(**json.loads({json.dumps(settings)!r}))))"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=Path(__file__).parent, env=environment, stdout=subprocess.PIPE, check=True
    )
    return json.loads(done.stdout.splitlines()[-1])


def measure(
    *,
    objective: str,
    batch_size: int,
    micro_batch_size: int,
    gradient_checkpointing: bool,
    num_states: int,
    length: int,
    **size: int,
) -> list[float]:
    """[bytes held before the first step, rise of the peak over two steps, seconds of the last]; in a process of its own."""
    import torch
    from lightning.pytorch import Callback, Trainer

    sys.path.insert(0, str(Path(__file__).parent.parent))
    from training_fixtures import draw_table

    from llome.data.datamodule import PropEnDataModule
    from llome.domain import Domain
    from llome.modules import DPOModule, MargEModule, SFTModule
    from llome.policy.causal_lm import PolicyCard, build_small_policy, save_policy

    class Meter(Callback):
        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            sum(
                float(p.sum()) for p in pl_module.parameters()
            )  # weights are mapped from their file until they are read
            gc.collect()
            storages = [t.untyped_storage() for t in gc.get_objects() if isinstance(t, torch.Tensor)]
            self.held = sum({s.data_ptr(): s.nbytes() for s in storages if s.device == pl_module.device}.values())
            self.before, self.since = restart_peak(), time.perf_counter()

        def on_train_batch_start(self, *args: Any) -> None:
            self.since = time.perf_counter()

        def on_train_batch_end(self, *args: Any) -> None:
            self.seconds, self.rise = time.perf_counter() - self.since, peak() - self.before

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore")
    domain, meter = Domain(num_states, length, "0" * 16), Meter()
    module_class = {"sft": SFTModule, "dpo": DPOModule, "marge": MargEModule}[objective]
    with tempfile.TemporaryDirectory() as folder:
        parent, table = f"{folder}/model", f"{folder}/labeled.parquet"
        model, tokenizer = build_small_policy(num_states, length, random_seed=0, **size)
        save_policy(parent, model, tokenizer, PolicyCard("base", domain))
        model(
            input_ids=torch.zeros((2, length), dtype=torch.int64)
        ).logits.sum().backward()  # kernels are loaded by now
        del model
        draw_table(4 * batch_size, domain=domain).write(table)
        data = PropEnDataModule(
            parent,
            [table],
            kind=module_class.kind,
            num_neighbours=4,  # few examples: two steps of them, and a short pass of the reference
            max_distance=0.5,
            max_infeasible=1.0,
            max_triples_per_source=1,
            val_fraction=0.0,
            batch_size=batch_size,
            micro_batch_size=micro_batch_size,
        )
        module = module_class(parent, optimizer=torch.optim.AdamW, gradient_checkpointing=gradient_checkpointing)
        trainer = Trainer(
            accelerator="gpu" if torch.cuda.is_available() else "cpu",
            devices=1,
            max_epochs=1,
            limit_train_batches=STEPS,
            limit_val_batches=0,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
            callbacks=[meter],
        )
        trainer.fit(module, datamodule=data)
    return [meter.held, meter.rise, meter.seconds]


def restart_peak() -> int:
    """Bytes in use now; the peak counts anew from here, where the system can do that (Linux, CUDA)."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    if os.access("/proc/self/clear_refs", os.W_OK):
        Path("/proc/self/clear_refs").write_text("5")
    return peak()


def peak() -> int:
    """The most bytes that were in use at once."""
    import torch

    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        found = re.search(r"VmHWM:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    from jsonargparse import auto_cli

    auto_cli(main)
