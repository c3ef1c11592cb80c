"""Where a file came from, and how it gets on disk whole.

Every artefact is written beside its name and renamed, so that a file that exists is complete. Content hashes leave out what differs
between two honest runs of the same settings (seconds, paths), so that equal inputs give equal bytes downstream.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from llome.errors import LlomeError, TableError

VOLATILE_KEYS = frozenset({"seconds", "versions", "made_by"})
MODEL_MARKER = "llome.json"
_BESIDE = ".beside"


def canonical_json(value: Any) -> str:
    """The one text of a JSON value: keys sorted, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def hash_json(value: Any) -> str:
    """SHA-256 (first 16 hex digits) of a JSON value."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()[:16]


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from (experiment seed, replicate, history, stage, ...): the same parts give the same seed anywhere."""
    return int.from_bytes(hashlib.sha256(canonical_json(list(parts)).encode()).digest()[:8], "big") >> 1


def hash_file(path: str | Path) -> str:
    """Hash of an artefact's content: a file's bytes; JSON without its volatile keys; a model directory's weights and settings."""
    path = Path(path)
    if path.is_dir():
        names = sorted(p for p in path.rglob("*") if p.is_file() and not p.name.startswith("."))
        return hash_json([[str(p.relative_to(path)), hash_file(p)] for p in names])
    if path.suffix == ".json":
        value = read_json(path)
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if k not in VOLATILE_KEYS}
        return hash_json(value)
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()[:16]


@contextlib.contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write a file or fill a directory; rename it to `path` when the block ends well.

    An interrupted block leaves `path` as it was. Raises LlomeError where the folder cannot be written.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _sweep(path)
        holder = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=_BESIDE, dir=path.parent))
    except OSError as err:
        raise LlomeError(
            f"cannot write {path}: {err.strerror or err}; choose another output or mend its permissions"
        ) from err
    try:
        temporary = holder / path.name
        yield temporary
        if temporary.is_dir():
            for file in temporary.rglob("*"):
                if file.is_file():
                    _sync(file)
            if path.exists():
                shutil.rmtree(path)
        else:
            _sync(temporary)
        os.replace(temporary, path)
    finally:
        shutil.rmtree(holder, ignore_errors=True)


def _sweep(path: Path) -> None:
    """Remove what writers of `path` that were killed an hour ago or more left beside it."""
    for holder in path.parent.glob(f".{glob.escape(path.name)}.*{_BESIDE}"):
        with contextlib.suppress(OSError):
            if time.time() - holder.stat().st_mtime > 3600:
                shutil.rmtree(holder)


def _sync(path: Path) -> None:
    with open(path, "rb") as file:
        os.fsync(file.fileno())


def write_json(path: str | Path, value: Any) -> None:
    """Write JSON, readable and whole."""
    text = json.dumps(value, indent=1, allow_nan=False)
    with replacing(path) as temporary:
        temporary.write_text(text + "\n")


def read_json(path: str | Path) -> Any:
    """Read JSON. Raises TableError, naming the file, where it is missing, truncated or no JSON."""
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as err:
        raise TableError(f"{path} does not exist; run the stage that writes it") from err
    except IsADirectoryError as err:
        raise TableError(f"{path} is a folder where a JSON file belongs") from err
    except (UnicodeDecodeError, json.JSONDecodeError) as err:
        raise TableError(
            f"{path} is corrupt or truncated ({err}); delete it and run the stage that writes it again"
        ) from err


@contextlib.contextmanager
def exclusive(folder: str | Path, lock: str = ".lock", other: str = "another process is working in") -> Iterator[None]:
    """Hold a lock on `folder` while a stage works there. The kernel drops it when the process dies, however it dies.

    A stage that may work beside another in one folder has a lock of its own; `other` is what is said of who holds it. Raises LlomeError.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = open(folder / lock, "w")  # noqa: SIM115
    except OSError as err:
        raise LlomeError(
            f"cannot write in {folder}: {err.strerror or err}; choose another output or mend its permissions"
        ) from err
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise LlomeError(f"{other} {folder}; wait for it to end, then run this again") from err
        except OSError as err:  # a shared disk that is mounted without locks
            print(f"warning: {folder} cannot be locked ({err.strerror}); nothing keeps two runs apart", file=sys.stderr)
        yield


def versions() -> dict[str, str]:
    """Versions of this package and of what its numbers depend on, without importing any of it."""
    from importlib import metadata

    found = {}
    for name in ("llome", "torch", "lightning", "transformers", "numpy", "pyarrow", "snakemake"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found
