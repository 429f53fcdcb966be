"""Scripts that notify the nodes within their own transaction: on synchronous connections, and on the application's."""

from collections.abc import Callable, Collection, Sequence
from datetime import datetime
from typing import Final, TypeAlias

from rexecutor.backend.messages import Count, NewPause, Pause
from rexecutor.backend.postgres.statements import Statements, Steps, channel_of, is_one_row
from rexecutor.backend.sql.operations import Script
from rexecutor.model.job import Enqueued, JobId, JobRecord, Limits, NewJob
from rexecutor.model.outcomes import CancelAsked, Rerun
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

Now: TypeAlias = Callable[[], datetime | None]

CANCEL: Final = "!"
"""Payload of a notification that the cancel of a running job was requested, in place of an executor's name."""
ENDED: Final = "="
"""Payload of a notification that jobs have ended."""
GIVEN_BACK: Final = "-"
"""Payload of a notification that a node gave back jobs, in place of their executors' names."""
ANNOUNCE_SECONDS: Final = 10.0
"""Seconds after which a backend that waits for the end of jobs announces that again."""
AWAITED: Final = "?"
"""Prefix of the payload of a notification that somebody waits for the end of jobs; the backend's token follows."""


class NotifyingScripts:
    """What callers do with jobs, as scripts. Each change needs a transaction, and notifies at its commit."""

    def __init__(self, statements: Statements, now: Now, limits: Limits) -> None:
        """Make the scripts of one schema.

        Args:
            statements: Statements of the schema.
            now: Returns the time that replaces the database's in tests; None in production.
            limits: Limits of the backend.
        """
        self.schema: Final = statements.schema
        self._statements = statements
        self._now = now
        self._limits = limits

    def enqueue(self, jobs: Sequence[NewJob]) -> Steps:
        """Return the script of `Backend.enqueue`: one statement if `is_single` says so."""
        if is_single(jobs):
            [row] = yield self._statements.enqueue_one(jobs[0], self._now(), rings=True)
            return [Enqueued(row[0], "inserted")]
        answers = yield from self._statements.enqueue(jobs, self._now())
        yield from self._notify({job.executor for job in jobs})
        return answers

    def query(self, where: Where, limit: int, after: JobId | None, *, newest: bool = False) -> Script[list[JobRecord]]:
        """Return the script of `Backend.query`: at most one statement."""
        return self._statements.query(where, limit, after, self._now(), newest=newest)

    def count(self, where: Where | None) -> Script[list[Count]]:
        """Return the script of `Backend.count`: one statement."""
        return self._statements.count(where, self._now())

    def apply(self, job_id: JobId, change: CancelAsked | Rerun, executor: str | None) -> Script[JobRecord]:
        """Return the script of `Backend.apply`; its result is the changed job."""
        record = yield from self._statements.at_now(
            self._now(), lambda now: self._statements.apply(job_id, change, executor, now, self._limits)
        )
        yield from self._notify(concerned(record, change))
        return record

    def update(self, job_id: JobId, new: NewJob, version: int) -> Script[JobRecord]:
        """Return the script of `Backend.update`."""
        record = yield from self._statements.at_now(
            self._now(), lambda now: self._statements.update(job_id, new, version, now)
        )
        yield from self._notify({record.executor})
        return record

    def put_pause(self, pause: NewPause) -> Script[Pause]:
        """Return the script of `Backend.put_pause`."""
        return self._statements.at_now(self._now(), lambda now: self._statements.put_pause(pause, now))

    def end_pause(self, executor: str) -> Script[bool]:
        """Return the script of `Backend.end_pause`."""
        was_paused = yield from self._statements.at_now(
            self._now(), lambda now: self._statements.end_pause(executor, now)
        )
        yield from self._notify({executor})
        return was_paused

    def _notify(self, names: Collection[str]) -> Script[None]:
        if names:
            yield self._statements.of("notify", channel=channel_of(self.schema), executors=sorted(names))


def is_single(jobs: Sequence[NewJob]) -> bool:
    """Return whether one statement can both enqueue the jobs and notify the nodes."""
    return is_one_row(jobs) and jobs[0].unique is None


def concerned(record: JobRecord, change: CancelAsked | Rerun) -> Collection[str]:
    """Return the payloads of the notifications that a change of a job needs; `record` is the changed job."""
    if isinstance(change, Rerun):
        return {record.executor}
    # Always, whether or not this process has heard that somebody waits: it may not listen, and cancels are rare.
    return {CANCEL} if record.status is JobStatus.EXECUTING else {ENDED}
