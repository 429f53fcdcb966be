"""How far claims have come in each executor's queue, for times at which the claim's index is full of dead entries.

As long as an old transaction is open somewhere in the database, no vacuum can remove what claims have deleted from the
queue, and each claim walks past all of it. So after a slow claim, the next claims begin where it ended. The marks are
kept in memory only: without them claims are slower, and take the same jobs.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final

from rexecutor.model.job import JobId, JobRecord

SLOW_SECONDS: Final = 0.02
"""Duration, in seconds, from which a claim counts as slow."""
SHARE: Final = 100
"""After a slow claim, claims begin at the marks for this many times as long as that claim took.

So at most one job of a hundred waits for a slow claim.
"""
LONGEST_SECONDS: Final = 10.0
"""Longest time, in seconds, for which claims begin at the marks. A job before its mark may wait this long."""
LATE_COMMIT: Final = timedelta(seconds=1)
"""A mark stands at least this long before the moment of its claim.

So the jobs of a transaction that began before others and is committed after them stand behind it.
"""
_LOWEST: Final = (-(2**31), datetime(1, 1, 1, tzinfo=UTC), -(2**63))


class LowMarks:
    """The last job that was claimed of each executor, in claim order."""

    def __init__(self) -> None:
        self._marks: dict[str, tuple[int, datetime, JobId]] = {}
        self._until = -inf
        self._forgotten = -inf

    def forget(self, now: float) -> None:
        """Let the next claims begin at the first job, because jobs before the marks may have been given back.

        Args:
            now: The time, in monotonic seconds. A claim that was sent before it sets no marks, however slow it is: it
                may not have seen these jobs.
        """
        self._until, self._forgotten = -inf, now

    def wanted(self, executors: Collection[str], now: float) -> dict[str, Any] | None:
        """Return the parameters of `claim_marked`; None if the claim must begin at the first job.

        Args:
            executors: The executors of the claim, in the order of its other parameters.
            now: The time, in monotonic seconds.
        """
        if now >= self._until or not self._marks:
            return None
        marks = [self._marks.get(executor, _LOWEST) for executor in executors]
        return {
            "priorities": [mark[0] for mark in marks],
            "moments": [mark[1] for mark in marks],
            "ids": [mark[2] for mark in marks],
        }

    def note(self, jobs: Iterable[JobRecord], began: float, ended: float, *, is_marked: bool) -> None:
        """Note the jobs that a claim took, and how long it lasted.

        A claim from the marks may take more urgent jobs, which are before them. These do not move a mark back.

        Args:
            jobs: The claimed jobs.
            began: When the claim was sent, in monotonic seconds.
            ended: When its response came, in monotonic seconds.
            is_marked: Whether the claim began at the marks. Such a claim does not prolong their use.
        """
        if not is_marked:
            took = ended - began
            if took < SLOW_SECONDS or began <= self._forgotten:
                self._until = -inf
                return
            self._marks.clear()
            self._until = ended + min(SHARE * took, LONGEST_SECONDS)
        for job in jobs:
            mark = job.priority, job.scheduled_at, job.id
            if job.attempted_at is not None:
                mark = min(mark, (job.priority, job.attempted_at - LATE_COMMIT, _LOWEST[2]))
            if job.defect is None and mark > self._marks.get(job.executor, _LOWEST):
                self._marks[job.executor] = mark
