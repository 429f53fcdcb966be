"""`Store`, which cases work with: a backend, its clock, and helpers for what a producer and a node do."""

from collections.abc import Callable, Collection, Generator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import msgspec

from rexecutor.backend.base import Backend
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import Claim, Demand, Heartbeat, Node
from rexecutor.model.job import Enqueued, ErrorKind, JobError, JobId, JobRecord, NewJob, NodeId
from rexecutor.model.outcomes import Cancelled, Complete, Failed, Outcome, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.model.unique import UniquenessCriteria
from rexecutor.model.where import Everything, IdIn, Where
from rexecutor.testing.clock import START, FakeClock

ALPHA: Final = "alpha"
BETA: Final = "beta"
NODE: Final = "node-1"
OTHER_NODE: Final = "node-2"
LEASE: Final = timedelta(seconds=30)
SECOND: Final = timedelta(seconds=1)
HOUR: Final = timedelta(hours=1)
MICROSECOND: Final = timedelta(microseconds=1)


def new_job(  # noqa: PLR0913 - one for each field
    executor: str = ALPHA,
    *,
    data: str = "null",
    metadata: str | None = None,
    max_attempts: int = 5,
    priority: int = 0,
    tags: tuple[str, ...] = (),
    scheduled_at: datetime | None = None,
    delay: timedelta = timedelta(0),
    unique: UniquenessCriteria | None = None,
    expires_at: datetime | None = None,
    expires_in: timedelta | None = None,
    headers: str | None = None,
) -> NewJob:
    """Return a new job; by default it is due at once, and never expires."""
    times = scheduled_at, delay, unique, expires_at, expires_in
    return NewJob(executor, data, metadata, max_attempts, priority, tags, *times, headers)


def job_error(
    details: str = "boom", *, attempt: int = 1, kind: ErrorKind = ErrorKind.EXCEPTION, at: datetime = START
) -> JobError:
    """Return an error as the engine records it."""
    return JobError(attempt, kind, "ValueError", details, at)


def failed(details: str = "boom", *, delay: timedelta = timedelta(0)) -> Failed:
    """Return the outcome of a failed attempt."""
    return Failed(job_error(details), delay)


def cancelled(reason: str = "no longer wanted") -> Cancelled:
    """Return the outcome of a cancelled attempt."""
    return Cancelled(job_error(reason, kind=ErrorKind.CANCELLED))


@contextmanager
def expect(error: type[Exception]) -> Generator[None]:
    """Fail unless the block raises an exception of this class."""
    try:
        yield
    except error:
        return
    raise AssertionError(f"{error.__name__} expected, but nothing was raised")


