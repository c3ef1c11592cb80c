"""The errors a person can act on.

Everything derived from `LlomeError` is a user's mistake or a full stop that the message explains: it names the value, the file and
the remedy. The command line prints it as one line and exits with code 2; anything else is a bug and keeps its traceback.
"""


class LlomeError(Exception):
    """A problem with input, settings or files that the user can mend; the message says how."""


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
