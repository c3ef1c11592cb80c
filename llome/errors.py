"""The errors a person can act on.

Everything derived from `LlomeError` is a user's mistake or a full stop that the message explains: it names the value, the file and
the remedy. The command line prints it as one line, after its notes (a traceback of the user's own code), and exits with its code; anything
else is a bug and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class LlomeError(Exception):
    """A problem with input, settings or files that the user can mend; the message says how."""

    said_as: ClassVar[str] = "error"
    """What the command line calls it."""
    exit_code: ClassVar[int] = 2


class WaitingError(LlomeError):
    """Nothing is wrong: somebody has to measure something before the same command can go on."""

    said_as = "waiting"
    exit_code = 3


class ConfigError(LlomeError):
    """A setting is missing, unknown or impossible."""


class DivergedError(LlomeError):
    """A loss or gradient of a training is no longer finite."""


class TableError(LlomeError):
    """A table or JSON file is corrupt, of another kind, or breaks an invariant of its schema."""


class OracleError(LlomeError):
    """An oracle's arguments, answers or fingerprint are not what was promised."""


class BudgetExhaustedError(OracleError):
    """The oracle has been called as often as the budget allows."""


class TooManyStatesError(OracleError):
    """An exact count takes more states than it may."""


class PolicyError(LlomeError):
    """A policy directory is incomplete, or its tokenizer or architecture does not fit the task."""


class DesignError(LlomeError):
    """A proposed design is not in the design space; the message can be shown to who proposed it."""


class ProposerError(LlomeError):
    """Whoever proposes designs cannot be reached, or is set up wrongly."""
