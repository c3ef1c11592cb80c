"""What a verification has read and what it found: files once each, their hashes once each, problems as lines."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from llome import provenance
from llome.errors import LlomeError
from llome.policy.causal_lm import PolicyCard, hash_policy, load_card
from llome.tables import Table

T = TypeVar("T", bound=Table)


@dataclass
class Ledger:
    """Files checked, problems, and rounds that are not finished."""

    progress: Callable[[], object] = lambda: None
    """Called for each file."""
    files: set[Path] = field(default_factory=set)
    problems: dict[Path, list[str]] = field(default_factory=dict)
    """By file, in the order found."""
    unfinished: list[str] = field(default_factory=list)
    _hashes: dict[Path, str | None] = field(default_factory=dict)

    def check(self, file: Path) -> None:
        """Count a file as checked."""
        if file not in self.files:
            self.files.add(file)
            self.progress()

    def refuse(self, file: Path, expected: object, found: object, remedy: str) -> None:
        """Note what does not hold of a file."""
        self.problems.setdefault(file, []).append(f"expected {expected}, found {found}; {remedy}")

    def read(self, kind: type[T], file: Path) -> T | None:
        """A table, or None with the reason noted."""
        return self._try(file, lambda: kind.read(file))

    def read_json(self, file: Path) -> dict[str, Any] | None:
        """A JSON mapping, or None with the reason noted."""
        value = self._try(file, lambda: provenance.read_json(file))
        if value is not None and not isinstance(value, dict):
            self.refuse(file, "a mapping", type(value).__name__, "run the stage that writes it again")
            return None
        return value

    def read_card(self, directory: Path) -> PolicyCard | None:
        """A policy's card, every file of the directory hashed; None where the card cannot be read."""
        marker = directory / provenance.MODEL_MARKER
        card = self._try(marker, lambda: load_card(directory))
        for name, (_, digest) in ({} if card is None else card.files).items():
            file = directory / name
            self.check(file)
            with open(file, "rb") as handle:
                found = hashlib.file_digest(handle, "sha256").hexdigest()[:16]
            if found != digest:
                self.refuse(
                    file, f"hash {digest} (in {marker.name})", found, "delete the directory and run its stage again"
                )
        return card

    def hash(self, path: Path) -> str | None:
        """Content hash of a file or folder, a policy's of its card; None where there is none to be had (its own problem)."""
        if path not in self._hashes:
            policy = path.name == "model"
            try:
                self._hashes[path] = hash_policy(path) if policy else provenance.hash_file(path)
            except (LlomeError, OSError):
                self._hashes[path] = None
        return self._hashes[path]

    def hash_all(self, files: list[Path]) -> str | None:
        """Hash of several files together, in this order."""
        hashes = [self.hash(file) for file in files]
        return None if None in hashes else provenance.hash_json(hashes)

    def match(self, file: Path, recorded: object, now: str | None, what: object) -> None:
        """Compare the hash of an input that `file` recorded with what is on disk now."""
        if now is not None and recorded != now:
            self.refuse(
                file,
                f"made from {what} of hash {recorded}",
                f"hash {now}",
                f"{what} has changed since; run the stage of {file.name} again",
            )

    def _try(self, file: Path, read: Callable[[], Any]) -> Any:
        self.check(file)
        try:
            return read()
        except LlomeError as err:
            self.problems.setdefault(file, []).append(
                " ".join(str(err).split()).removeprefix(f"{file}: ").removeprefix(f"{file} ")
            )
            return None
