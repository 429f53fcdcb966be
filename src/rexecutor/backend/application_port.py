"""The part of the port that an application needs: enqueues, queries, changes of one job, and waits.

Each exists twice: for event loops, and (`_sync`) for code without one.
"""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime

from rexecutor.backend.messages import PAGE, Count
from rexecutor.backend.opening_port import OpeningPort
from rexecutor.backend.sync_waits import PollingWatch, Watch
from rexecutor.backend.waits import known_of
from rexecutor.model.checks import checked_instance, checked_int
from rexecutor.model.job import Enqueued, JobId, JobRecord, Limits, NewJob, storable
from rexecutor.model.outcomes import CancelAsked, Rerun
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn, Where


class ApplicationPort(OpeningPort):
    """What an application does with its jobs."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs, all or none, and wake those who wait for them. Return one result per job, in order.

        A job with criteria is added only if no job, in the store or earlier in the batch, matches
        `rules.conflicting`. Otherwise `rules.pick_existing` chooses one of the matching jobs, and `rules.replaced` says
        what becomes of it. Two enqueues with criteria of one scope (executor, key) never add two conflicting jobs,
        however they race.

        Raises:
            BackendError: The store failed; whether the jobs were stored is not known.
        """

    @abstractmethod
    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return at most `limit` jobs in order of id, from the first id above `after`.

        With `newest`, the order is reversed: the newest job comes first, and lower ids follow `after`. A row that
        cannot be read becomes a record with a `defect`.

        Raises:
            BackendError: The store failed.
        """

    async def query_ids(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobId]:
        """Return the ids of the jobs that `query` would return. A store should not read their data.

        Raises:
            BackendError: The store failed.
        """
        return [record.id for record in await self.query(where, limit=limit, after=after, newest=newest)]

    @abstractmethod
    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Return how many jobs there are by executor and status, sorted by these; no entry if there are none.

        Args:
            where: Which jobs to count; None for all.

        Raises:
            BackendError: The store failed.
        """

    @abstractmethod
    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `rules.transition` says and return its new status. A rerun wakes waiting nodes.

        Raises:
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: Its status does not allow the change.
            BackendError: The store failed; whether it was done is not known.
        """

    @abstractmethod
    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job that has not ended, as `rules.updated` says. Return the changed job.

        Raises:
            JobNotFoundError: There is no such job of that executor.
            JobStateError: The job has ended.
            StaleJobError: The job has changed: it no longer has this `version`.
            BackendError: The store failed; whether it was done is not known.
        """

    async def cancel(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job and return its new status.

        A waiting job is cancelled at once. The node of a running job hears of it at its next heartbeat or before. An
        ended job stays as it is. A reason longer than `Limits.error_text` characters loses its middle; NUL
        characters and lone surrogates are replaced.

        Raises:
            ConfigurationError: The id is not an int, or the reason is not a str.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            BackendError: The store failed; call again.
        """
        asked = cancel_asked(job_id, reason, self.limits)
        status = await self.apply(job_id, asked, executor=executor)
        if status is JobStatus.EXECUTING:
            self.notify_cancel()
        return status

    async def rerun(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Make the ended job due again, at once.

        Raises:
            ConfigurationError: The id is not an int.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: The job has not ended.
            BackendError: The store failed; whether it was done is not known.
        """
        checked_int("rerun: job_id", job_id)
        await self.apply(job_id, Rerun(), executor=executor)

    async def check_ended(self, ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
        """Return those of the jobs that are stored: the record of one that has ended, the status of any other.

        Called at each change and each second while somebody waits for these jobs, at most 1,000. So a store should not
        read all of their data. A row that cannot be read may be returned as a record with a `defect`.

        Raises:
            BackendError: The store failed.
        """
        return known_of(await self.query(IdIn(frozenset(ids)), limit=len(ids)))

    async def wait_ended(self, until: datetime, *, since: int) -> None:
        """Wait until a job may have ended, but not past `until`. A hint, like `wait_ready`, and ended by any change."""
        await self._wakeups.wait(until, since=since, for_end=True)

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `enqueue` does, without an event loop. Callable from any thread; need not be open.

        Raises:
            ConfigurationError: This backend has no synchronous enqueue.
            BackendError: The store failed; whether the jobs were stored is not known.
        """
        raise self._must_be_awaited("enqueue")

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `query` does, without an event loop.

        Like every method with `_sync`, it may be called from any thread, whether or not the backend is open, starts
        neither a thread nor an event loop, and blocks the calling thread.

        Raises:
            ConfigurationError: This backend has no synchronous query.
            BackendError: The store failed.
        """
        raise self._must_be_awaited("query")

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Return how many jobs there are as `count` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous count.
            BackendError: The store failed.
        """
        raise self._must_be_awaited("count")

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `apply` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous changes.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: Its status does not allow the change.
            BackendError: The store failed; whether it was done is not known.
        """
        raise self._must_be_awaited("apply")

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change the fields of a job as `update` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: This backend has no synchronous changes.
            JobNotFoundError: There is no such job of that executor.
            JobStateError: The job has ended.
            StaleJobError: The job has changed: it no longer has this `version`.
            BackendError: The store failed; whether it was done is not known.
        """
        raise self._must_be_awaited("update")

    def cancel_sync(self, job_id: JobId, reason: str, *, executor: str | None = None) -> JobStatus:
        """Cancel the job as `cancel` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: The id is not an int, the reason is not a str, or this backend has no synchronous
                changes.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            BackendError: The store failed; call again.
        """
        status = self.apply_sync(job_id, cancel_asked(job_id, reason, self.limits), executor=executor)
        if status is JobStatus.EXECUTING:
            self.notify_cancel()
        return status

    def rerun_sync(self, job_id: JobId, *, executor: str | None = None) -> None:
        """Make the ended job due again as `rerun` does, without an event loop; see `query_sync`.

        Raises:
            ConfigurationError: The id is not an int, or this backend has no synchronous changes.
            JobNotFoundError: There is no such job (of that executor, if one is given).
            JobStateError: The job has not ended.
            BackendError: The store failed; whether it was done is not known.
        """
        checked_int("rerun: job_id", job_id)
        self.apply_sync(job_id, Rerun(), executor=executor)

    def check_ended_sync(
        self, ids: Collection[JobId], *, seconds: float | None = None
    ) -> Mapping[JobId, JobRecord | JobStatus]:
        """Return which of the jobs have ended as `check_ended` does, without an event loop; see `query_sync`.

        Args:
            ids: The jobs, at most 1,000.
            seconds: Time, in seconds, after which nobody needs the result any more, if the store can use that; None for
                no such time.

        Raises:
            ConfigurationError: This backend has no synchronous query.
            BackendError: The store failed.
        """
        return known_of(self.query_sync(IdIn(frozenset(ids)), limit=len(ids)))

    def watch_sync(self) -> AbstractContextManager[Watch]:
        """Return a watch, with which one thread looks at the store again and again while it waits for jobs to end.

        By default it calls `check_ended_sync`, and keeps nothing open.
        """
        return nullcontext(PollingWatch(self, self._wakeups))


def cancel_asked(job_id: JobId, reason: str, limits: Limits) -> CancelAsked:
    """Return the change that cancels a job for this reason, as much of it as a store may hold.

    Raises:
        ConfigurationError: The id is not an int, or the reason is not a str.
    """
    checked_int("cancel: job_id", job_id)
    checked_instance("cancel: reason", reason, str, "a str")
    return CancelAsked(storable(reason, limits.error_text))
