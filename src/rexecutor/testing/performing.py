"""`perform`: runs one executor once, as a worker does, without a store."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextvars import copy_context
from datetime import datetime
from functools import partial
from typing import Any, overload

from msgspec.structs import replace

from rexecutor.app.config import Registry
from rexecutor.backend.completion import Completion
from rexecutor.clock import Clock, SystemClock
from rexecutor.engine.attempt import Attempt, Stop
from rexecutor.engine.runner import Runner
from rexecutor.jobs.executor import AnyExecutor, Executor, ExecutorLike, executor_class
from rexecutor.model import rules
from rexecutor.model.checks import checked_int, checked_texts
from rexecutor.model.job import Data, JobError, JobRecord, Limits, Metadata, Result
from rexecutor.model.outcomes import Cancel, Claimed, Interrupted, Outcome, Returned, Snooze, Undeclared
from rexecutor.telemetry.events import Event, ResultIgnored
from rexecutor.telemetry.subscribers import emit
from rexecutor.testing.expectation import UNSET

_LIMITS = Limits()


@overload
async def perform(
    executor: type[Executor[Data, Metadata, Result]] | Executor[Data, Metadata, Result],
    data: Data,
    *,
    metadata: Metadata | None = ...,
    attempt: int = ...,
    max_attempts: int | None = ...,
    priority: int = ...,
    tags: Collection[str] = ...,
    errors: Sequence[JobError] = ...,
    scheduled_at: datetime | None = ...,
    clock: Clock | None = ...,
) -> Result | Cancel | Snooze: ...
@overload
async def perform(
    executor: type[Executor[None, Metadata, Result]] | Executor[None, Metadata, Result],
    *,
    metadata: Metadata | None = ...,
    attempt: int = ...,
    max_attempts: int | None = ...,
    priority: int = ...,
    tags: Collection[str] = ...,
    errors: Sequence[JobError] = ...,
    scheduled_at: datetime | None = ...,
    clock: Clock | None = ...,
) -> Result | Cancel | Snooze: ...
async def perform(
    executor: ExecutorLike,
    data: Any = UNSET,
    *,
    metadata: Any = None,
    attempt: int = 1,
    max_attempts: int | None = None,
    priority: int = 0,
    tags: Collection[str] = (),
    errors: Sequence[JobError] = (),
    scheduled_at: datetime | None = None,
    clock: Clock | None = None,
) -> Any:
    """Run an executor's `execute` once, as a worker does, and return its result. Needs no backend.

    ```python
    assert await perform(ChargeOrder(DecliningGateway()), Order(id=7, total_cents=1999)) == Cancel("card declined")
    ```

    The data are encoded and decoded first, so that wrong types are found. Blocking code runs in a thread, even if the
    executor asks for child processes. The executor's `timeout` applies. An exception of the job is raised unchanged,
    and its `backoff` is not called.

    `perform` returns the job's result, checked as on a worker, or a `Cancel` or `Snooze`. `job.complete_in` uses no
    connection; `perform` returns the result that it was given. If the executor declares no result, a value that it
    returns is ignored with a warning in the log, as on a worker, and `perform` returns None.

    Args:
        executor: The executor's class, or an instance if its `__init__` needs arguments.
        data: The job's data. May be left out if the executor's data are None.
        metadata: The job's metadata; None for no metadata.
        attempt: Number of this attempt, from 1 to the job's maximum.
        max_attempts: Maximum number of attempts of the job; the executor's if None.
        priority: The job's priority: 0 is the most urgent, 32,767 the least.
        tags: The job's tags.
        errors: The errors of earlier attempts.
        scheduled_at: When the job is due; now if None. If it is in the future, the attempt is recorded as starting
            then.
        clock: The clock for the job's times and its timeout; the machine's if None. On a `FakeClock` the job times
            out only when the clock is moved.

    Raises:
        ConfigurationError: An argument cannot work.
        DefinitionError: The executor cannot run.
        InvalidJobError: No store accepts such a job; an `EncodeError` if its data or metadata are at fault.
        EncodeError: The job's result is not of the declared type, or is too large.
        TimeoutError: The attempt took longer than its `timeout`.
        TypeError: `execute` returned a coroutine or a generator, so its work was not done.
    """
    executor_cls = executor_class("perform: executor", executor)
    registry = Registry(_LIMITS)
    registry.add(executor, is_implied=False)
    checked_texts("perform: tags", tags)
    builder = executor_cls.builder().with_priority(priority).with_tags(*tags)
    if data is not UNSET:
        builder = builder.with_data(data)
    if metadata is not None:
        builder = builder.with_metadata(metadata)
    if max_attempts is not None:
        builder = builder.with_max_attempts(max_attempts)
    if scheduled_at is not None:
        builder = builder.schedule_at(scheduled_at)
    clock = SystemClock() if clock is None else clock
    now = clock.now()
    record = rules.inserted(builder.build(_LIMITS), 1, now)
    checked_int("perform: attempt", attempt, 1, record.max_attempts)
    record = rules.transition(record, Claimed("perform"), max(now, record.scheduled_at), _LIMITS)
    record = replace(record, attempt=attempt, errors=tuple(errors)[-_LIMITS.errors :])
    return await _performed(registry.executors, clock, record)


class _NothingStored(Completion):
    """Reports every `complete_in` as done, without using the connection."""

    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        return self.complete_sync(record, connection, result=result)

    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:  # noqa: ARG002 - there is no store
        return True


class _Kept:
    """What the job returned or raised, as the objects themselves; a worker keeps only what a store can hold."""

    result: Any = None
    raised: BaseException | None = None


class _Performed(Attempt, eq=False, kw_only=True):
    """An attempt that keeps what it returned or raised."""

    kept: _Kept

    async def complete(self, connection: object, result: object) -> None:
        await super().complete(connection, result)
        self.kept.result = result

    def complete_sync(self, connection: object, result: object) -> None:
        super().complete_sync(connection, result)
        self.kept.result = result

    def checked(self, value: object) -> Returned:
        checked = super().checked(value)
        if not self.commit_unknown and not isinstance(checked, Undeclared):
            self.kept.result = value
        return checked

    def outcome_of_error(self, error: BaseException) -> Outcome:
        if issubclass(type(error), asyncio.CancelledError) and self.stop is not None:
            return self.outcome_of_stop(self.stop)
        self.kept.raised = error
        return Interrupted()

    def outcome_of_stop(self, stop: Stop) -> Outcome:  # noqa: ARG002 - only its timeout stops it
        name = self.record.executor
        self.kept.raised = TimeoutError(f"perform: {name}: the attempt took longer than {self.timeout}")
        return Interrupted()


def _log_ignored_result(event: Event) -> None:
    """Log that a returned value was ignored; no other event concerns a caller who sees what the job raises."""
    if isinstance(event, ResultIgnored):
        emit(event)


async def _performed(executors: Mapping[str, AnyExecutor], clock: Clock, record: JobRecord) -> Any:
    """Run the job. Return what it returns, or raise what it raises."""
    has_ended = asyncio.Event()
    kept = _Kept()
    runner = Runner(
        executors,
        clock=clock,
        limits=_LIMITS,
        completion=_NothingStored(),
        emit=_log_ignored_result,
        settle=lambda _, __: has_ended.set(),
        ended=lambda _: None,
        context=copy_context(),
        attempt_type=partial(_Performed, kept=kept),
    )
    runner.start([record])
    try:
        await has_ended.wait()
    finally:
        await runner.close()
    if kept.raised is not None:
        raise kept.raised
    return kept.result
