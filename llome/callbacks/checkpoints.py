"""Checkpoints on disk: one file, or a folder with a share of every process, put in place whole and read without a policy.

A folder is torch's distributed checkpoint, as Lightning's ModelParallelStrategy writes it: tensors in `*.distcp`, what lies where in
`.metadata`, everything that is no tensor in `meta.pt`.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import torch


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def found(path: Path) -> Path:
    """Where the checkpoint of this name is: its predecessor's place if a kill came between the two renames of `put`."""
    return path if path.exists() or not _old(path).exists() else _old(path)


def put(part: Path, path: Path) -> None:
    """Rename a finished file or folder to `path`; at every moment one of both, the old and the new one, is found whole."""
    if part.is_dir():  # no rename replaces a folder that holds something
        if path.exists():
            shutil.rmtree(_old(path), ignore_errors=True)
            os.replace(path, _old(path))
        os.replace(part, path)
        shutil.rmtree(_old(path), ignore_errors=True)
    else:
        os.replace(part, path)


def read_checkpoint(path: Path) -> tuple[dict[str, Any], dict[str, torch.Size]]:
    """(state, shapes of the module's weights by name) of a checkpoint; the weights stay on disk.

    Raises:
        FileNotFoundError: there is none.
        OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError: it is cut short, or none.
        TypeError, KeyError, IndexError, AttributeError: it is a file of something else.
    """
    if not path.is_dir():
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return dict(state), {name: value.shape for name, value in state["state_dict"].items()}
    from torch.distributed.checkpoint import FileSystemReader
    from torch.distributed.checkpoint.metadata import TensorStorageMetadata

    state = torch.load(path / "meta.pt", map_location="cpu", weights_only=True)
    metadata = FileSystemReader(path).read_metadata()
    for stored in metadata.storage_data.values():
        if (path / stored.relative_path).stat().st_size < stored.offset + stored.length:
            raise EOFError(stored.relative_path)
    known = metadata.state_dict_metadata.items()
    tensors = {name: value.size for name, value in known if isinstance(value, TensorStorageMetadata)}
    prefix = "state_dict."
    return dict(state), {name[len(prefix) :]: size for name, size in tensors.items() if name.startswith(prefix)}
