"""How hard a test function is, before a call is spent: exact numbers of its feasible and of its optimal sequences.

Of the oracle only its drawn arrays are read; nothing is scored, and no budget is touched.
"""

from __future__ import annotations

import math
from pathlib import Path

from tqdm import tqdm

from llome.errors import OracleError, TooManyStatesError
from llome.provenance import write_json
from llome.scoring.counting import count_feasible, count_optimal
from llome.scoring.ehrlich import Ehrlich
from llome.scoring.oracle import load_oracle


def count(*, oracle: Path, out: Path, max_states: int = 100_000) -> None:
    """Count the sequences of an Ehrlich function, those that are feasible and those that are optimal (score 1 without noise).

    Where the optimal ones would take too many states, the file says so in `why_not`, and `optimal` is null. Shares are of all
    sequences; whole numbers are strings, for they do not fit what most readers of JSON take for a number.

    Args:
        oracle: the oracle's JSON
        out: the JSON to write
        max_states: most states of the count of optimal sequences; memory grows with it, to 0.8 GB for 32 elements, length 128
    """
    function = load_oracle(oracle)
    if not isinstance(function, Ehrlich):
        raise OracleError(
            f"{oracle} holds no Ehrlich function ({type(function).__name__}); nothing else can be counted"
        )
    allowed, length = function.transition_matrix > 0, function.length
    sequences = function.num_states**length
    feasible = count_feasible(allowed=allowed, length=length)
    optimal, why_not = None, None
    passes = (1 << function.num_motifs) - 1
    with tqdm(
        total=passes * length, desc="count", unit="position", delay=3, mininterval=1, disable=None, leave=False
    ) as bar:
        try:
            optimal = count_optimal(
                allowed=allowed,
                motifs=function.motifs,
                spacings=function.spacings,
                length=length,
                max_states=max_states,
                progress=bar.update,
            )
        except TooManyStatesError as err:
            why_not = str(err)
    counts = {
        "fingerprint": function.fingerprint,
        "num_states": function.num_states,
        "length": length,
        "sequences": str(sequences),
        "feasible": str(feasible),
        "optimal": None if optimal is None else str(optimal),
        "feasible_share": feasible / sequences,
        "optimal_share": None if optimal is None else optimal / sequences,
        "log10_sequences": math.log10(sequences),
        "log10_feasible": math.log10(feasible),
        "log10_optimal": None if optimal is None else math.log10(optimal),
        "why_not": why_not,
    }
    write_json(out, counts)
    found = f"not counted: {why_not}" if optimal is None else f"10^{math.log10(optimal):.2f} optimal"
    print(
        f"{function.num_states}^{length} = 10^{math.log10(sequences):.2f} sequences,"
        f" 10^{math.log10(feasible):.2f} feasible, {found}"
    )
