"""`drain`: runs the due jobs of a store, one after the other, until none is due."""

import asyncio
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from rexecutor.app.config import Registry
from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend, override_global_backend
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.backend.messages import CancelRequest, Claim, Demand, Node
from rexecutor.clock import unique_id
from rexecutor.engine.loop import first_of
from rexecutor.engine.runner import Runner
from rexecutor.engine.store_clock import StoreClock
from rexecutor.engine.threads import Threads
from rexecutor.errors import ConfigurationError, GlobalBackendError, RexecutorError
from rexecutor.jobs.executor import AnyExecutor, ExecutorLike, executor_class
from rexecutor.jobs.providers import WorkerScope, enter_worker_scope
from rexecutor.model.checks import checked_int, checked_moment
from rexecutor.model.job import JobError, JobRecord, detail_lines
from rexecutor.model.outcomes import COMPLETE, Cancelled, Discarded, Expired, Failed, Outcome, Settlement, Snooze
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where
from rexecutor.telemetry.subscribers import emit
from rexecutor.testing.clock import FakeClock
from rexecutor.testing.differences import shortened

MAX_RUNS: Final = 10_000
"""Default limit of runs in one drain."""

_LEASE: Final = timedelta(hours=1)
_CANCEL_POLL_INTERVAL: Final = timedelta(seconds=1)
_MAX_ERRORS: Final = 20


@dataclass(frozen=True, slots=True, repr=False)
class Drained:
    """Counts of how the runs of a drain ended. A job that ran three times counts three times."""

    complete: int = 0
    failed: int = 0
    """Failed runs after which the job has another attempt."""
    snoozed: int = 0
    cancelled: int = 0
    """Cancelled runs, and jobs that had expired and were not run."""
    discarded: int = 0
    """Failed runs that were the job's last attempt, or failed with an exception in `discard_on`."""
    errors: tuple[JobError, ...] = field(default=(), compare=False)
    """Errors of failed, discarded and cancelled runs, the last 20. Ignored when two results are compared."""

    @property
    def runs(self) -> int:
        """Number of runs in all."""
        return self.complete + self.failed + self.snoozed + self.cancelled + self.discarded

    def __repr__(self) -> str:
        """Show the counts that are not 0 and one line for each error, so that a failed comparison says why."""
        counts = {name: getattr(self, name) for name in self.__slots__ if name != "errors"}
        shown = [f"{name}={number}" for name, number in counts.items() if number]
        if self.errors:
            shown.append(f"errors={[_line(error) for error in self.errors]}")
        return f"Drained({', '.join(shown)})"


async def drain(
    *executors: ExecutorLike, backend: Backend | None = None, until: datetime | None = None, limit: int = MAX_RUNS
) -> Drained:
    """Run these executors' due jobs, and the jobs those enqueue, until none is due. Return how the runs ended.

    ```python
    assert await drain(EmailJob, ChargeOrder(gateway), until=clock.now() + timedelta(hours=3)) == Drained(complete=2)
    ```

    Jobs run as on a worker: they are claimed in order, `timeout`, `backoff`, `max_attempts` and `discard_on` apply,
    and outcomes and results are stored. A job that has expired is cancelled when its turn comes. Unlike on a worker
    they run one at a time, so that a test is deterministic: a job that waits for another job waits for ever. Jobs of
    other executors are left alone. A paused `InMemoryBackend` works too, and stays paused for everything else.

    On a `FakeClock` time stands still while a job runs: it times out only if the job itself moves the clock.

    Args:
        executors: The executors whose jobs run, at least one. Pass an instance if the executor's `__init__` needs
            arguments, otherwise the class.
        backend: The backend to drain; the global backend if None. If there is no global backend, this one takes its
            place for the jobs. If it is not open, it is opened and closed again.
        until: Also run the jobs that become due up to this aware moment, each at its time, retries and snoozed jobs
            included. Needs a backend on a `FakeClock`, which stands at this moment in the end. None to run only what
            is due now.
        limit: Maximum number of runs, 1 or more, so that a job that enqueues itself does not hang the test.

    Raises:
        RexecutorError: `limit` runs were made and another job is due.
        ConfigurationError: An argument cannot work.
        DefinitionError: An executor cannot run, or two have the same name.
        GlobalBackendError: No backend was given and there is no global one.
        BackendError: The store failed.
    """
    store = current_backend(backend)
    registry = Registry(store.limits)
    for executor in executors:
        executor_class("drain: executor", executor)
        registry.add(executor, is_implied=False)
    if not registry.executors:
        raise ConfigurationError("drain: no executor given; give those whose jobs are to run: drain(EmailJob)")
    checked_int("drain: limit", limit, 1)
    alarm = None if until is None else _Alarm(store, until)
    with _global_if_none(store):
        if store.is_open:
            return await drained(store, registry.executors, alarm, limit=limit)
        async with store:
            return await drained(store, registry.executors, alarm, limit=limit)


