"""Settings of a search on a surrogate; apart from it, so that a command line can list them without loading anything."""

from __future__ import annotations

from dataclasses import dataclass, field

from llome.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class Evolution:
    """Settings of the search; the defaults were chosen on Ehrlich functions of random seeds 1 to 5, none of them published."""

    generations: int = 8
    """Generations of a search that starts from the best labelled sequences and the proposals; 0 chooses among these."""
    proposals: bool = True
    """Whether searches start from the policy's proposals as well, and not from labelled sequences alone."""
    restarts: int = 2
    """Members whose search starts from labelled sequences and proposals of any score instead."""
    restart_generations: int = 30
    """Generations of a restarted search."""
    population: int = 4000
    """Children a generation, before those with a transition never seen are dropped."""
    novelty: list[float] = field(default_factory=lambda: [1.0, 4.0, 0.0, 4.0])
    """What an element that no good sequence has tried at its place is worth at most, all of a sequence's elements together, in standard
    deviations of the scores; a value a member, repeated where there are more members."""
    drift: int = 40
    """Changes that each candidate of a search goes through, where its member sees no loss in them: runs of elements redrawn, elements that
    matter moved and copied. So candidates do not share what does not matter, and each tries other things there."""
    min_distance: int = 2
    """Hamming distance (edit distance where lengths differ) that candidates of one member keep from each other."""
    explore: float = 0.2
    """Share of the candidates that are random children of the best labelled sequences, judged by nobody; up to half of them try one
    transition each that no feasible sequence has shown yet, and half of the others have elements moved that a member says matter."""

    def __post_init__(self) -> None:
        """Raises ConfigError naming the setting and its value."""
        for name, least in (
            ("generations", 0),
            ("restarts", 0),
            ("restart_generations", 0),
            ("population", 4),
            ("drift", 0),
            ("min_distance", 1),
        ):
            if getattr(self, name) < least:
                raise ConfigError(f"evolve.{name} is {getattr(self, name)}; it must be at least {least}")
        if not self.novelty or min(self.novelty) < 0:
            raise ConfigError(f"evolve.novelty is {self.novelty}; give at least one number, none below 0")
        if not 0 <= self.explore <= 1:
            raise ConfigError(f"evolve.explore is {self.explore}; it is a share, from 0 to 1")
