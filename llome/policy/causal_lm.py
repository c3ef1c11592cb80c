"""Policies on disk and in memory: any causal language model, as an ordinary Hugging Face directory plus `llome.json`.

`llome.json` is written last and lists every other file with its size and hash, so that a directory without its last file, or with a
truncated one, is refused before any work. Weights are safetensors only; code from a model repository runs only where a user asks for
it (`trust_remote_code`). Reading a card or a hash needs no torch.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llome import __version__
from llome.codec import SequenceCodec, compact_tokenizer
from llome.domain import Domain
from llome.errors import PolicyError, TableError
from llome.provenance import MODEL_MARKER, hash_json, read_json, replacing, write_json

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class PolicyCard:
    """What a policy is and where it came from (`llome.json`)."""

    objective: str
    """"base", or the objective of its last round of training."""
    domain: Domain
    """The problem its tokenizer and training data belong to."""
    parent: str | None = None
    """Hash of the policy it was trained from."""
    data: str | None = None
    """Hash of the labelled data it was trained on."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Resolved settings of the stage that wrote it."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Numbers of its training: pairs, steps, losses, validity."""
    files: dict[str, list[Any]] = field(default_factory=dict)
    """Size in bytes and hash of every file of the directory; filled in on saving."""
    version: str = __version__


def load_card(directory: str | Path) -> PolicyCard:
    """Read `llome.json` and check that every file it lists is there in full. Raises PolicyError naming what is missing."""
    directory = Path(directory)
    marker = directory / MODEL_MARKER
    if not marker.is_file():
        kind = "holds no llome.json" if directory.is_dir() else "is a file" if directory.exists() else "does not exist"
        raise PolicyError(
            f"policy directory {directory} {kind}: it is incomplete or not ours; make it with `llome base` or `llome train`"
        )
    raw = read_json(marker)
    try:
        card = PolicyCard(**{**raw, "domain": Domain(**raw["domain"])})
    except (TypeError, KeyError) as err:
        raise PolicyError(
            f"{marker} is not a policy card ({err}); make the policy again with `llome base` or `llome train`"
        ) from err
    for name, (size, _) in card.files.items():
        file = directory / name
        if not file.is_file() or file.stat().st_size != size:
            found = f"has {file.stat().st_size} bytes instead of {size}" if file.is_file() else "is missing"
            raise PolicyError(
                f"policy directory {directory}: {name} {found}; delete the directory and run its stage again"
            )
    return card


def hash_policy(directory: str | Path) -> str:
    """Hash of a policy's content (weights, tokenizer, provenance), from its card."""
    load_card(directory)
    return hash_json(read_json(Path(directory) / MODEL_MARKER))


def save_policy(directory: str | Path, model: Any, tokenizer: Any, card: PolicyCard) -> None:
    """Write an ordinary Hugging Face directory, `llome.json` last, beside `directory`, and rename it."""
    with replacing(directory) as temporary, _quiet():
        model.config._name_or_path = ""  # no path of this machine in the artefact
        model.save_pretrained(temporary)
        for key in ("name_or_path", "is_local", "local_files_only"):
            tokenizer.init_kwargs.pop(key, None)
        tokenizer.name_or_path = ""
        tokenizer.save_pretrained(temporary)
        files = {}
        for file in sorted(temporary.rglob("*")):
            if file.is_file():
                file.chmod(0o666 & ~_umask())  # safetensors writes for the owner alone
                with open(file, "rb") as handle:
                    digest = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
                files[str(file.relative_to(temporary))] = [file.stat().st_size, digest]
        write_json(temporary / MODEL_MARKER, asdict(card) | {"files": files})


def save_card(directory: str | Path, card: PolicyCard) -> None:
    """Write a directory that holds a card and no policy: the facts of a training whose weights nobody needs."""
    with replacing(directory) as temporary:
        temporary.mkdir()
        write_json(temporary / MODEL_MARKER, asdict(card))


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def load_policy(
    directory: str | Path, *, dtype: torch.dtype | None = None, trust_remote_code: bool = False
) -> tuple[Any, Any, PolicyCard]:
    """(model in eval mode on the CPU, tokenizer, card) of a complete policy directory. Raises PolicyError otherwise."""
    card = load_card(directory)
    model, tokenizer = load_pretrained(directory, dtype=dtype, trust_remote_code=trust_remote_code)
    return model, tokenizer, card


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """No progress bars of transformers for loads and saves of a moment, and no reports: what matters in them is an error here."""
    from transformers.utils import logging

    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()