class _Alarm:
    """Moves a `FakeClock` from one due time to the next, up to a final moment."""

    def __init__(self, store: Backend, until: datetime) -> None:
        self._until = checked_moment("drain: until", until)
        clock = store.clock
        if not isinstance(clock, FakeClock):
            raise ConfigurationError(
                f"drain: until needs a clock that can be moved; make the backend with one:"
                f" {type(store).__name__}(…, clock=FakeClock())"
            )
        if until < clock.now():
            raise ConfigurationError(f"drain: until={until!r} is in the past: the clock stands at {clock.now()!r}")
        self._clock = clock

    def move(self, next_due: datetime | None) -> bool:
        """Move the clock to the next due time, or to the final moment if that is earlier. Return False in that case."""
        is_within = next_due is not None and next_due <= self._until
        moment = next_due if next_due is not None and is_within else self._until
        self._clock.advance(max(moment - self._clock.now(), timedelta(0)))
        return is_within


async def drained(
    store: Backend,
    executors: Mapping[str, AnyExecutor],
    alarm: _Alarm | None = None,
    *,
    limit: int,
    threads: Threads | None = None,
) -> Drained:
    """Run due jobs of the open store as `drain` does.

    Args:
        store: The store.
        executors: The executors whose jobs run, by name.
        alarm: Moves the clock; None to run what is due now.
        limit: Maximum number of runs.
        threads: Runs the jobs that block; None for threads of its own.

    Raises:
        RexecutorError: `limit` runs were made and another job is due.
        BackendError: The store failed.
    """
    node = _OneAtATime(store, executors, threads)
    try:
        while True:
            claim = await node.claim()
            for record in claim.jobs:
                if node.runs == limit:
                    raise RexecutorError(
                        f"drain: {limit:,} runs, and job {record.id} of {record.executor} is still due: does a job"
                        " enqueue itself, or snooze, again and again? If not, give a larger `limit`"
                    )
                await node.run(record)
            if claim.jobs or (claim.next_due is not None and claim.next_due <= store.clock.now()):
                continue
            if alarm is None or not alarm.move(claim.next_due):
                return node.drained()
    finally:
        await node.end()


