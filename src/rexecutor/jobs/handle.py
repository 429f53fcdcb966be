"""`JobHandle`, returned by an enqueue: the id of a job, and methods to fetch, await, cancel and rerun it."""

from datetime import timedelta
from typing import Final, Generic

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.errors import JobNotFoundError
from rexecutor.jobs.definition import ExecutorDefinition
from rexecutor.jobs.types import codecs_of, decode
from rexecutor.model.checks import checked_delay
from rexecutor.model.job import Data, Disposition, Job, JobId, Metadata, Result
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

_LOOK_AGAIN: Final = timedelta(seconds=1)
"""Poll interval of `wait`, in case a wake-up is lost."""
_SHORTEST_LOOK: Final = timedelta(seconds=0.5)
"""Least time that `wait` gives one read of the store, even if less of the timeout is left."""


class JobHandle(msgspec.Struct, Generic[Data, Metadata, Result], frozen=True):
    """A handle to an enqueued job, which may be waiting, running, ended or deleted by now."""

    id: JobId
    disposition: Disposition
    """What the enqueue did: `"inserted"`, or, by uniqueness criteria, `"existing"` or `"replaced"`."""
    executor: type[ExecutorDefinition[Data, Metadata, Result]]
    backend: Backend

    async def fetch(self) -> Job[Data, Metadata, Result]:
        """Return the job as it is now.

        Raises:
            JobNotFoundError: It is no longer stored.
            DecodeError: Its data is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        found = await self.backend.query(Where.id_equals(self.id), limit=1)
        if not found:
            raise JobNotFoundError.of(self.id)
        return decode(codecs_of(self.executor, self.backend.limits), found[0])

    async def wait(self, timeout: timedelta | None = None) -> Job[Data, Metadata, Result]:  # noqa: ASYNC109 - a promise of the API
        """Wait until the job has ended, in any status, and return it.

        Args:
            timeout: How long to wait at most, on the backend's clock. None for no limit: for ever if nobody runs
                the job.

        Raises:
            TimeoutError: The job has not ended by then; it goes on.
            JobNotFoundError: It is no longer stored.
            DecodeError: Its data is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        clock = self.backend.clock
        deadline = None
        if timeout is not None:
            deadline = clock.monotonic() + checked_delay("wait: timeout", timeout).total_seconds()
        while True:
            # The count is read before the job: if the job ends in between, `wait_ended` returns at once.
            since = self.backend.change_count
            if deadline is None:
                job = await self.fetch()
            else:
                longest = max(timedelta(seconds=deadline - clock.monotonic()), _SHORTEST_LOOK)
                try:
                    job = await clock.within(longest, self.fetch())
                except TimeoutError:
                    raise TimeoutError(f"job {self.id}: the store did not respond within {timeout}") from None
            if job.status.has_ended:
                return job
            left = _LOOK_AGAIN
            if deadline is not None:
                left = min(left, timedelta(seconds=deadline - clock.monotonic()))
                if left <= timedelta(0):
                    raise TimeoutError(f"job {self.id} ({job.executor}) is {job.status} after {timeout}")
            await self.backend.wait_ended(self.id, clock.now() + left, since=since)

    async def cancel(self, reason: str) -> JobStatus:
        """Cancel the job and return its status after that.

        A waiting job is cancelled at once. For a running job, its node learns of the request within a heartbeat. A job
        that has ended stays as it is.

        Raises:
            JobNotFoundError: It is no longer stored.
            BackendError: The store failed; repeat it.
        """
        return await self.backend.cancel(self.id, reason, executor=self.executor.name)

    async def rerun(self) -> None:
        """Run the ended job once more, at once. If no attempt is left, one more is allowed.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: It is no longer stored.
            BackendError: The store failed; whether it was done is not known.
        """
        await self.backend.rerun(self.id, executor=self.executor.name)
