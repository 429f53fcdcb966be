"""Which ended jobs a store deletes."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from rexecutor.model.status import JobStatus

BATCH: Final = 1_000
"""Maximum number of jobs deleted in one transaction, to keep it short."""


@dataclass(frozen=True, slots=True)
class OlderThan:
    """Jobs that ended longer ago than this, on the store's clock."""

    age: timedelta


@dataclass(frozen=True, slots=True)
class BeyondNewest:
    """All of an executor's jobs except the `jobs` that ended last. Each executor is counted on its own."""

    jobs: int


@dataclass(frozen=True, slots=True)
class PruneSpec:
    """Which ended jobs to delete."""

    status: JobStatus
    """The status of the jobs; one in which jobs have ended."""
    what: OlderThan | BeyondNewest
    executors: frozenset[str] = frozenset()
    """The executors whose jobs are pruned, or with `is_except` those whose jobs are kept."""
    is_except: bool = True
    """Whether the jobs of `executors` are kept and all others pruned; with no executors, all jobs are pruned."""

    def concerns(self, executor: str) -> bool:
        """Whether this executor's jobs are pruned."""
        return (executor in self.executors) != self.is_except
