"""Where a job is in its life. The picture is in `docs/job-life.md`."""

from collections.abc import Iterable
from enum import StrEnum

from rexecutor.errors import ConfigurationError


class JobStatus(StrEnum):
    """Where a job is in its life; the value is the lower-case word that stores hold."""

    SCHEDULED = "scheduled"
    """Waits for its due time or for a free slot; also after a snooze."""
    EXECUTING = "executing"
    """A live node runs it, or is about to."""
    RETRYABLE = "retryable"
    """An attempt failed or its node was lost; waits for the next attempt."""
    COMPLETE = "complete"
    """Ended: an attempt succeeded."""
    CANCELLED = "cancelled"
    """Ended: the executor answered `Cancel`, or somebody cancelled it."""
    DISCARDED = "discarded"
    """Ended: the last attempt failed, or its node was lost too often."""

    @property
    def is_waiting(self) -> bool:
        """Whether a worker may still pick it up."""
        return self in WAITING

    @property
    def has_ended(self) -> bool:
        """Whether nothing but a rerun will change it."""
        return self in ENDED


WAITING = frozenset({JobStatus.SCHEDULED, JobStatus.RETRYABLE})
OPEN = WAITING | {JobStatus.EXECUTING}
ENDED = frozenset({JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED})


def checked_statuses(what: str, statuses: Iterable[JobStatus]) -> frozenset[JobStatus]:
    """Answer the statuses, or raise a `ConfigurationError` where one is none."""
    statuses = tuple(statuses)
    for status in statuses:
        if not isinstance(status, JobStatus):  # pyright: ignore[reportUnnecessaryIsInstance] - users' code may be untyped
            raise ConfigurationError(
                f"{what}: {status!r} is no JobStatus; JobStatus.COMPLETE or the like expected, not in a list"
            )
    return frozenset(statuses)
