"""Runs each job in a task of its own, and hands over one outcome for each, whatever the job raises."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from contextvars import Context
from datetime import timedelta
from functools import partial
from typing import Any, Final

from rexecutor.backend.completion import Completion
from rexecutor.backend.messages import CancelRequest
from rexecutor.clock import Clock
from rexecutor.engine.attempt import Attempt, Killable, Shared, Stop
from rexecutor.engine.child import ChildSetup
from rexecutor.engine.deadlines import STOP_GRACE, Deadlines
from rexecutor.engine.failure import ChildFailedError, Failure, told_exception
from rexecutor.engine.history import History
from rexecutor.engine.loop import Emit
from rexecutor.engine.processes import Children, Recycling
from rexecutor.engine.store_clock import StoreClock
from rexecutor.engine.threads import Threads
from rexecutor.jobs.current import running_job
from rexecutor.jobs.definition import to_await
from rexecutor.jobs.executor import AnyExecutor
from rexecutor.jobs.middleware import (
    AroundExecute,
    is_asynchronous,
    managers_of,
    parted,
    run_within,
)
from rexecutor.jobs.types import Codecs, codecs_of, decode
from rexecutor.model import rules
from rexecutor.model.backoff import clamp
from rexecutor.model.checks import checked_delay
from rexecutor.model.job import ClaimId, Job, JobId, JobRecord, Limits
from rexecutor.model.outcomes import (
    COMPLETE,
    Complete,
    Discarded,
    Expired,
    Failed,
    Outcome,
    Returned,
    Settlement,
    Snooze,
)
from rexecutor.model.stats import OutcomeKind, kind_of
from rexecutor.telemetry.events import JobEnded, JobStuck, job_ended, job_started
from rexecutor.telemetry.log import wants_ends, wants_starts
from rexecutor.telemetry.subscribers import Emitter, is_anybody_subscribed

_SUCCESS: Final = OutcomeKind.COMPLETE
_QUIET: Final = Complete, Snooze
"""Outcomes that are told only to those who have asked; a tuple, as a union would be made anew for each job."""
_FAILURES: Final = Failed, Discarded


class Runner:
    """Runs the jobs of one node."""

    def __init__(  # noqa: PLR0913 - all that a runner needs of its node
        self,
        executors: Mapping[str, AnyExecutor],
        *,
        clock: Clock,
        limits: Limits,
        completion: Completion,
        emit: Emit,
        settle: Callable[[Settlement, Callable[[bool], None] | None], None],
        ended: Callable[[str], None],
        context: Context,
        is_cancelled: Callable[[], bool] = lambda: False,
        around: Sequence[AroundExecute] = (),
        attempt_type: Callable[[JobRecord, AnyExecutor, Codecs[Any, Any, Any], Shared], Attempt] = Attempt,
        recycling: Recycling | None = None,
        store_clock: StoreClock | None = None,
        history: History | None = None,
        threads: Threads | None = None,
    ) -> None:
        """Make a runner without jobs.

        Args:
            executors: The executors whose jobs it runs, by name.
            clock: The clock of timeouts and of the times in errors.
            limits: The store's limits, among them the length of an error's text.
            completion: Completes jobs in the application's own transactions.
            emit: Called with each event.
            settle: Called with each outcome. With `commit_unknown`, the second argument is to be called once the store
                has recorded the outcome (True) or has refused it (False); otherwise None.
            ended: Called with the executor's name when a job's code has ended.
            context: Each job runs in a copy of this context.
            is_cancelled: Returns whether all tasks are being cancelled, the jobs' among them, because the event loop
                ends. It is then not a job's own failure that it raises.
            around: Middleware around each job, the first outermost.
            attempt_type: Makes the attempts. `perform` gives its own, which keep what the job returned or raised.
            recycling: When child processes are replaced. None to run jobs that are meant for processes in threads.
            store_clock: The store's clock, for how long jobs waited. None if `clock` is that, and is never set.
            history: Counts the attempts; None to count none.
            threads: Runs the jobs that block; None for threads of its own.
        """
        self._executors = {name: (one, codecs_of(type(one), limits)) for name, one in executors.items()}
        self._clock = clock
        self._shared = Shared(clock, limits, completion, emit)
        self._attempt_type = attempt_type
        self._emit = emit
        self._tell = emit.tell if isinstance(emit, Emitter) else emit
        self._settle = settle
        self._ended = ended
        self._context = context
        self._is_cancelled = is_cancelled
        self._around = around
        self._store_clock = store_clock or StoreClock(clock)
        self._history = history
        self._attempts: dict[ClaimId, Attempt] = {}
        self._unsettled = 0
        self._tells_starts = False
        self._tells_ends = False
        self._threads = threads or Threads()
        self._children: Children | None = None
        in_children = {name: one for name, one in executors.items() if one.blocking == "process"}
        if in_children and recycling is not None:
            sent = [one for one in around if not is_asynchronous(one)]
            setup = ChildSetup(sent, in_children, completion, limits)
            self._children = Children(setup, recycling, self._threads)
        self._deadlines = Deadlines(clock, self._expire)
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def held(self) -> Collection[ClaimId]:
        """Claims whose code runs and whose outcome is not yet handed over."""
        return [claim_id for claim_id, attempt in self._attempts.items() if not attempt.is_settled]

    @property
    def running(self) -> int:
        """How many jobs' code runs, of those whose outcome was handed over too. May be read in any thread."""
        return len(self._attempts)

    @property
    def stuck(self) -> tuple[tuple[JobId, str], ...]:
        """Jobs whose code still runs although their outcome was handed over, each with its executor's name.

        May be read in any thread.
        """
        return tuple((one.record.id, one.record.executor) for one in list(self._attempts.values()) if one.is_settled)

    def attempt_of(self, task: asyncio.Task[object]) -> Attempt | None:
        """Return the job that the task runs, or None. May be called from any thread."""
        return next((one for one in list(self._attempts.values()) if one.task is task), None)

    def start(self, records: Iterable[JobRecord]) -> None:
        """Run each job in a task of its own, which has its own copy of the context."""
        create_task = asyncio.get_running_loop().create_task
        self._tells_starts, self._tells_ends = wants_starts(), wants_ends()
        for record in records:
            if record.expires_at is not None and rules.is_claimed_too_late(record):
                self._give_up(record)
                continue
            attempt = self._attempt_type(record, *self._executors[record.executor], self._shared)
            self._attempts[record.claim_id] = attempt
            self._unsettled += 1
            attempt.task = self._context.run(create_task, self._run(attempt))
        if self._unsettled:
            self._idle.clear()

    def cancel(self, requests: Iterable[CancelRequest]) -> None:
        """Tell the jobs that these requests name to stop, unless they were told to stop before."""
        for request in requests:
            attempt = self._attempts.get((request.job_id, request.claims))
            if attempt is not None and attempt.stop is None:
                attempt.reason = request.reason
                self._tell_to_stop(attempt, Stop.CANCEL)

    def stop_all(self, why: Stop) -> int:
        """Tell all jobs to stop, and return how many were told.

        Only a shutdown repeats it for jobs that were told before, for example because of their timeout.
        """
        told = [one for one in self._attempts.values() if one.stop is None or why is Stop.SHUTDOWN]
        for attempt in told:
            self._tell_to_stop(attempt, why)
        return len(told)

    def abandon_all(self) -> None:
        """Hand over the outcomes of all jobs that were told to stop, without waiting for their code any longer."""
        for attempt in list(self._attempts.values()):
            self._abandon(attempt)

    def give_back_unbegun(self) -> None:
        """Hand over the outcomes of jobs whose tasks were cancelled before their first step: their code never began."""
        for claim_id, attempt in list(self._attempts.items()):
            if attempt.task is not None and attempt.task.done() and not attempt.is_settled:
                self._finish(attempt, attempt.outcome_of_stop(Stop.SHUTDOWN))
                del self._attempts[claim_id]
                self._ended(attempt.record.executor)

    async def idled(self, timeout: timedelta) -> bool:  # noqa: ASYNC109 - passed on to the clock
        """Wait until each job has its outcome, at most `timeout`. Return whether each has.

        Code that does not stop, and whose outcome was handed over without it, is not waited for.
        """
        return await self._clock.wait(self._idle, timeout)

    async def close(self) -> None:
        """Cancel what still runs, and wait briefly for it to end.

        Its outcomes are not waited for, and threads that hang are left behind.
        """
        self._deadlines.stop()
        tasks = [attempt.task for attempt in self._attempts.values() if attempt.task is not None]
        patience = 1.0 if self.held else 0.1  # abandoned code has had its time already
        for task in tasks:
            task.cancel()
        if self._children is not None:
            await self._children.close()
        if tasks:
            await asyncio.wait(tasks, timeout=patience)
        self._threads.stop()

    def _give_up(self, record: JobRecord) -> None:
        """Hand over the outcome of a job that has expired, without its code or its data."""
        self._settle(Settlement(record.id, record.claims, Expired()), None)
        self._emit(JobEnded(record.id, record.executor, record.attempt, Expired(), is_final=False))
        self._ended(record.executor)

    async def _run(self, attempt: Attempt) -> None:
        """Run one job and hand over its outcome. This is the job boundary: nothing that a job raises gets past it.

        It catches `BaseException`, because a `SystemExit` that left the task would end the event loop and all other
        jobs with it. A cancellation ends here as well: `outcome_of_error` takes it for a stop if the job was told to
        stop, and otherwise for a failure. Whatever happens, the job's slot is freed at the end; otherwise the node
        would have one slot less for the rest of its life.
        """
        record, executor = attempt.record, attempt.executor
        raised: BaseException | None = None
        try:
            if self._around:
                returned = await self._run_within(attempt)
                outcome: Outcome = COMPLETE if returned is COMPLETE else attempt.outcome_of_result(returned)
            elif not executor.blocking:
                value = await to_await(executor, executor.execute(self._begin(attempt)))
                if value is None and attempt.codecs.result is None:
                    outcome = COMPLETE  # by far the most frequent end
                else:
                    outcome = attempt.outcome_of_result(attempt.checked(value))
            elif executor.blocking == "process" and self._children is not None:
                outcome = attempt.outcome_of_result(await self._run_in_child(attempt, self._children))
            else:
                outcome = attempt.outcome_of_result(await self._threads.run(attempt.blocking_run, self._begin(attempt)))
        except BaseException as error:  # noqa: BLE001 - a job may raise anything
            if attempt.stop is None and self._is_cancelled():
                attempt.stop = Stop.SHUTDOWN
            # An abandoned job has its outcome already. COMPLETE is not used then; it saves a second call of `backoff`.
            outcome = COMPLETE if attempt.is_settled else attempt.outcome_of_error(error)
            raised = error
        try:
            if not attempt.is_settled:
                self._finish(attempt, outcome, raised)
        finally:
            raised = None  # its traceback refers to this frame: a cycle, which only the garbage collector would end
            del self._attempts[record.claim_id]
            self._ended(record.executor)

    def _run_within(self, attempt: Attempt) -> Awaitable[Returned]:
        """Run one job within the application's middleware, which is entered once the job's timeout has begun.

        Plain context managers are entered where the job's code runs: here, in its thread, or in its child process.
        """
        executor = attempt.executor
        if executor.blocking == "process" and self._children is not None:
            return self._run_in_child_within(attempt, self._children)
        job = self._begin(attempt)
        managers = managers_of("around_execute", self._around, job)
        if not executor.blocking:

            async def run() -> Returned:
                return attempt.checked(await to_await(executor, executor.execute(job)))

        else:
            plain, managers = parted(managers)

            async def run() -> Returned:
                return await self._threads.run(partial(attempt.blocking_run_within, plain), job)

        return run_within(managers, run, attempt.result_of_swallowed)

    async def _run_in_child_within(self, attempt: Attempt, children: Children) -> Returned:
        async with AsyncExitStack() as stack:
            return await self._run_in_child(attempt, children, stack)
        return attempt.result_of_swallowed()

    async def _run_in_child(
        self, attempt: Attempt, children: Children, stack: AsyncExitStack | None = None
    ) -> Returned:
        """Run one job in a child process, and enter asynchronous middleware into the stack as soon as it begins."""

        async def attach(child: Killable) -> None:
            """Begin the attempt now that a process is ready: the timeout does not include the start of the process."""
            is_begun = attempt.has_begun
            if is_begun and attempt.stop is not None:
                raise asyncio.CancelledError
            job = attempt.job if is_begun else self._begin(attempt)
            attempt.child = child
            if stack is not None and job is not None and not is_begun:
                for manager in parted(managers_of("around_execute", self._around, job))[1]:
                    await stack.enter_async_context(manager)

        reply = await children.run(attempt.record, attach)
        attempt.commit_unknown = reply.commit_unknown
        if isinstance(reply.end, Failure):
            raise ChildFailedError(reply.end)
        return reply.end

    def _begin(self, attempt: Attempt) -> Job[Any, Any, Any]:
        """Decode the job and start its timeout; raise `CancelledError` if it was told to stop before it began."""
        record = attempt.record
        attempt.has_begun = True
        if attempt.stop is not None:
            raise asyncio.CancelledError
        attempt.began = self._clock.monotonic()
        if self._tells_starts or is_anybody_subscribed():
            started = job_started(record.id, record.executor, record.attempt, self._waited(attempt))
            (self._emit if self._tells_starts else self._tell)(started)
        attempt.job = job = decode(attempt.codecs, record, attempt)
        running_job.set(job)  # in the context of the job's task, of which its thread gets a copy
        timeout = attempt.executor.timeout(job)
        if timeout is not None:
            attempt.timeout = clamp(checked_delay(f"{record.executor}: timeout", timeout, least=timedelta.min))
            attempt.deadline = self._clock.monotonic() + attempt.timeout.total_seconds()
            self._deadlines.add(attempt.deadline)
        return job

    def _finish(self, attempt: Attempt, outcome: Outcome, raised: BaseException | None = None) -> None:
        record = attempt.record
        attempt.is_settled = True
        self._unsettled -= 1
        if not self._unsettled:
            self._idle.set()
        # After `complete_in` nobody here knows whether the user's transaction was committed. If it was, the job is
        # complete, and the store refuses any outcome that comes now. If not, Complete would record a success whose work
        # was rolled back. So Complete becomes a failure: usually it is refused, and then it means success. What is told
        # of it waits for the settler, which learns whether the store has recorded the outcome.
        commit_unknown = attempt.commit_unknown
        if commit_unknown and isinstance(outcome, Complete):
            outcome = attempt.outcome_of_rollback()
        event: JobEnded | None = None
        ended = self._clock.monotonic()
        is_told = commit_unknown or self._tells_ends or is_anybody_subscribed()
        if is_told or not isinstance(outcome, _QUIET):
            is_final, exception = False, None
            if isinstance(outcome, _FAILURES):
                is_final = isinstance(outcome, Discarded) or record.attempt >= record.max_attempts
                exception = told_exception(outcome.error, raised)
            told = COMPLETE if isinstance(outcome, Complete) else outcome  # no event holds a result
            wait = run = None
            if attempt.began is not None:
                wait, run = self._waited(attempt), ended - attempt.began
            event = job_ended(record.id, record.executor, record.attempt, told, is_final, exception, wait, run)
        settlement = Settlement(record.id, record.claims, outcome, commit_unknown)
        if commit_unknown:
            self._settle(settlement, partial(self._conclude, attempt, outcome, event, ended))
        else:
            self._settle(settlement, None)
            if event is not None or self._history is not None:
                self._conclude(attempt, outcome, event, ended, True)

    def _conclude(
        self,
        attempt: Attempt,
        outcome: Outcome,
        event: JobEnded | None,
        ended: float,
        is_recorded: bool,  # noqa: FBT001 - as the settler gives it
    ) -> None:
        """Emit the event and count the attempt. An outcome that was refused after `complete_in` means a success."""
        if event is not None and is_recorded:
            is_logged = self._tells_ends or attempt.commit_unknown or not isinstance(outcome, _QUIET)
            (self._emit if is_logged else self._tell)(event)
        if self._history is not None and attempt.began is not None:
            record = attempt.record
            kind: OutcomeKind | None = _SUCCESS
            if is_recorded and type(outcome) is not Complete:
                kind = kind_of(outcome, is_last=record.attempt >= record.max_attempts)
            if kind is not None:
                self._history.note(record.executor, kind, self._waited(attempt), attempt.began, ended)

    def _waited(self, attempt: Attempt) -> float:
        """Return the seconds from the job's due time until its code began; 0 if the store's clock went back."""
        if attempt.waited is None:
            began = 0.0 if attempt.began is None else attempt.began
            attempt.waited = max(self._store_clock.seconds_since(attempt.record.scheduled_at, began), 0.0)
        return attempt.waited

    def _tell_to_stop(self, attempt: Attempt, why: Stop) -> None:
        """Tell one job to stop: cancel its task, or terminate its child process. The first reason counts.

        A job that has not begun is not cancelled, because its task might never enter `_run`, and the job would have no
        outcome. `_begin` ends it. A thread cannot be told to stop: the outcome of its job is handed over at once, or,
        in a shutdown, by `abandon_all`. All other code has `STOP_GRACE` seconds to end, and then it is abandoned.
        """
        if attempt.stop is None:
            attempt.stop = why
        if not attempt.has_begun:
            return
        if attempt.executor.blocking and attempt.child is None:
            if why is not Stop.SHUTDOWN:  # a shutdown waits for threads too, until `abandon_all`
                self._abandon(attempt)
            return
        if attempt.child is not None:
            attempt.child.terminate()
        elif attempt.task is not None:
            attempt.task.cancel()
        attempt.deadline = self._clock.monotonic() + STOP_GRACE
        self._deadlines.add(attempt.deadline)

    def _abandon(self, attempt: Attempt) -> None:
        """Hand over the outcome of a job that was told to stop, without waiting for its code. Kill its process."""
        attempt.deadline = None
        if attempt.is_settled or attempt.stop is None:
            return
        if attempt.child is not None:
            attempt.child.kill()
        self._finish(attempt, attempt.outcome_of_stop(attempt.stop))
        if attempt.child is None:
            record = attempt.record
            self._emit(JobStuck(record.id, record.executor, record.attempt, len(self.stuck)))

    def _expire(self, now: float) -> list[float]:
        """Stop jobs whose timeout is over, abandon those whose grace is over; return the deadlines that are left."""
        for attempt in list(self._attempts.values()):
            if attempt.deadline is not None and attempt.deadline <= now:
                attempt.deadline = None
                if attempt.stop is None:
                    self._tell_to_stop(attempt, Stop.TIMEOUT)
                else:
                    self._abandon(attempt)
        return [attempt.deadline for attempt in self._attempts.values() if attempt.deadline is not None]