class _OneAtATime:
    """A node that claims one job, runs it and settles it, then claims the next."""

    def __init__(self, store: Backend, executors: Mapping[str, AnyExecutor], threads: Threads | None) -> None:
        self._store = store
        self._demand = Demand(dict.fromkeys(executors, 1), 1)
        self._node = Node(unique_id(), "drain", _LEASE)
        self._heartbeats = store.heartbeat_connection()
        self._heartbeat_at = store.clock.now()
        self._ended = asyncio.Event()
        self._settlement: Settlement | None = None
        self._drained = {"complete": 0, "failed": 0, "snoozed": 0, "cancelled": 0, "discarded": 0}
        self._errors: list[JobError] = []
        self._providers = WorkerScope()
        context = copy_context()
        context.run(enter_worker_scope, self._providers)
        self._store_clock = StoreClock(store.clock)
        self._runner = Runner(
            executors,
            clock=store.clock,
            store_clock=self._store_clock,
            limits=store.limits,
            completion=store.completion(),
            emit=emit,
            settle=self._take,
            ended=lambda _: None,
            context=context,
            threads=threads,
        )
        self.runs = 0

    async def claim(self) -> Claim:
        """Claim the next due job, if there is one.

        The heartbeat neither rescues nor expires jobs. The test has moved the clock, so a lease that has run out is no
        sign of a dead node; and a job that has expired is counted when it is claimed.
        """
        now = self._store.clock.now()
        if now >= self._heartbeat_at:
            self._heartbeats.send(self._node, rescues=False)
            self._heartbeat_at = now + _LEASE / 2
        with _unpaused(self._store):
            claim = await self._store.claim(self._demand, self._node.id)
        self._store_clock.note_claim(claim.jobs)
        return claim

    async def run(self, record: JobRecord) -> None:
        """Run the job and record its outcome."""
        self.runs += 1
        self._ended.clear()
        self._runner.start([record])
        while not self._ended.is_set():
            since = self._store.change_count
            await self._pass_cancel_on(record)
            until = self._store.clock.now() + _CANCEL_POLL_INTERVAL
            await first_of(self._ended.wait(), self._store.wait_ended(until, since=since))
        settlement = self._settlement
        if settlement is not None:
            refused = await self._store.settle([settlement])
            found = await self._store.query(Where.id_equals(record.id), limit=1)
            stored = found[0] if found else None
            if not refused:
                self._count(settlement.outcome, stored)
            elif settlement.commit_unknown and stored is not None and stored.status is JobStatus.COMPLETE:
                self._count(COMPLETE, stored)

    async def end(self) -> None:
        """Stop the running job, give its claim back, end the lease, and close what providers made.

        Raises:
            BaseException: What a provider raised then.
        """
        try:
            await self._runner.close()
            await self._store.release_claims(self._node.id, ())
        finally:
            try:
                self._heartbeats.deregister(self._node.id)
            finally:
                self._heartbeats.close()
                failed = await self._providers.close()
        if failed:
            raise failed[0].error

    def drained(self) -> Drained:
        """Return how the runs ended."""
        return Drained(**self._drained, errors=tuple(self._errors))

    def _take(self, settlement: Settlement, _: object) -> None:
        self._settlement = settlement
        self._ended.set()

    async def _pass_cancel_on(self, record: JobRecord) -> None:
        """Pass a stored cancel request on to the running job, as a heartbeat does."""
        for stored in await self._store.query(Where.id_equals(record.id), limit=1):
            if stored.cancel_reason is not None and stored.claims == record.claims:
                self._runner.cancel([CancelRequest(stored.id, stored.claims, stored.cancel_reason)])

    def _count(self, outcome: Outcome, stored: JobRecord | None) -> None:
        status = None if stored is None else stored.status
        error = outcome.error if isinstance(outcome, Failed | Discarded | Cancelled) else None
        if isinstance(outcome, Expired) and stored is not None and stored.errors:
            error = stored.errors[-1]
        if error is not None:
            self._errors = [*self._errors, error][-_MAX_ERRORS:]
        if isinstance(outcome, Cancelled | Expired) or status is JobStatus.CANCELLED:
            word = "cancelled"
        elif isinstance(outcome, Failed | Discarded):
            word = "discarded" if status is JobStatus.DISCARDED else "failed"
        else:
            word = "snoozed" if isinstance(outcome, Snooze) else "complete"
        self._drained[word] += 1


@contextmanager
def _unpaused(store: Backend) -> Generator[None]:
    """Let a paused `InMemoryBackend` hand out jobs within the block.

    Its `claim` awaits nothing, so no other task can claim meanwhile.
    """
    if not isinstance(store, InMemoryBackend):
        yield
        return
    paused, store._paused = store._paused, False  # noqa: SLF001 - hidden from users only  # pyright: ignore[reportPrivateUsage]
    try:
        yield
    finally:
        store._paused = paused  # noqa: SLF001 - as above  # pyright: ignore[reportPrivateUsage]


def _global_if_none(store: Backend) -> AbstractContextManager[object]:
    """Make this backend the global one within the block, unless there is one already."""
    try:
        current_backend()
    except GlobalBackendError:
        return override_global_backend(store)
    return nullcontext()


def _line(error: JobError) -> str:
    return f"{error.kind}: {shortened(detail_lines(error)[-1])}"
