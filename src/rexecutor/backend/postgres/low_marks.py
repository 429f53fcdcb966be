"""Where the claims of each executor have come to: for times at which the claim's index is full of dead entries.

As long as an old transaction is open somewhere in the database, no vacuum removes what claims have deleted from the
queue, and each claim walks past all of it. So a claim that was slow makes the next ones begin where it ended. Only in
memory, so nothing has to be kept right.
"""

from collections.abc import Collection, Iterable
from datetime import UTC, datetime, timedelta
from math import inf
from typing import Any, Final

from rexecutor.model.job import JobId, JobRecord

SLOW_SECONDS: Final = 0.02
"""Seconds from which a claim counts as slow. Below that, claims begin at the first job."""
SHARE: Final = 100
"""How many times as long as a slow claim took the next ones may begin later than at the first job.

So at most one job of a hundred waits for a slow claim.
"""
LONGEST_SECONDS: Final = 10.0
"""Most seconds of that: a job that stands before the mark may wait so long."""
LATE_COMMIT: Final = timedelta(seconds=1)
"""A mark stands at least so much before the moment of its claim.

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
        """Let the next claims begin at the first job: jobs that stand before the marks have been given back."""
        self._until, self._forgotten = -inf, now

    def wanted(self, executors: Collection[str], now: float) -> dict[str, Any] | None:
        """Return the parameters of `claim_marked`; None if a claim must begin at the first job."""
        if now >= self._until or not self._marks:
            return None
        marks = [self._marks.get(executor, _LOWEST) for executor in executors]
        return {
            "priorities": [mark[0] for mark in marks],
            "moments": [mark[1] for mark in marks],
            "ids": [mark[2] for mark in marks],
        }

    def note(self, jobs: Iterable[JobRecord], began: float, ended: float, *, is_marked: bool) -> None:
        """Remember what a claim took, which lasted from `began` to `ended`.

        A marked claim takes a job before the mark only if it is more urgent. Then the mark stays where it is.
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
