"""Runs jobs: one task each, whatever they raise, and an outcome for each."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, assert_never, cast

from rexecutor.backend.completion import Completion
from rexecutor.backend.exchange import CancelRequest
from rexecutor.backoff import DEFAULT_BACKOFF, clamp
from rexecutor.clock import Clock, checked_delay
from rexecutor.engine.deadlines import GRACE, Deadlines
from rexecutor.engine.failure import error_of, job_error
from rexecutor.engine.loop import Emit
from rexecutor.engine.running import AnyExecutor, Running, Stop
from rexecutor.engine.threads import Threads
from rexecutor.errors import DecodeError
from rexecutor.events import BackoffFailed, JobEnded, JobStarted, JobStuck
from rexecutor.executor import codecs_of, decode
from rexecutor.job import ClaimId, ErrorKind, Job, JobError, JobRecord, Limits
from rexecutor.log import wants_jobs
from rexecutor.outcome import COMPLETE, Cancel, Cancelled, Complete, Failed, Interrupted, Outcome, Settlement, Snooze


class Runner:
    """The jobs of one node. `ended` is called with the executor's name when a job's code has ended."""

    def __init__(
        self,
        executors: Mapping[str, AnyExecutor],
        *,
        clock: Clock,
        limits: Limits,
        completion: Completion,
        emit: Emit,
        settle: Callable[[Settlement], None],
        ended: Callable[[str], None],
    ) -> None:
        """Begin with nothing running."""
        self._executors = {name: (one, codecs_of(type(one), limits)) for name, one in executors.items()}
        self._clock = clock
        self._limits = limits
        self._completion = completion
        self._emit = emit
        self._settle = settle
        self._ended = ended
        self._running: dict[ClaimId, Running] = {}
        self._tells_jobs = False
        self._threads = Threads()
        self._deadlines = Deadlines(clock, self._expire)
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def held(self) -> Collection[ClaimId]:
        """The claims whose code runs; without those whose outcome has been handed over already."""
        return [claim_id for claim_id, running in self._running.items() if not running.is_settled]

    def running_of(self, task: asyncio.Task[object]) -> Running | None:
        """Answer the job that the task runs. Callable from any thread."""
        return next((one for one in list(self._running.values()) if one.task is task), None)

    def start(self, records: Iterable[JobRecord]) -> None:
        """Run each job in a task of its own, and so in a context of its own."""
        create_task = asyncio.get_running_loop().create_task
        self._tells_jobs = wants_jobs()
        self._idle.clear()
        for record in records:
            running = Running(record, *self._executors[record.executor], self._completion)
            self._running[record.claim_id] = running
            running.task = create_task(self._run(running))

    def cancel(self, requests: Iterable[CancelRequest]) -> None:
        """Tell jobs that somebody asked to cancel them."""
        for request in requests:
            running = self._running.get((request.job_id, request.claims))
            if running is not None and running.stop is None:
                running.reason = request.reason
                self._tell_to_stop(running, Stop.CANCEL)

    def stop_all(self, why: Stop) -> int:
        """Tell all jobs to stop; answer how many there were. A shutdown tells those again that were told before."""
        told = [one for one in self._running.values() if one.stop is None or why is Stop.SHUTDOWN]
        for running in told:
            self._tell_to_stop(running, why)
        return len(told)

    def abandon_all(self) -> None:
        """Give up waiting for code that does not stop: record what it was told to stop for."""
        for running in list(self._running.values()):
            self._abandon(running)

    async def idled(self, timeout: timedelta) -> bool:  # noqa: ASYNC109 - passed on to the clock
        """Wait until no job's code runs, for `timeout` at most; answer whether it is so."""
        return await self._clock.wait(self._idle, timeout)

    async def close(self) -> None:
        """Cancel what still runs, without an outcome, and see it end; threads that hang are left behind."""
        self._deadlines.stop()
        tasks = [running.task for running in self._running.values() if running.task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        self._threads.stop()

    async def _run(self, running: Running) -> None:
        """Run the job to its outcome: the job boundary, which lets nothing through."""
        record, executor = running.record, running.executor
        try:
            job = self._begin(running)
            if executor.blocking:
                result = await self._threads.run(executor.execute, job)
            else:
                result = await cast("Awaitable[object]", executor.execute(job))
            outcome = COMPLETE if result is None else self._outcome_of_result(running, result)
        except BaseException as error:  # noqa: BLE001 - a job may raise anything
            outcome = self._outcome_of_error(running, error)
        try:
            if not running.is_settled:
                self._finish(running, outcome)
        finally:
            del self._running[record.claim_id]
            if not self._running:
                self._idle.set()
            self._ended(record.executor)

    def _begin(self, running: Running) -> Job[Any, Any]:
        record = running.record
        running.has_begun = True
        if running.stop is not None:
            raise asyncio.CancelledError
        if self._tells_jobs:
            self._emit(JobStarted(record.id, record.executor, record.attempt))
        running.job = job = decode(running.codecs, record, running)
        timeout = running.executor.timeout(job)
        if timeout is not None:
            running.timeout = clamp(checked_delay(f"{record.executor}: timeout", timeout, least=timedelta.min))
            running.deadline = self._clock.monotonic() + running.timeout.total_seconds()
            self._deadlines.add(running.deadline)
        return job

    def _outcome_of_result(self, running: Running, result: object) -> Outcome:
        match result:
            case _ if running.may_be_complete:
                return COMPLETE
            case Snooze():
                return result
            case Cancel(reason):
                return Cancelled(self._error(running, ErrorKind.CANCELLED, "Cancel", reason))
            case _:
                raise TypeError(f"execute answered {type(result).__name__}; None, Cancel or Snooze expected")

    def _outcome_of_error(self, running: Running, error: BaseException) -> Outcome:
        if isinstance(error, asyncio.CancelledError) and running.stop is not None:
            return self._outcome_of_stop(running, running.stop)
        kind = ErrorKind.DECODE if isinstance(error, DecodeError) and running.job is None else ErrorKind.EXCEPTION
        attempt, now = running.record.attempt, self._clock.now()
        return self._failed(running, error_of(error, kind, attempt=attempt, now=now, most=self._limits.error_text))

    def _outcome_of_stop(self, running: Running, stop: Stop) -> Outcome:
        match stop:
            case Stop.TIMEOUT:
                details = f"the attempt took longer than {running.timeout}"
                return self._failed(running, self._error(running, ErrorKind.TIMEOUT, "Timeout", details))
            case Stop.CANCEL:
                return Cancelled(self._error(running, ErrorKind.CANCELLED, "Cancel", running.reason))
            case Stop.SHUTDOWN | Stop.LEASE_LOST:
                return Interrupted()
            case _:
                assert_never(stop)

    def _failed(self, running: Running, error: JobError) -> Failed:
        return Failed(error, self._delay(running, error))

    def _delay(self, running: Running, error: JobError) -> timedelta:
        default = DEFAULT_BACKOFF(max(running.record.attempt, 1))
        if running.job is None:
            return default
        try:
            job = replace(running.job, errors=(*running.job.errors, error))
            return clamp(checked_delay("backoff", running.executor.backoff(job), least=timedelta.min))
        except BaseException as failure:  # noqa: BLE001 - the job boundary too: it is the user's code
            record = running.record
            self._emit(BackoffFailed(record.id, record.executor, record.attempt, failure))
            return default

    def _error(self, running: Running, kind: ErrorKind, type_name: str, details: str) -> JobError:
        return job_error(
            kind,
            type_name,
            details,
            attempt=running.record.attempt,
            now=self._clock.now(),
            most=self._limits.error_text,
        )

    def _finish(self, running: Running, outcome: Outcome) -> None:
        record = running.record
        running.is_settled = True
        recorded = outcome
        if running.may_be_complete and outcome is COMPLETE:
            recorded = Failed(self._not_committed(running), DEFAULT_BACKOFF(max(record.attempt, 1)))
        self._settle(Settlement(record.id, record.claims, recorded, running.may_be_complete))
        if self._tells_jobs or not isinstance(outcome, Complete | Snooze):
            is_final = isinstance(outcome, Failed) and record.attempt >= record.max_attempts
            self._emit(JobEnded(record.id, record.executor, record.attempt, outcome, is_final))

    def _not_committed(self, running: Running) -> JobError:
        """Answer what a store records where it finds the job not complete, though it has said that it is."""
        details = "execute returned after `complete_in`, but its transaction was not committed"
        return self._error(running, ErrorKind.EXCEPTION, "NotCommitted", details)

    def _tell_to_stop(self, running: Running, why: Stop) -> None:
        """Cancel the task; a thread cannot be told, so its outcome is recorded without it.

        A task that has not begun sees it at its first step: one that is cancelled before that never enters its code.
        """
        if running.stop is None:
            running.stop = why
        if not running.has_begun:
            return
        if running.executor.blocking:
            if why is not Stop.SHUTDOWN:  # a shutdown waits a little longer: see `abandon_all`
                self._abandon(running)
        elif running.task is not None:
            running.task.cancel()
            running.deadline = self._clock.monotonic() + GRACE
            self._deadlines.add(running.deadline)

    def _abandon(self, running: Running) -> None:
        running.deadline = None
        if not running.is_settled and running.stop is not None:
            self._finish(running, self._outcome_of_stop(running, running.stop))
            record = running.record
            stuck = sum(one.is_settled for one in self._running.values())
            self._emit(JobStuck(record.id, record.executor, record.attempt, stuck))

    def _expire(self, now: float) -> list[float]:
        for running in list(self._running.values()):
            if running.deadline is not None and running.deadline <= now:
                running.deadline = None
                if running.stop is None:
                    self._tell_to_stop(running, Stop.TIMEOUT)
                else:
                    self._abandon(running)
        return [running.deadline for running in self._running.values() if running.deadline is not None]