class Store:
    """A backend under test, with its clock. One connection sends all heartbeats, in the thread of the case."""

    def __init__(
        self, backend: Backend, clock: FakeClock, open_backend: Callable[[], Backend], *, shares_store: bool
    ) -> None:
        self.backend: Final = backend
        self.clock: Final = clock
        self._open_backend = open_backend
        self._shares_store = shares_store
        self._heartbeats: HeartbeatConnection | None = None

    @property
    def now(self) -> datetime:
        """Current time on the store's clock."""
        return self.clock.now()

    def another_backend(self) -> Backend:
        """Return a second backend on the same store, not open yet. Skip the case if backends share no store."""
        if not self._shares_store:
            import pytest  # imported here, so that the suite can be imported without pytest

            pytest.skip("two backends do not share a store (`shares_store` is False)")
        return self._open_backend()

    def beside(self, other: Backend) -> "Store":
        """Return a `Store` for another backend on the same clock."""
        return Store(other, self.clock, self._open_backend, shares_store=self._shares_store)

    def close(self) -> None:
        """Close the heartbeat connection. The backend stays open."""
        if self._heartbeats is not None:
            self._heartbeats.close()
            self._heartbeats = None

    async def enqueue(self, *jobs: NewJob) -> list[JobId]:
        """Enqueue the jobs in one batch. Return their ids."""
        return [answer.id for answer in await self.backend.enqueue(jobs)]

    async def add(self, job: NewJob) -> Enqueued:
        """Enqueue one job. Return its id and disposition."""
        [answer] = await self.backend.enqueue([job])
        return answer

    async def job_in(self, status: JobStatus, new: NewJob | None = None) -> JobRecord:
        """Enqueue a job and bring it into a status.

        For every status except `SCHEDULED` the job must run, so no other job of its executor may be due.
        """
        new = new or new_job()
        [job_id] = await self.enqueue(new)
        if status is JobStatus.SCHEDULED:
            return await self.job(job_id)
        self.heartbeat()
        [job] = await self.claim(executors=[new.executor])
        assert job.id == job_id
        outcomes: dict[JobStatus, Outcome] = {
            JobStatus.RETRYABLE: failed(delay=HOUR),
            JobStatus.COMPLETE: Complete(),
            JobStatus.CANCELLED: cancelled(),
            JobStatus.DISCARDED: failed(),
        }
        if status is JobStatus.DISCARDED:
            job = await self.backend.update(job_id, msgspec.structs.replace(new, max_attempts=1), version=job.version)
        return await self.settle(job, outcomes[status]) if status in outcomes else job

    async def job(self, job_id: JobId) -> JobRecord:
        """Return the job as it is stored. Fail if there is none."""
        found = await self.backend.query(IdIn(frozenset({job_id})))
        assert len(found) == 1, f"job {job_id} expected, found {found}"
        return found[0]

    async def jobs(self, where: Where | None = None) -> list[JobRecord]:
        """Return all jobs that match the expression, or all jobs if None; at most 100,000."""
        return list(await self.backend.query(Everything() if where is None else where, limit=100_000))

    async def ids(self, where: Where) -> list[JobId]:
        """Return the ids of the jobs that match the expression."""
        return [job.id for job in await self.jobs(where)]

    def heartbeat(self, node_id: NodeId = NODE, *, lease: timedelta = LEASE, rescues: bool = True) -> Heartbeat:
        """Renew the node's lease."""
        return self._heartbeats_of_case().send(Node(node_id, f"host:{node_id}", lease), rescues=rescues)

    def deregister(self, node_id: NodeId = NODE) -> None:
        """End the node's lease."""
        self._heartbeats_of_case().deregister(node_id)

    async def ask(self, limit: int = 100, *, node_id: NodeId = NODE, executors: Collection[str] = (ALPHA,)) -> Claim:
        """Claim with `limit` slots for each executor and in all. Return the whole `Claim`."""
        return await self.backend.claim(Demand(dict.fromkeys(executors, limit), limit), node_id)

    async def claim(
        self, limit: int = 100, *, node_id: NodeId = NODE, executors: Collection[str] = (ALPHA,)
    ) -> list[JobRecord]:
        """Claim with `limit` slots for each executor and in all. Return the jobs."""
        return list((await self.ask(limit, node_id=node_id, executors=executors)).jobs)

    async def executing(self, *jobs: NewJob, node_id: NodeId = NODE) -> list[JobRecord]:
        """Enqueue the jobs, or a default one, and claim them for the node. Return them in order of id."""
        ids = await self.enqueue(*(jobs or (new_job(),)))
        self.heartbeat(node_id)
        executors = {job.executor for job in jobs} or {ALPHA}
        claimed = await self.claim(len(ids), node_id=node_id, executors=executors)
        assert sorted(job.id for job in claimed) == ids, "the store was not empty before"
        return sorted(claimed, key=lambda job: job.id)

    async def reclaim(self, job_id: JobId, *, node_id: NodeId = NODE) -> JobRecord:
        """Claim one job for the node and check that it is this one."""
        self.heartbeat(node_id)
        claimed = await self.claim(1, node_id=node_id)
        assert [job.id for job in claimed] == [job_id]
        return claimed[0]

    async def settle(self, job: JobRecord, outcome: Outcome) -> JobRecord:
        """Record the outcome of a claimed job, and check that it is accepted. Return the job as it is stored then."""
        refused = await self.backend.settle([Settlement(job.id, job.claims, outcome)])
        assert list(refused) == []
        return await self.job(job.id)

    async def settle_all(self, settlements: Sequence[Settlement]) -> list[JobId]:
        """Record outcomes. Return the ids of the jobs whose outcome was refused."""
        return list(await self.backend.settle(settlements))

    def _heartbeats_of_case(self) -> HeartbeatConnection:
        if self._heartbeats is None:
            self._heartbeats = self.backend.heartbeat_connection()
        return self._heartbeats
