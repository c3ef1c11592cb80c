"""Does the policy still write sequences? Greedy outputs on held-out prompts, checked without an oracle.

A low validation loss does not promise well-formed outputs (appendix A.4 of the paper sees DPO lose the format), so their shares stand
beside the losses: well-formed, of the right length, in range, and not a copy of the input.
"""

from __future__ import annotations

import re

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from llome.codec import SequenceCodec
from llome.data.datamodule import PropEnDataModule
from llome.draws import row_keys
from llome.errors import ConfigError
from llome.modules.base import PolicyModule
from llome.policy.sampling import Sampler

_LIST = re.compile(r"\s*\[\s*(\d+(?:\s*,\s*\d+)*)\s*\]\s*", re.ASCII)


class ValidityCallback(Callback):
    """Logs `val/parsed`, `val/right_length`, `val/in_range`, `val/valid` and `val/novel` with the validations of the last epoch."""

    def __init__(self, num_prompts: int = 100) -> None:
        """Note how much to decode.

        Args:
            num_prompts: held-out source sequences that are decoded greedily; 0 turns it off.
        """
        if num_prompts < 0:
            raise ConfigError(f"validity.num_prompts is {num_prompts}; choose 0 or more")
        self.num_prompts = num_prompts

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Decode and log the shares."""
        remaining = trainer.estimated_stepping_batches - trainer.global_step
        if trainer.sanity_checking or not self.num_prompts or remaining >= trainer.num_training_batches:
            return
        data = trainer.datamodule  # type: ignore[attr-defined]
        assert isinstance(data, PropEnDataModule)
        assert isinstance(pl_module, PolicyModule)
        sources = np.unique(data.examples.sources[data.val_rows])[: self.num_prompts]
        sampler = Sampler(pl_module.policy, data.codec, device=pl_module.device)
        prompts = data.sequences[sources]
        samples = sampler.sample(prompts, np.zeros(len(prompts)), row_keys(0, np.arange(len(prompts))[:, None]))
        shares = validity(data.codec, samples.tokens[:, 0], prompts, samples.sequences[:, 0])
        pl_module.log_dict({f"val/{name}": share for name, share in shares.items()}, sync_dist=True)


def validity(codec: SequenceCodec, ids: np.ndarray, prompts: np.ndarray, sequences: np.ndarray) -> dict[str, float]:
    """Shares of completions that are as they should be.

    Args:
        codec: of the policy's tokenizer and the problem.
        ids: (N, T) tokens of the completions.
        prompts: (N, L) sequences that were to be edited.
        sequences: (N, L) sequences read from the completions; rows of -1 where they could not be.

    Returns:
        parsed (a list of numbers that ends), right_length and in_range (parsed, and of a right length or of elements below V), valid
        (all of these), novel (valid, and not the prompt again); each a share of N.
    """
    lists = _read_lists(codec, ids)
    readable = [values for values in lists if values is not None]
    valid = sequences[:, 0] >= 0
    novel = valid & (sequences != prompts).any(axis=1)
    counts = {
        "parsed": len(readable),
        "right_length": sum(codec.domain.least <= len(values) <= codec.length for values in readable),
        "in_range": sum(max(values) < codec.num_states for values in readable),
        "valid": int(valid.sum()),
        "novel": int(novel.sum()),
    }
    return {name: count / len(ids) for name, count in counts.items()}


def _read_lists(codec: SequenceCodec, ids: np.ndarray) -> list[list[int] | None]:
    """The numbers each completion spells, of any count and size; None where it is no list or does not end."""
    element_of = {int(token): element for element, token in enumerate(codec.elements)} if codec.compact else {}
    lists: list[list[int] | None] = []
    for row in ids.tolist():
        tokens = row[: row.index(codec.end_id)] if codec.end_id in row else []
        if codec.compact:
            whole = bool(tokens) and all(token in element_of for token in tokens)
            lists.append([element_of[token] for token in tokens] if whole else None)
        else:
            match = _LIST.fullmatch(codec.tokenizer.decode(tokens)) if tokens else None
            lists.append([int(number) for number in match[1].split(",")] if match else None)
    return lists
