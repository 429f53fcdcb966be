"""The results of `Backend.diagnose`, which `rexecutor doctor` prints."""

from dataclasses import dataclass
from enum import StrEnum


class Severity(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    """As it should be."""
    NOTE = "note"
    """Good to know, but there is nothing to do; or the check was not possible."""
    WARNING = "warning"
    """Jobs run, but later, slower or less safely than they could."""
    PROBLEM = "problem"
    """Jobs do not run, or may be lost."""


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    subject: str
    """The subject of the check, in a word or two that never change: `schema`, `clock`, `old transactions`."""
    severity: Severity
    message: str
    """The result, in one or two sentences."""
    fix: str | None = None
    """The fix: a command, an SQL statement or a setting; None if there is nothing to do."""
