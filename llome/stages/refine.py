"""Stage `refine`: the inner loop (Algorithm 3). Reads a policy and a labelled table, writes proposals; sees no oracle."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from llome.errors import ConfigError, TableError
from llome.leon.ranks import Leon, Rank
from llome.provenance import exclusive, hash_file, hash_json, read_json
from llome.shards import Shard

if TYPE_CHECKING:
    import numpy as np

    from llome.domain import Domain
    from llome.tables import Labeled


def refine(
    *,
    model: Path,
    labeled: list[Path],
    out: Path,
    summary: Path | None = None,
    shard: str | None = None,
    random_seed: int = 0,
    num_seeds: int = 200,
    iterations: int = 10,
    num_samples: int = 10,
    temperatures: list[float] = [0.6, 0.8, 1.0, 1.2, 1.4, 1.6],  # noqa: B006 (jsonargparse shows it; never changed)
    next_input: Literal["iteration", "trajectory"] = "iteration",
    rank: Rank = "likelihood",
    leon: Leon | None = None,
    surrogate: Path | None = None,
    grammar: bool = False,
    max_batch_tokens: int | None = None,
    device: str = "auto",
    precision: Literal["fp32", "bf16", "fp64"] = "fp32",
) -> None:
    """Let a policy edit its best sequences, iteration by iteration.

    Args:
        model: policy directory.
        labeled: labelled tables so far; their best distinct sequences are the seeds. (Algorithm 3 names the last round's alone; there a
            labelled sequence could be proposed again and so stay among them. Here it never is, and the best would be lost.)
        out: proposals (Parquet) to write.
        summary: summary.json of the last round, whose mean distance of edits may raise the temperatures (none in the first round).
        shard: edit this part of the seeds alone, such as 2/4; `llome gather` joins the parts.
        random_seed: seed of all draws.
        num_seeds: n_s, sequences to start from.
        iterations: n_i, edits in a row.
        num_samples: n_o, outputs a temperature and iteration.
        temperatures: sampling temperatures before adjustment; greedy decoding comes on top.
        next_input: the best output of this iteration (the paper) or of the whole trajectory (the authors' release).
        rank: what is best: the likeliest (the paper), what a surrogate says is worth most, or what is worth most and not too far from
            what is known (leon). All trajectories of an iteration are judged together.
        leon: settings of `rank: leon`.
        surrogate: surrogate directory of `llome surrogate`, for a rank other than likelihood.
        grammar: allow only well-formed completions of a right length and range; always so where the problem limits edits.
        max_batch_tokens: tokens of prompts and completions held at once; bounds the memory, changes no result beyond rounding. None: a
            number for the kind of device, fewer where the free memory is too small for it.
        device: auto, cpu, cuda, cuda:1, ...
        precision: number format of the weights and activations.

    Raises:
        ConfigError: an impossible setting.
        PolicyError: a policy that cannot keep the problem's limits on edits.
        TableError: tables of another oracle than the policy's, or nothing to start from.
    """
    for name, value in (
        ("num_seeds", num_seeds),
        ("iterations", iterations),
        ("num_samples", num_samples),
        ("max_batch_tokens", max_batch_tokens),
    ):
        if value is not None and value < 1:
            raise ConfigError(f"{name} is {value}; it must be at least 1")
    if not temperatures or min(temperatures) <= 0:
        raise ConfigError(
            f"temperatures are {temperatures}; give at least one, each above 0 (greedy decoding comes on top)"
        )
    if (surrogate is None) != (rank == "likelihood"):
        raise ConfigError(
            f"rank is {rank}, and {'no surrogate was given' if surrogate is None else 'a surrogate was given'}; rank: surrogate and rank:"
            " leon need one (surrogate: in the experiment), rank: likelihood has no use for it"
        )
    part = Shard.parse(shard)
    if rank == "leon" and not part.whole:
        raise ConfigError(
            f"rank: leon tells from all seeds at once how far proposals are from what is known, so it cannot be done in parts ({shard});"
            " leave refine out of shards, or take rank: surrogate"
        )
    with exclusive(out.parent, part.lock(out)):
        import numpy as np
        import torch
        from tqdm import tqdm

        from llome.policy.causal_lm import check_domain, codec_for, hash_policy, load_policy
        from llome.policy.devices import claim_gpus, pick_device
        from llome.policy.refinement import adjusted_temperatures, refine_sequences
        from llome.policy.sampling import Sampler
        from llome.tables import Labeled, Meta, Proposals, best_sequences, same_problem

        tables = [Labeled.read(path) for path in labeled]
        domain = same_problem([(str(path), table.meta) for path, table in zip(labeled, tables, strict=True)])
        claim_gpus()
        where = pick_device(device)
        dtype = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}[precision]
        policy, tokenizer, card = load_policy(model, dtype=dtype)
        check_domain(card, domain, model, labeled[0])
        seeds = best_sequences(tables, num_seeds)
        if not len(seeds):
            raise TableError(f"{labeled[-1]} has no sequence to start from; label some first")
        share = part.slice(len(seeds))
        last = read_json(summary) if summary is not None else {}
        used = adjusted_temperatures(temperatures, last.get("mean_hamming", last.get("mean_edit_distance")))
        grammar = grammar or domain.limited
        settings = {
            "num_seeds": num_seeds,
            "iterations": iterations,
            "num_samples": num_samples,
            "temperatures": used,
            "next_input": next_input,
            "grammar": grammar,
            "precision": precision,
            "random_seed": random_seed,
            **part.settings(),
        }
        inputs = {"model": hash_policy(model), "labeled": hash_json([hash_file(path) for path in labeled])}
        judge = None
        if surrogate is not None:
            leon = (leon or Leon()) if rank == "leon" else None
            settings |= {"rank": rank, **({"leon": asdict(leon)} if leon else {})}
            inputs["surrogate"] = hash_file(surrogate)
            judge = _judge(surrogate, leon, tables, domain, random_seed)
        scratch = out.parent / ".scratch" / f"refine-{hash_json([settings, inputs, where.partition(':')[0]])}"
        sampler = Sampler(
            policy, codec_for(tokenizer, card), grammar=grammar, max_batch_tokens=max_batch_tokens, device=where
        )
        seeds = seeds[share]
        total = len(seeds) * (1 + len(used) * num_samples) * iterations
        with tqdm(total=total, desc="refine", unit="edit", unit_scale=True, mininterval=1.0) as bar:
            edits = refine_sequences(
                sampler,
                seeds,
                temperatures=used,
                iterations=iterations,
                num_samples=num_samples,
                next_input=next_input,
                judge=judge,
                random_seed=random_seed,
                first_seed=share.start,
                scratch=scratch,
                progress=bar.update,
            )
        parsed = int(np.count_nonzero(edits.parsed))
        Proposals(meta=Meta(domain, inputs, settings, spent=tables[-1].meta.spent), **vars(edits)).write(out)
        shutil.rmtree(scratch, ignore_errors=True)
        print(f"{total:,} edits of {len(seeds)} seeds, {parsed:,} parsed, temperatures {used[0]:g}-{used[-1]:g}: {out}")
        if part.whole and not parsed:
            remedy = "train longer, lower the temperatures or set grammar: true"
            print(f"warning: no edit of {model} could be parsed, so the chain of rounds ends here; {remedy}")


def _judge(
    surrogate: Path, leon: Leon | None, labeled: list[Labeled], domain: Domain, random_seed: int
) -> Callable[[np.ndarray, int], np.ndarray] | None:
    """What says which output is best; None, the likelihood, where the labels have nothing to teach."""
    from llome.leon.ranking import Ranking

    ranking = Ranking.load(surrogate, labeled, domain, leon, random_seed=random_seed)
    if ranking.reason:
        print(f"warning: {ranking.reason}, so the next input is the likeliest")
        return None

    return lambda sequences, step: ranking.rank(sequences, batch=step).score
