"""What several test modules need."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from msgspec.structs import replace

from rexecutor.backend.base import Backend
from rexecutor.model import rules
from rexecutor.model.job import JobId, JobRecord, NewJob
from rexecutor.model.status import JobStatus
from rexecutor.model.where import IdIn
from rexecutor.telemetry.events import DutyFailed, DutyRecovered, Event

T = TypeVar("T")


class Events(list[Event]):
    """Events that were logged in this process, in their order."""

    def of(self, kind: type[T]) -> list[T]:
        """Return those of a kind."""
        return [event for event in self if isinstance(event, kind)]

    def failures(self, duty: str) -> list[DutyFailed]:
        """Return the failures of a duty."""
        return [event for event in self.of(DutyFailed) if event.duty == duty]

    def recoveries(self, duty: str) -> list[DutyRecovered]:
        """Return the recoveries of a duty."""
        return [event for event in self.of(DutyRecovered) if event.duty == duty]


async def soon(work: Awaitable[T], seconds: float = 20) -> T:
    """Await the work, but never for ever."""
    async with asyncio.timeout(seconds):  # noqa: TID251 - a deadline in real time, whatever the test's clock says
        return await work


async def until(condition: Callable[[], bool | Awaitable[bool]], seconds: float = 20) -> None:
    """Let the loop and other threads go on until the condition holds."""

    async def wait() -> None:
        while True:
            held = condition()
            if held if isinstance(held, bool) else await held:
                return
            await asyncio.to_thread(lambda: None)  # gives way to threads as well

    await soon(wait(), seconds)


async def record_of(backend: Backend, job_id: JobId) -> JobRecord:
    """Return the job as the store holds it."""
    (record,) = await backend.query(IdIn(frozenset({job_id})))
    return record


async def status_of(backend: Backend, job_id: JobId) -> JobStatus:
    """Return the job's status."""
    return (await record_of(backend, job_id)).status


async def until_no_threads_of_ours() -> None:
    """Wait until no thread of the library is left: one that has said that it ends may need a moment more."""
    await until(lambda: not [one for one in threading.enumerate() if one.name.startswith("rexecutor")], 5)


def record_made(job_id: JobId, status: JobStatus = JobStatus.COMPLETE) -> JobRecord:
    """Return the record of a job without data, in this status; in no store."""
    new = NewJob("e", "null", None, 1, 0, (), None, timedelta(0))
    return replace(rules.inserted(new, job_id, datetime(2026, 1, 1, tzinfo=UTC)), status=status)
