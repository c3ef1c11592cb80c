"""Stage `verify`: does what a run left still hold, file by file; the oracle's budget is spent once, so nothing is scored again."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from pathlib import Path

from llome.errors import LlomeError


def verify(results: Path) -> None:
    """Check every hash, schema, fingerprint, count of calls and row of finished results; exits with 1 where something does not hold.

    Tables are read as the stages read them, the hash of every recorded input is compared with the file that lies there, weights are
    hashed, calls of the oracle are numbered on without gaps, no label was known before, labels are the candidates and candidates are
    proposals, and each summary is counted again. Scores are not asked for again, since every call of the oracle counts; what `analyze` and
    searches wrote is not checked. What has not been run is said, and no problem.

    Args:
        results: folder of an experiment, of one variant, or of one replicate

    Raises:
        LlomeError: the folder holds no results.
    """
    from tqdm import tqdm

    from llome.provenance import hash_json
    from llome.verification.ledger import Ledger
    from llome.verification.replicates import check_oracle, check_replicate

    replicates = find_replicates(results)
    with tqdm(desc="verify", unit="file", delay=3, mininterval=1, disable=None, leave=False) as bar:
        ledger = Ledger(bar.update)
        for oracle in dict.fromkeys(folder.parent / "oracle.json" for folder in replicates):
            spec = ledger.read_json(oracle)
            if spec is not None:
                drawn = hash_json({key: value for key, value in spec.items() if key != "fingerprint"})
                check_oracle(oracle, spec.get("fingerprint"), drawn, ledger)
        for folder in replicates:
            check_replicate(folder, folder.parent / "oracle.json", ledger)
    for line in ledger.unfinished:
        print(f"not run yet: {line}")
    for file, problems in ledger.problems.items():
        for problem in dict.fromkeys(problems):
            print(f"{file}: {problem}")
    print(
        f"{len(ledger.files):,} files checked, {len(ledger.problems):,} do not hold (scores were not asked for again)"
    )
    if ledger.problems:
        sys.exit(1)


def find_replicates(results: Path) -> list[Path]:
    """Folders of replicates: the folder itself, or those in it, or in its variants. Raises LlomeError where there is none."""

    def among(folders: Iterable[Path]) -> list[Path]:
        return [folder for folder in folders if folder.is_dir() and re.fullmatch(r"r\d+", folder.name)]

    if among([results.resolve()]):
        return [results]
    found = among(results.glob("*")) or among(results.glob("*/*"))
    if not found:
        raise LlomeError(
            f"{results} holds no results: it has no replicate (r0, r1, ...), nor has a variant in it; give the folder of an"
            " experiment, such as results/demo"
        )
    return sorted(found, key=lambda folder: (str(folder.parent), int(folder.name[1:])))
