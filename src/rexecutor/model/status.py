"""The status of a job. `docs/job-life.md` shows all transitions in a picture."""

from enum import StrEnum


class JobStatus(StrEnum):
    """The status of a job. The value is the lower-case word that stores hold."""

    SCHEDULED = "scheduled"
    """Waiting for its due time or for a free slot; also after a snooze."""
    EXECUTING = "executing"
    """Claimed by a node, which runs it or is about to."""
    RETRYABLE = "retryable"
    """Waiting for the next attempt after one that failed or whose node was lost."""
    COMPLETE = "complete"
    """Ended: an attempt succeeded."""
    CANCELLED = "cancelled"
    """Ended: the executor returned `Cancel`, or a cancel was requested."""
    DISCARDED = "discarded"
    """Ended: the last attempt failed, or its node was lost too often."""

    @property
    def is_waiting(self) -> bool:
        """Whether a worker may still claim the job."""
        return self in WAITING

    @property
    def has_ended(self) -> bool:
        """Whether the job has ended, so that only a rerun changes its status."""
        return self in ENDED


WAITING = frozenset({JobStatus.SCHEDULED, JobStatus.RETRYABLE})
OPEN = WAITING | {JobStatus.EXECUTING}
ENDED = frozenset({JobStatus.COMPLETE, JobStatus.CANCELLED, JobStatus.DISCARDED})
