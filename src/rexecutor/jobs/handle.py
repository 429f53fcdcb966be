"""What an enqueue answers: a job's id, and what can be asked of it."""

from datetime import timedelta
from typing import Final, Generic

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.clock import checked_delay
from rexecutor.errors import JobNotFoundError
from rexecutor.jobs.executor import Executor, codecs_of, decode
from rexecutor.model.job import Data, Disposition, Job, JobId, Metadata
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

_LOOK_AGAIN: Final = timedelta(seconds=1)
_SHORTEST_LOOK: Final = timedelta(seconds=0.5)
"""How long the store may take to answer when the timeout is as good as over."""


class JobHandle(msgspec.Struct, Generic[Data, Metadata], frozen=True):
    """An enqueued job, wherever it is by now."""

    id: JobId
    disposition: Disposition
    """`"inserted"`, or what uniqueness made of it: `"existing"` or `"replaced"`."""
    executor: type[Executor[Data, Metadata]]
    backend: Backend

    async def fetch(self) -> Job[Data, Metadata]:
        """Answer the job as it is now.

        Raises:
            JobNotFoundError: It is no longer stored.
            DecodeError: Its data is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        found = await self.backend.query(Where.id_equals(self.id), limit=1)
        if not found:
            raise JobNotFoundError.of(self.id)
        return decode(codecs_of(self.executor, self.backend.limits), found[0])

    async def wait(self, timeout: timedelta | None = None) -> Job[Data, Metadata]:  # noqa: ASYNC109 - a promise of the API
        """Wait until the job has ended, however it did; answer it.

        Args:
            timeout: How long at most, on the backend's clock; None to wait for ever, as for a job that nobody runs.

        Raises:
            TimeoutError: It has not ended by then; it goes on.
            JobNotFoundError: It is no longer stored.
            DecodeError: Its data is not, or no longer, of the executor's type.
            BackendError: The store failed.
        """
        clock = self.backend.clock
        deadline = None if timeout is None else clock.monotonic() + checked_delay("wait", timeout).total_seconds()
        while True:
            since = self.backend.version
            if deadline is None:
                job = await self.fetch()
            else:
                longest = max(timedelta(seconds=deadline - clock.monotonic()), _SHORTEST_LOOK)
                try:
                    job = await clock.within(longest, self.fetch())
                except TimeoutError:
                    raise TimeoutError(f"job {self.id}: the store has not answered after {timeout}") from None
            if job.status.has_ended:
                return job
            left = _LOOK_AGAIN
            if deadline is not None:
                left = min(left, timedelta(seconds=deadline - clock.monotonic()))
                if left <= timedelta(0):
                    raise TimeoutError(f"job {self.id} ({job.executor}) is {job.status} after {timeout}")
            await self.backend.wait_ended(self.id, clock.now() + left, since=since)

    async def cancel(self, reason: str) -> JobStatus:
        """Cancel the job: at once while it waits; while it runs, its node is told within a heartbeat.

        Answers the status after that. A job that has ended stays as it is.

        Raises:
            JobNotFoundError: It is no longer stored.
            BackendError: The store failed; repeat it.
        """
        return await self.backend.cancel(self.id, reason, executor=self.executor.name)

    async def rerun(self) -> None:
        """Run the ended job once more, at once; one more attempt is allowed where none is left.

        Raises:
            JobStateError: It has not ended.
            JobNotFoundError: It is no longer stored.
            BackendError: The store failed; whether it was done is not known.
        """
        await self.backend.rerun(self.id, executor=self.executor.name)
