"""Stage `base`: the starting policy, from a hub id or directory (Pythia), or a small one built and warmed up here.

Only a policy built here is warmed up, on copies with random edits of the labelled sequences: that takes the place of pre-training.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llome.errors import ConfigError, TableError
from llome.provenance import exclusive, hash_file, hash_json

if TYPE_CHECKING:
    from llome.policy.causal_lm import PolicyCard
    from llome.tables import Labeled


def base(
    *,
    labeled: Path,
    out: Path,
    random_seed: int = 0,
    pretrained: str | None = None,
    trust_remote_code: bool = False,
    hidden_size: int = 64,
    num_layers: int = 2,
    num_heads: int = 4,
    warmup_steps: int = 300,
    warmup_batch_size: int = 128,
    warmup_learning_rate: float = 3e-3,
    warmup_edit_rate: float = 0.05,
    device: str = "auto",
) -> None:
    """Make the starting policy.

    Args:
        labeled: labelled table that gives the problem and, for a policy built here, the sequences of the warm-up.
        out: policy directory to write.
        random_seed: of the weights and the warm-up.
        pretrained: hub id or directory of a causal language model (EleutherAI/pythia-2.8b, ...); null builds a small GPT-NeoX.
        trust_remote_code: run code that comes with a pretrained model.
        hidden_size: width of a policy built here.
        num_layers: its blocks.
        num_heads: its attention heads a block.
        warmup_steps: optimiser steps of the warm-up.
        warmup_batch_size: pairs a step of the warm-up.
        warmup_learning_rate: peak learning rate of the warm-up (AdamW, linear decay).
        warmup_edit_rate: probability that an element of a copy is redrawn (or left out, or given a neighbour, where lengths differ).
        device: auto, cpu, cuda, ...; where the warm-up runs.

    Raises:
        ConfigError: an impossible setting.
        PolicyError: a pretrained model that cannot be loaded, or that cannot keep the problem's limits on edits.
        TableError: a labelled table without sequences.
    """
    for name, value, least in (
        ("warmup_steps", warmup_steps, 0),
        ("warmup_batch_size", warmup_batch_size, 1),
        ("num_layers", num_layers, 1),
    ):
        if value < least:
            raise ConfigError(f"{name} is {value}; it must be at least {least}")
    if not 0 <= warmup_edit_rate <= 1:
        raise ConfigError(f"warmup_edit_rate is {warmup_edit_rate}; it is a probability, such as 0.05")
    with exclusive(out.parent):
        from llome.codec import SequenceCodec
        from llome.policy.causal_lm import PolicyCard, build_small_policy, load_pretrained, save_policy
        from llome.policy.limits import make_mask
        from llome.tables import Labeled

        table = Labeled.read(labeled)
        if not len(table):
            raise TableError(f"{labeled} has no sequence to warm up on; label some first")
        domain = table.meta.domain
        if pretrained is not None:
            model, tokenizer = load_pretrained(pretrained, trust_remote_code=trust_remote_code)
            settings: dict[str, Any] = {"pretrained": pretrained, "trust_remote_code": trust_remote_code}
            if domain.limited:  # a tokenizer that cannot keep the limits is better known now
                make_mask(SequenceCodec(tokenizer, domain), len(tokenizer))
            save_policy(out, model, tokenizer, PolicyCard("base", domain, settings=settings))
        else:
            settings = {
                "hidden_size": hidden_size,
                "num_layers": num_layers,
                "num_heads": num_heads,
                "warmup_steps": warmup_steps,
                "warmup_batch_size": warmup_batch_size,
                "warmup_learning_rate": warmup_learning_rate,
                "warmup_edit_rate": warmup_edit_rate,
                "random_seed": random_seed,
            }
            model, tokenizer = build_small_policy(
                domain.num_states,
                domain.length,
                hidden_size=hidden_size,
                num_layers=num_layers,
                num_heads=num_heads,
                random_seed=random_seed,
            )
            card = PolicyCard("base", domain, data=hash_file(labeled), settings=settings)
            if warmup_steps:
                _warm_up(model, tokenizer, table, card, out, device)
            else:
                save_policy(out, model, tokenizer, card)
        print(f"policy of {sum(p.numel() for p in model.parameters()):,} parameters: {out}")


def _warm_up(model: Any, tokenizer: Any, table: Labeled, card: PolicyCard, out: Path, device: str) -> None:
    """Train on copies with edits and write the result to `out`; the untrained policy lies in a scratch folder meanwhile."""
    from functools import partial

    import numpy as np
    from lightning.pytorch import Trainer
    from torch.optim import AdamW

    from llome.data.batches import StepLoader, StepSampler, TokenTable
    from llome.data.copies import copies_with_edits
    from llome.modules import SFTModule
    from llome.policy.causal_lm import codec_for, save_policy
    from llome.policy.devices import pick_device

    logging.getLogger("lightning.pytorch").setLevel(logging.WARNING)  # no hardware listing, no tips
    settings = card.settings
    steps, batch_size, seed = settings["warmup_steps"], settings["warmup_batch_size"], settings["random_seed"]
    feasible = table.sequence[table.score > float("-inf")]
    sequences = feasible if len(feasible) else table.sequence
    everything, examples = copies_with_edits(
        sequences, steps * batch_size, domain=card.domain, edit_rate=settings["warmup_edit_rate"], random_seed=seed
    )
    scratch = out.parent / ".scratch" / f"base-{hash_json([settings, card.data])}"
    save_policy(scratch, model, tokenizer, card)
    optimizer = partial(AdamW, lr=settings["warmup_learning_rate"], weight_decay=0.01)
    module = SFTModule(str(scratch), optimizer=optimizer, warmup_steps=min(20, steps // 2), random_seed=seed)
    sampler = StepSampler(np.arange(len(examples)), batch_size, shuffle=True, random_seed=seed)
    loader = StepLoader(TokenTable(examples, everything, codec_for(tokenizer, card)), sampler, batch_size)
    kind, _, index = pick_device(device).partition(":")
    trainer = Trainer(
        accelerator=kind,
        devices=[int(index)] if index else 1,
        max_epochs=1,  # the loader holds exactly the steps of the warm-up
        limit_val_batches=0,
        gradient_clip_val=1.0,
        default_root_dir=scratch,
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        log_every_n_steps=10,
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="You defined a `validation_step`")
        warnings.filterwarnings("ignore", message=r".isinstance\(treespec, LeafSpec", category=FutureWarning)
        trainer.fit(module, train_dataloaders=loader)
    save_policy(out, module.policy.eval(), tokenizer, card)
    shutil.rmtree(scratch, ignore_errors=True)
