"""TRL's SFTTrainer and DPOTrainer on the policy, texts, batch and precision that ours are timed with, in their own environment.

    python trl_training.py --input FILE.npz --case sft|dpo

FILE holds the policy's folder `model`, `batch_size`, `chunk` (steps timed together), `chunks`, and texts `prompts` (M,) and
`completions` (M, C). What would slow TRL for nothing here is off: gradient checkpointing, saving, progress bars; the reference of DPO
is computed once, before the steps, as in ours, where TRL left alone computes it again in every step. Logging is every 5 steps, as
in ours; the metrics TRL computes in every step are its own.
"""

from __future__ import annotations

import tempfile
from typing import Any

import numpy as np
from clock import Chunks, arguments, report
from datasets import Dataset, disable_progress_bars
from transformers import AutoModelForCausalLM, AutoTokenizer, TrainerCallback
from transformers.utils import logging
from trl import DPOConfig, DPOTrainer, SFTConfig, SFTTrainer


class Clock(TrainerCallback):
    """Hands every step's end to the chunks."""

    def __init__(self, chunks: Chunks) -> None:
        self.chunks = chunks

    def on_step_end(self, *args: Any, **kwargs: Any) -> None:
        self.chunks.step()


def main() -> None:
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    disable_progress_bars()
    options = arguments()
    with np.load(options.input) as given, tempfile.TemporaryDirectory() as folder:
        chunks = Chunks(int(given["chunk"]))
        trainer = make_trainer(options.case, given, folder)
        trainer.add_callback(Clock(chunks))
        trainer.train()
        batch = next(iter(trainer.get_train_dataloader()))
    report(chunks.seconds, tokens=batch["input_ids"].numel())


def make_trainer(case: str, given: Any, folder: str) -> Any:
    model = AutoModelForCausalLM.from_pretrained(str(given["model"]))
    tokenizer = AutoTokenizer.from_pretrained(str(given["model"]))
    prompts, completions = given["prompts"].tolist(), given["completions"]
    settings: dict[str, Any] = {
        "output_dir": folder,
        "per_device_train_batch_size": int(given["batch_size"]),
        "max_steps": int(given["chunk"]) * (1 + int(given["chunks"])),
        "max_length": None,
        "learning_rate": 1e-4,
        "warmup_steps": 20,
        "max_grad_norm": 1.0,
        "logging_steps": 5,
        "use_cpu": True,
        "bf16": False,
        "gradient_checkpointing": False,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
    }
    if case == "sft":
        data = Dataset.from_dict({"prompt": prompts, "completion": completions[:, 0].tolist()})
        config = SFTConfig(**settings, optim="adamw_torch_fused")
        return SFTTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)
    data = Dataset.from_dict(
        {"prompt": prompts, "chosen": completions[:, 0].tolist(), "rejected": completions[:, 1].tolist()}
    )
    config = DPOConfig(**settings, optim="rmsprop", beta=0.4, precompute_ref_log_probs=True)
    return DPOTrainer(model, args=config, train_dataset=data, processing_class=tokenizer)


main()
