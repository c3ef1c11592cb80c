"""The one LightningDataModule: labelled tables in, optimiser steps of matched pairs or triples out, for every objective.

It reads tables and the policy's card and tokenizer, never the oracle.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from lightning.pytorch import LightningDataModule
from transformers import AutoTokenizer

from llome.codec import SequenceCodec
from llome.data.batches import StepLoader, StepSampler, TokenTable
from llome.data.pairs import Examples, Kind, match_examples, select_best, split_by_source
from llome.distances import Distance, choose_distance
from llome.domain import Domain
from llome.draws import row_keys as draw_keys
from llome.errors import ConfigError, TableError
from llome.policy.causal_lm import check_domain, load_card
from llome.provenance import hash_file, hash_json
from llome.tables import Labeled, row_keys, same_problem

_VALIDATION = 4
"""Purpose of the keys that order the validation examples, beside those of llome.data.pairs."""


class PropEnDataModule(LightningDataModule):
    """Matched examples of labelled tables (Algorithm 2), tokenised for a policy, split by source, in whole optimiser steps."""

    def __init__(
        self,
        parent: str,
        labeled: list[str],
        *,
        kind: Kind = "pairs",
        num_best: int | None = None,
        num_neighbours: int = 30,
        max_distance: float = 0.25,
        distance: Distance | None = None,
        max_infeasible: float = 0.1,
        max_triples_per_source: int = 10,
        val_fraction: float = 0.05,
        batch_size: int = 128,
        micro_batch_size: int | None = None,
        random_seed: int = 0,
    ) -> None:
        """Note the settings; nothing is read before `setup`.

        Args:
            parent: policy directory; gives the tokenizer and the problem.
            labeled: labelled tables, matched as one.
            kind: pairs (SFT, MargE, REINFORCE) or triples (DPO).
            num_best: match the best labelled sequences alone, this many, at most half of them of one score; null for all.
            num_neighbours: nearest neighbours each sequence is matched with.
            max_distance: largest distance of source and target, as a share of the length (the longer one's where lengths differ).
            distance: hamming or edit (substitutions, insertions and deletions); null: hamming, and edit where lengths differ.
            max_infeasible: largest share of examples whose source is infeasible, where any is feasible.
            max_triples_per_source: triples kept of one source.
            val_fraction: share of source sequences held out for validation.
            batch_size: examples of one optimiser step, over all micro-batches and devices.
            micro_batch_size: most examples of one forward and backward pass on one device; null for no limit. Changes memory, not results.
            random_seed: of neighbours' ties, choices, split and order.
        """
        super().__init__()
        for name, value in (("batch_size", batch_size), ("micro_batch_size", micro_batch_size)):
            if value is not None and value < 1:
                raise ConfigError(f"{name} is {value}; choose at least 1")
        if num_best is not None and num_best < 2:
            raise ConfigError(f"num_best is {num_best}; a pair takes at least 2 sequences")
        if not labeled:
            raise ConfigError("no labelled table is given; name one or more with --labeled")
        self.parent, self.labeled, self.kind, self.num_best = parent, labeled, kind, num_best
        self.num_neighbours, self.max_distance = num_neighbours, max_distance
        self.distance = distance
        self.max_infeasible, self.max_triples_per_source = max_infeasible, max_triples_per_source
        self.val_fraction, self.batch_size, self.micro_batch_size = val_fraction, batch_size, micro_batch_size
        self.random_seed = random_seed
        self._ready = False
        self._train_loader: StepLoader | None = None
        self._resume: dict[str, Any] | None = None

    @cached_property
    def data_hash(self) -> str:
        """Hash of the labelled tables' bytes, in the given order."""
        return hash_json([hash_file(path) for path in self.labeled])

    def setup(self, stage: str) -> None:
        """Read the tables, match and split. Raises LlomeError subclasses on anything a user can mend."""
        if self._ready:
            return
        card = load_card(self.parent)
        tables = [Labeled.read(path) for path in self.labeled]
        domain: Domain = same_problem([(p, t.meta) for p, t in zip(self.labeled, tables, strict=True)])
        check_domain(card, domain, self.parent, self.labeled[0])
        self.sequences = np.concatenate([table.sequence for table in tables])
        self.scores = np.concatenate([table.score for table in tables])
        if not len(self.sequences):
            raise TableError(
                f"there is no sequence to learn from in {', '.join(self.labeled)}; give a table with labels"
            )
        self._check_distinct([len(table) for table in tables])
        if self.num_best is not None:
            kept = select_best(self.scores, np.concatenate([table.query for table in tables]), self.num_best)
            self.sequences, self.scores = self.sequences[kept], self.scores[kept]
        self.examples: Examples = match_examples(
            self.sequences,
            self.scores,
            kind=self.kind,
            num_neighbours=self.num_neighbours,
            max_distance=self.max_distance,
            max_infeasible=self.max_infeasible,
            max_triples_per_source=self.max_triples_per_source,
            random_seed=self.random_seed,
            distance=choose_distance(self.distance, domain),
        )
        self.train_rows, val_rows = split_by_source(
            self.examples, self.sequences, self.val_fraction, random_seed=self.random_seed
        )
        # in an order of chance, and always the same, so that the first few (limit_val_batches) stand for all
        self.val_rows = val_rows[np.argsort(draw_keys(self.random_seed, _VALIDATION, val_rows), kind="stable")]
        tokenizer = AutoTokenizer.from_pretrained(self.parent)
        self.codec = SequenceCodec(tokenizer, domain)
        self.table = TokenTable(self.examples, self.sequences, self.codec)
        self._ready = True

    def _check_distinct(self, sizes: list[int]) -> None:
        _, first, inverse = np.unique(row_keys(self.sequences), return_index=True, return_inverse=True)
        repeated = np.flatnonzero(first[inverse] != np.arange(len(self.sequences)))
        if len(repeated):
            ends = np.cumsum(sizes)
            one, other = (
                self.labeled[int(np.searchsorted(ends, row, side="right"))]
                for row in (first[inverse[repeated[0]]], repeated[0])
            )
            raise TableError(
                f"{len(repeated)} sequences stand in more than one labelled table, the first in {one} and {other}:"
                f" {self.sequences[repeated[0]].tolist()}; give each table once"
            )

    def loader(self, rows: np.ndarray, *, shuffle: bool = False) -> StepLoader:
        """This process's part of the examples of these row numbers, in optimiser steps."""
        trainer = self.trainer
        rank, world_size = (trainer.global_rank, trainer.world_size) if trainer is not None else (0, 1)
        sampler = StepSampler(
            rows, self.batch_size, shuffle=shuffle, random_seed=self.random_seed, rank=rank, world_size=world_size
        )
        return StepLoader(self.table, sampler, self.micro_batch_size or self.batch_size)

    def train_dataloader(self) -> StepLoader:
        """Optimiser steps in an order keyed by seed and epoch."""
        self._train_loader = self.loader(self.train_rows, shuffle=True)
        if self._resume:
            self._train_loader.load_state_dict(self._resume)
            self._resume = None
        return self._train_loader

    def val_dataloader(self) -> StepLoader:
        """The held-out examples, in the same order every time; no step where none are held out."""
        return self.loader(self.val_rows)

    def state_dict(self) -> dict[str, Any]:
        """The place in the epoch, for checkpoints."""
        return self._train_loader.state_dict() if self._train_loader is not None else {}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Resume the epoch where the checkpoint left it."""
        if self._train_loader is None:
            self._resume = state_dict
        else:
            self._train_loader.load_state_dict(state_dict)
