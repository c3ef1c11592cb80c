"""How far the memory of a refinement's batch rises above what is held before it: a script, run in a process of its own."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))


def main(num_states: int, length: int, hidden_size: int, num_layers: int, num_heads: int, tokens: int) -> int:
    import numpy as np
    from memory import peak, restart_peak

    from llome.codec import SequenceCodec
    from llome.domain import Domain
    from llome.draws import row_keys
    from llome.policy.causal_lm import build_small_policy
    from llome.policy.sampling import Sampler

    model, tokenizer = build_small_policy(
        num_states, length, random_seed=0, hidden_size=hidden_size, num_layers=num_layers, num_heads=num_heads
    )
    sampler = Sampler(
        model, SequenceCodec(tokenizer, Domain(num_states, length, "")), max_batch_tokens=tokens, grammar=True
    )
    prompts = np.random.default_rng(0).integers(num_states, size=(sampler.rows_per_batch // 8, length))
    keys = row_keys(0, np.arange(len(prompts))[:, None], 0, 0, np.arange(8)[None])
    sampler.sample(prompts[:1], np.ones(1), keys[:1])  # kernels are loaded by now
    before = restart_peak()
    sampler.sample(prompts, np.full(len(prompts), 1.6), keys)
    return peak() - before


if __name__ == "__main__":
    print(main(*map(int, sys.argv[1:])))
