"""Apptainer's definition files where there is no Apptainer: read as Apptainer reads them, carried out by buildah as Apptainer would.

Read: header, sections, `%arguments` and {{ variables }}; whatever Apptainer would refuse or we do not carry out is refused.
Carried out: %files, %post, %environment, %runscript and %test. Not to be had this way: the packing into one file, and Apptainer's own
mounts; a run is a caller without privileges in an image that it cannot write to.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

HEADER = {"bootstrap", "from"}
SECTIONS = {"arguments", "files", "post", "environment", "runscript", "test", "labels", "help"}
ENVIRONMENT, RUNSCRIPT, TEST = (f"/.singularity.d/{name}" for name in ("env/90-environment.sh", "runscript", "test"))


class DefinitionError(ValueError):
    """A definition file that Apptainer would refuse, or with a section that is not carried out here."""


@dataclass(frozen=True)
class Definition:
    """Header and sections, with all variables filled in."""

    header: dict[str, str]
    sections: dict[str, str]

    def files(self) -> list[tuple[str, str]]:
        """%files: source in the folder of the build, target in the image."""
        pairs = [line.split() for line in _lines(self.sections.get("files", ""))]
        if any(len(pair) != 2 for pair in pairs):
            raise DefinitionError("%files: a line is a source and a target")
        return [(source, target) for source, target in pairs]

    def labels(self) -> dict[str, str]:
        """%labels: a name and the rest of the line."""
        return dict(line.split(maxsplit=1) for line in _lines(self.sections.get("labels", "")))


def read(text: str, **given: str) -> Definition:
    """The definition in `text` with the build arguments `given`, as of `apptainer build --build-arg`.

    Raises DefinitionError for an unknown section or key of the header, one that is there twice, a variable without a value and a build
    argument that nothing uses.
    """
    defaults = dict(line.split("=", 1) for line in _lines(_sections(text)[1].get("arguments", "")))
    used = set(re.findall(r"{{\s*(\w+)\s*}}", text))
    if missing := used - {*defaults, *given}:
        raise DefinitionError(f"no value for {', '.join(sorted(missing))}")
    if unused := {*defaults, *given} - used:
        raise DefinitionError(f"nothing uses {', '.join(sorted(unused))}")
    values = defaults | given
    header, sections = _sections(re.sub(r"{{\s*(\w+)\s*}}", lambda match: values[match[1]], text))
    if set(header) != HEADER:
        raise DefinitionError(f"the header has {sorted(header)}, expected {sorted(HEADER)}")
    return Definition(header, sections)


def _sections(text: str) -> tuple[dict[str, str], dict[str, str]]:
    header: dict[str, str] = {}
    sections: dict[str, str] = {}
    name = None
    for line in text.splitlines(keepends=True):
        if line.startswith("%"):
            name = line[1:].strip()
            if name not in SECTIONS:
                raise DefinitionError(f"unknown section %{name}")
            if name in sections:
                raise DefinitionError(f"%{name} is there twice")
            sections[name] = ""
        elif name is not None:
            sections[name] += line
        elif line.strip() and not line.startswith("#"):
            key, colon, value = line.partition(":")
            if not colon or key.strip().lower() in header:
                raise DefinitionError(f"not a line of a header: {line.strip()}")
            header[key.strip().lower()] = value.strip()
    return header, sections


def _lines(section: str) -> list[str]:
    return [line.strip() for line in section.splitlines() if line.strip() and not line.strip().startswith("#")]
