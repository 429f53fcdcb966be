"""What of the ended jobs a store forgets."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rexecutor.model.status import JobStatus

BATCH: Final = 1_000
"""How many jobs are deleted in one transaction, so that it stays short."""


@dataclass(frozen=True, slots=True)
class OlderThan:
    """Jobs that ended longer ago than this, by the store's clock."""

    age: timedelta


@dataclass(frozen=True, slots=True)
class BeyondNewest:
    """All of an executor's jobs but so many that ended last; counted for each executor on its own."""

    jobs: int


@dataclass(frozen=True, slots=True)
class PruneSpec:
    """Which ended jobs are to be deleted."""

    status: JobStatus
    """One in which jobs have ended."""
    what: OlderThan | BeyondNewest
    executors: frozenset[str] = frozenset()
    """The executors whose jobs are meant."""
    is_except: bool = True
    """Whether `executors` are those whose jobs are not meant; with no executors: all are meant."""

    def concerns(self, executor: str) -> bool:
        """Whether this executor's jobs are meant."""
        return (executor in self.executors) != self.is_except