def load_pretrained(
    name: str | Path, *, dtype: torch.dtype | None = None, trust_remote_code: bool = False
) -> tuple[Any, Any]:
    """(model, tokenizer) of a Hugging Face directory or hub id, padding on the left with a token that exists."""
    import torch
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM, AutoTokenizer

    options: dict[str, Any] = {"trust_remote_code": trust_remote_code}
    read: Any = AutoModelForCausalLM.from_pretrained
    try:
        with _quiet():
            tokenizer = AutoTokenizer.from_pretrained(str(name), **options)
            model, loaded = read(
                str(name), dtype=dtype or torch.float32, use_safetensors=True, output_loading_info=True, **options
            )
    except (OSError, ValueError, RuntimeError, SafetensorError) as err:
        reason = str(err).strip().splitlines()[0]
        raise PolicyError(
            f"cannot load a causal language model from {name}: {reason}; give a hub id or a directory with config.json,"
            " safetensors weights and a tokenizer"
        ) from err
    if loaded["missing_keys"]:
        raise PolicyError(
            f"the weights of {name} are not those of a {type(model).__name__}: {len(loaded['missing_keys'])} are missing, such as"
            f" {min(loaded['missing_keys'])}; its config.json is of another model, get or make the directory again"
        )
    embedded = model.get_input_embeddings().num_embeddings
    if len(tokenizer) > embedded:
        raise PolicyError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, but the model embeds {embedded}; they do not belong together, get"
            " or make the directory again"
        )
    if tokenizer.eos_token_id is None:
        raise PolicyError(f"the tokenizer of {name} has no end token; choose a model that has one")
    if tokenizer.pad_token_id is None:
        known = tokenizer.get_vocab()
        tokenizer.pad_token = "<|padding|>" if "<|padding|>" in known else tokenizer.eos_token
    tokenizer.padding_side = "left"
    model.config.pad_token_id = tokenizer.pad_token_id
    return model.eval(), tokenizer


def checkpoint_activations(model: Any, on: bool) -> None:
    """Switch gradient checkpointing on or off: in train mode each block keeps its inputs alone, and computes the rest again.

    Random draws are restored for the second pass, so that dropout is the same and so are the gradients. It is a state of the model in
    memory: configuration and weights know nothing of it.
    """
    verb = "enable" if on else "disable"
    switch = getattr(model, f"activation_checkpointing_{verb}", None)  # its name in later releases of transformers 5
    switch = switch or getattr(model, f"gradient_checkpointing_{verb}")
    switch(*([{"use_reentrant": False}] if on else []))
    if getattr(model, "_require_grads_hook", None) is not None:  # only reentrant checkpoints need it
        model.disable_input_require_grads()


def build_small_policy(
    num_states: int, length: int, *, hidden_size: int, num_layers: int, num_heads: int, random_seed: int
) -> tuple[Any, Any]:
    """(model, tokenizer): a GPT-NeoX (Pythia's architecture) with random weights and the compact tokenizer.

    Args:
        num_states: size of the alphabet.
        length: length of a sequence; the context holds a prompt and a completion.
        hidden_size: width of the residual stream, a multiple of `num_heads`.
        num_layers: number of blocks.
        num_heads: attention heads a block.
        random_seed: seed of the weights.

    Raises:
        PolicyError: the width is no multiple of the number of heads.
    """
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    if hidden_size < 1 or num_heads < 1 or hidden_size % num_heads:
        raise PolicyError(
            f"hidden_size {hidden_size} is not a multiple of num_heads {num_heads}; choose, say, 64 and 4"
        )
    tokenizer = compact_tokenizer(num_states)
    config = GPTNeoXConfig(
        vocab_size=len(tokenizer),
        hidden_size=hidden_size,
        num_hidden_layers=num_layers,
        num_attention_heads=num_heads,
        intermediate_size=4 * hidden_size,
        max_position_embeddings=2 * length + 8,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(random_seed)
        model = GPTNeoXForCausalLM(config)
    return model.eval(), tokenizer


def codec_for(tokenizer: Any, card: PolicyCard) -> SequenceCodec:
    """The codec of a policy's tokenizer for the policy's problem."""
    return SequenceCodec(tokenizer, card.domain)


def check_domain(card: PolicyCard, domain: Domain, model: str | Path, table: str | Path) -> None:
    """Raises TableError where a table was labelled by another oracle than the policy's data."""
    if card.domain != domain:
        raise TableError(
            f"{table} was made with oracle {domain.fingerprint} ({domain.describe()}), but the policy {model}"
            f" with {card.domain.fingerprint} ({card.domain.describe()}); use files of one oracle"
        )
