"""LLOME: language models as optimisers of highly constrained biological sequences (arXiv 2410.22296)."""

__version__ = "0.1.0"
