"""The shape of a policy, and how long its rows are: all that memory and operations depend on.

Pythia's shapes are those of its published configurations (Biderman et al., arXiv 2304.01373, and each model's config.json on the hub);
a small policy's come from its YAML, any other GPT-NeoX from the config.json of its directory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from llome.errors import ConfigError
from llome.provenance import read_json
from llome.settings import nearest

COMPACT_EXTRA = 4
"""Tokens of a compact tokenizer besides one an element: padding, end, control, line end (llome.codec)."""
FOLDED_WIDTH = 512
"""Up to this width sampling in single or double precision folds the weights into fewer products (llome.policy.neox)."""


@dataclass(frozen=True)
class Shape:
    """A GPT-NeoX."""

    name: str
    layers: int
    width: int
    """h, of the residual stream."""
    inner: int
    """I, of the feed-forward part; 4 h in Pythia."""
    heads: int
    vocabulary: int
    """V, rows of the embedding and of the head, padding included."""

    @property
    def block(self) -> int:
        """Parameters of a layer: queries, keys and values, the way back, two feed-forward matrices, biases, two normalisations."""
        h, inner = self.width, self.inner
        return 4 * h * h + 4 * h + 2 * h * inner + inner + h + 4 * h

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of the head."""
        return self.vocabulary * self.width

    @property
    def parameters(self) -> int:
        """All: layers, embedding, head (not tied), last normalisation."""
        return self.layers * self.block + 2 * self.embedding + 2 * self.width

    def adapters(self, rank: int, targets: tuple[str, ...] = ()) -> int:
        """Parameters of low-rank adapters of `rank` on these linear maps of every layer; on all where none are named."""
        h, inner = self.width, self.inner
        sizes = {"query_key_value": h + 3 * h, "dense": 2 * h, "dense_h_to_4h": h + inner, "dense_4h_to_h": inner + h}
        for name in targets:
            if name not in sizes:
                raise ConfigError(
                    f"lora: a GPT-NeoX has no linear map {name!r}{nearest(name, sizes)}; it has {', '.join(sizes)}"
                )
        return self.layers * rank * sum(sizes[name] for name in targets or sizes)


def _pythia(size: str, layers: int, width: int, heads: int, vocabulary: int = 50_304) -> Shape:
    return Shape(f"pythia-{size}", layers, width, 4 * width, heads, vocabulary)


PYTHIA = {
    shape.name: shape
    for shape in (
        _pythia("14m", 6, 128, 4),
        _pythia("70m", 6, 512, 8),
        _pythia("160m", 12, 768, 12),
        _pythia("410m", 24, 1024, 16),
        _pythia("1b", 16, 2048, 8),
        _pythia("1.4b", 24, 2048, 16),
        _pythia("2.8b", 32, 2560, 32),
        _pythia("6.9b", 32, 4096, 32, 50_432),
    )
}


@dataclass(frozen=True)
class Tokens:
    """Tokens of a row, at most."""

    prompt: int
    completion: int
    """With the end token."""
    written: int
    """Most that sampling writes."""
    compact: bool
    """One an element; else an estimate for text."""


def count_tokens(shape: Shape, num_states: int, length: int) -> Tokens:
    """Tokens of a prompt and of a completion of `length` elements, those of the longest sequence where lengths differ.

    A compact tokenizer (recognised by its vocabulary of `num_states` + 4) has one an element, a control token and a line end. Of text,
    `<inc> [3, 1, 5]`, Pythia's tokenizer makes two an element, the number with its blank and the comma, and a few for the rest: an
    estimate, right to a token or two for numbers of up to three digits.
    """
    if shape.vocabulary == num_states + COMPACT_EXTRA:
        return Tokens(length + 2, length + 1, length + 1, True)
    text = 2 * length - 1
    return Tokens(text + 7, text + 3, text + 3 + 8, False)


def find_shape(name: str) -> Shape:
    """A Pythia by name or hub id (`pythia-2.8b`, `EleutherAI/pythia-2.8b`), or the GPT-NeoX of a directory. Raises ConfigError."""
    short = name.rsplit("/", 1)[-1].removesuffix("-deduped")
    if short in PYTHIA and not Path(name).is_dir():
        return PYTHIA[short]
    file = Path(name) / "config.json"
    if not file.is_file():
        raise ConfigError(
            f"the shape of model {name!r} is not known{nearest(short, PYTHIA)}; give one of {', '.join(PYTHIA)}, or a directory with"
            " config.json"
        )
    config = read_json(file)
    kind = config.get("model_type") if isinstance(config, Mapping) else None
    if kind != "gpt_neox":
        raise ConfigError(
            f"{file} describes a model of type {kind!r}, and the formulas count GPT-NeoX alone; measure a step of it instead"
        )
    keys = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "vocab_size")
    missing = [key for key in keys if not isinstance(config.get(key), int)]
    if missing:
        raise ConfigError(f"{file}: {missing[0]} is missing or no integer; give the directory of a whole model")
    layers, width, inner, heads, vocabulary = (int(config[key]) for key in keys)
    return Shape(Path(name).name, layers, width, inner, heads, vocabulary)


def shape_of_base(settings: Any, where: str, num_states: int) -> Shape:
    """The shape that a base YAML asks for: `pretrained`, or the small policy that it describes. Raises ConfigError."""
    settings = {} if settings is None else settings
    if not isinstance(settings, Mapping):
        raise ConfigError(f"{where} holds no settings; give the YAML of `llome base`")
    if settings.get("pretrained") is not None:
        return find_shape(str(settings["pretrained"]))
    given = (settings.get(key, default) for key, default in (("num_layers", 2), ("hidden_size", 64), ("num_heads", 4)))
    layers, width, heads = (int(value) for value in given)
    return Shape(f"small {layers} x {width}", layers, width, 4 * width, heads, num_states + COMPACT_EXTRA)
