"""A fitted surrogate on disk: `model.safetensors` and, written last, `surrogate.json`, which says what it was fitted to."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from llome import __version__
from llome.domain import Domain
from llome.errors import TableError
from llome.provenance import hash_file, read_json, replacing, write_json
from llome.surrogate.network import Ensemble
from llome.surrogate.predicting import Calibration, Predictor
from llome.surrogate.states import count_states
from llome.surrogate.targets import Target

MARKER = "surrogate.json"
_WEIGHTS = "model.safetensors"


@dataclass(frozen=True)
class SurrogateCard:
    """What a surrogate is and what it was fitted to."""

    domain: Domain
    members: int
    filters: int
    target: dict[str, Any]
    """How scores were made what it learnt (llome.surrogate.targets.Target)."""
    settings: dict[str, Any] = field(default_factory=dict)
    inputs: dict[str, str | None] = field(default_factory=dict)
    """Content hash of the labels, and of the surrogate it went on from."""
    facts: dict[str, Any] = field(default_factory=dict)
    """Rows, error of the last step, rank correlation with labels it had not seen."""
    outputs: int = 1
    """2 where it has learnt which sequences are feasible."""
    calibration: dict[str, float] = field(default_factory=dict)
    """Of the members' spread (llome.surrogate.predicting.Calibration)."""
    lowest: float = 0.0
    """The lowest standardised score it was fitted to."""
    weights: str = ""
    """Hash of the weights; filled in on saving."""
    version: str = __version__


def save_surrogate(directory: str | Path, ensemble: Ensemble, card: SurrogateCard) -> None:
    """Write the directory beside its name, the card last, and rename it."""
    with replacing(directory) as temporary:
        temporary.mkdir()
        save_file(ensemble.state_dict(), temporary / _WEIGHTS)
        write_json(temporary / MARKER, asdict(card) | {"weights": hash_file(temporary / _WEIGHTS)})


def load_surrogate(directory: str | Path) -> tuple[Ensemble, SurrogateCard]:
    """(ensemble, card). Raises TableError where a file is missing, cut short or not ours."""
    directory = Path(directory)
    remedy = "delete the folder and run `llome surrogate` again"
    raw = read_json(directory / MARKER)
    try:
        card = SurrogateCard(**{**raw, "domain": Domain(**raw["domain"])})
        if hash_file(directory / _WEIGHTS) != card.weights:
            raise TableError(f"{directory / _WEIGHTS} is not what {MARKER} beside it was written for; {remedy}")
        ensemble = Ensemble(
            count_states(card.domain),
            card.domain.length,
            members=card.members,
            filters=card.filters,
            random_seed=0,
            outputs=card.outputs,
        )
        ensemble.load_state_dict(load_file(directory / _WEIGHTS))
    except (TypeError, KeyError, RuntimeError, OSError, SafetensorError) as err:
        raise TableError(f"{directory} is no surrogate ({' '.join(str(err).split())}); {remedy}") from err
    return ensemble, card


def load_predictor(directory: str | Path) -> tuple[Predictor, SurrogateCard]:
    """What predicts, and the card. Raises TableError as `load_surrogate`."""
    ensemble, card = load_surrogate(directory)
    try:
        predictor = Predictor(ensemble, Target(**card.target), Calibration(**card.calibration), card.lowest)
    except TypeError as err:
        raise TableError(f"{Path(directory) / MARKER} says nothing of scores or spread ({err}); fit it again") from err
    return predictor, card
