"""What a look at a store finds: the results of `Backend.diagnose`, which `rexecutor doctor` prints."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Worth knowing, but nothing need be done; or it could not be found out."""
    WARNING = "warning"
    """Jobs run, but later, slower or less safely than they could."""
    PROBLEM = "problem"
    """Jobs do not run, or may be lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one look."""

    subject: str
    """What was looked at, in a word or two that stay the same: `schema`, `clock`, `old transactions`."""
    severity: Severity
    message: str
    """What was found, in one or two sentences."""
    fix: str | None = None
    """What to do about it: a command, a statement of SQL or a setting; None if nothing need be done."""
