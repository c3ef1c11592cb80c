"""What made a file besides its settings: code, lock file, image, machine. It differs between honest runs, so no hash takes it in.

Every stage leaves a record beside what it wrote, `made_by/STAGE.json`; `summarize` gathers a round's into its summary.
"""

from __future__ import annotations

import contextlib
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from llome.provenance import hash_file, read_json, versions, write_json

FOLDER = "made_by"
_ROOT = Path(__file__).resolve().parent.parent
_IMAGES = ("LLOME_IMAGE", "APPTAINER_CONTAINER", "SINGULARITY_CONTAINER")
"""Environment variables that name the image: ours, and those that the container engines set."""


def made_by() -> dict[str, Any]:
    """Where this process runs and with what: None where something cannot be told.

    `commit` and `dirty` are those of the package's own checkout (None of an installed wheel), `lock` the hash of its requirements.lock,
    `gpu` the names of the GPUs if this process has imported torch, which is never imported for it. No name of host or user.
    """
    commit, dirty = _checkout()
    lock = _ROOT / "containers" / "requirements.lock"
    image = next((os.environ[name] for name in _IMAGES if os.environ.get(name)), None)
    return {
        "commit": commit,
        "dirty": dirty,
        "lock": hash_file(lock) if lock.is_file() else None,
        "image": None if image is None else Path(image).name,
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": _cpu(),
        "cores": os.cpu_count(),
        "gpu": _gpus(),
        "python": platform.python_version(),
        "packages": versions(),
    }


def record(stage: str, out: Path) -> None:
    """Write the record of a stage that has just written `out`: in the folder of a seed, beside anything else."""
    write_json((out if stage == "seed" else out.parent) / FOLDER / f"{stage}.json", {"made_by": made_by()})


def records(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of the stages that wrote in `folder`, by stage."""
    return {file.stem: read_json(file)["made_by"] for file in sorted((folder / FOLDER).glob("[a-z]*.json"))}


def _checkout() -> tuple[str | None, bool | None]:
    """Commit of the package's checkout, and whether tracked files differ from it; one call of git."""
    if not (_ROOT / ".git").exists():
        return None, None
    command = ["git", "--no-optional-locks", "-C", str(_ROOT), "status"]
    command += ["--porcelain=v2", "--branch", "--untracked-files=no"]
    try:
        lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.splitlines()
    except (OSError, subprocess.SubprocessError):  # no git here, or not our checkout
        return None, None
    commit = next((line.split()[-1] for line in lines if line.startswith("# branch.oid ")), None)
    return commit, any(not line.startswith("#") for line in lines)


def _cpu() -> str | None:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or None


def _gpus() -> list[str] | None:
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
