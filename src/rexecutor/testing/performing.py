"""`perform`: one run of one executor, as a worker runs it, without a store."""

import asyncio
from collections.abc import Collection, Mapping, Sequence
from contextvars import copy_context
from datetime import datetime
from typing import Any, overload

from msgspec.structs import replace

from rexecutor.app.registry import Registry
from rexecutor.backend.completion import Completion
from rexecutor.clock import Clock, SystemClock
from rexecutor.engine.outcomes import Outcomes
from rexecutor.engine.runner import Runner
from rexecutor.engine.running import Running, Stop
from rexecutor.errors import ConfigurationError
from rexecutor.jobs.executor import Executor
from rexecutor.model import rules
from rexecutor.model.job import Data, JobError, JobRecord, Limits, Metadata
from rexecutor.model.outcomes import COMPLETE, Claimed, ExecutionResult, Interrupted, Outcome
from rexecutor.telemetry.log import log_event
from rexecutor.testing.asked import UNSET, AnyExecutor, executor_class

_LIMITS = Limits()


@overload
async def perform(
    executor: type[Executor[Data, Metadata]] | Executor[Data, Metadata],
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
) -> ExecutionResult: ...
@overload
async def perform(
    executor: type[Executor[None, Metadata]] | Executor[None, Metadata],
    *,
    metadata: Metadata | None = ...,
    attempt: int = ...,
    max_attempts: int | None = ...,
    priority: int = ...,
    tags: Collection[str] = ...,
    errors: Sequence[JobError] = ...,
    scheduled_at: datetime | None = ...,
    clock: Clock | None = ...,
) -> ExecutionResult: ...
async def perform(
    executor: AnyExecutor,
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
) -> ExecutionResult:
    """Run an executor's `execute` once, as a worker does, and return what it returns. Needs no backend.

    ```python
    assert await perform(ChargeOrder(DecliningGateway()), Order(id=7, total_cents=1999)) == Cancel("card declined")
    ```

    The data are encoded and decoded on their way, so that wrong types show; blocking code runs in a thread, that for
    child processes too; the executor's `timeout` holds; `job.complete_in` does nothing. What the job raises comes out
    as it is, and its `backoff` is not asked. A value other than None, `Cancel` and `Snooze` is ignored, as on a worker,
    with a warning in the log: None is returned.

    Args:
        executor: A class, or an instance when it needs something.
        data: The job's data; may be left out where the executor's data are None.
        metadata: The job's metadata; None for none.
        attempt: Which attempt this is, 1 or more.
        max_attempts: How many the job has; the executor's when None.
        priority: The job's.
        tags: The job's.
        errors: Of earlier attempts.
        scheduled_at: When the job was due; now when None. It begins then, where that is still to come.
        clock: On which its times and its timeout are; the machine's when None. On a `FakeClock` a timeout comes when
            the clock is moved, and only then.

    Raises:
        ConfigurationError: An argument cannot work.
        DefinitionError: The executor cannot run.
        InvalidJobError: No store may hold such a job; an `EncodeError` where it is the data or the metadata.
        TimeoutError: It took longer than its `timeout`.
        TypeError: It returned a coroutine or a generator, so that its work was not done.
    """
    kind = executor_class("perform: executor", executor)
    registry = Registry(_LIMITS)
    registry.add(executor, is_implied=False)
    if isinstance(tags, str):
        raise ConfigurationError(f"perform: tags={tags!r}: give a collection of texts, such as [{tags!r}]")
    builder = kind.builder().with_priority(priority).with_tags(*tags)
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
    if type(attempt) is not int or not 1 <= attempt <= record.max_attempts:
        raise ConfigurationError(f"perform: attempt is {attempt!r}; 1 to {record.max_attempts} expected (max_attempts)")
    record = rules.transition(record, Claimed("perform"), max(now, record.scheduled_at), _LIMITS)
    record = replace(record, attempt=attempt, errors=tuple(errors)[-_LIMITS.errors :])
    return await _performed(registry.executors, clock, record)


class _NothingStored(Completion):
    """Takes every `complete_in` for done, and leaves the connection alone."""

    async def complete(self, record: JobRecord, connection: object) -> bool:  # noqa: ARG002 - there is no store
        return True

    def complete_sync(self, record: JobRecord, connection: object) -> bool:  # noqa: ARG002 - there is no store
        return True


class _Kept(Outcomes):
    """Keeps what a job answered or raised, of which a worker would keep only what a store holds."""

    answer: ExecutionResult = None
    raised: BaseException | None = None

    def of_result(self, running: Running, result: object) -> Outcome:
        self.answer = self.meaning(running, result)
        return COMPLETE

    def of_error(self, running: Running, error: BaseException) -> Outcome:
        if issubclass(type(error), asyncio.CancelledError) and running.stop is not None:
            return self.of_stop(running, running.stop)
        self.raised = error
        return Interrupted()

    def of_stop(self, running: Running, stop: Stop) -> Outcome:  # noqa: ARG002 - nobody else tells it to stop
        name = running.record.executor
        self.raised = TimeoutError(f"perform: {name}: the attempt took longer than {running.timeout}")
        return Interrupted()


async def _performed(executors: Mapping[str, Executor[Any, Any]], clock: Clock, record: JobRecord) -> ExecutionResult:
    """Run the job; answer what it answers, or raise what it raises."""
    has_ended = asyncio.Event()
    kept = _Kept(clock, _LIMITS, log_event)
    runner = Runner(
        executors,
        clock=clock,
        limits=_LIMITS,
        completion=_NothingStored(),
        emit=lambda _: None,
        settle=lambda _, __: has_ended.set(),
        ended=lambda _: None,
        context=copy_context(),
        outcomes=kept,
    )
    runner.start([record])
    try:
        await has_ended.wait()
    finally:
        await runner.close()
    if kept.raised is not None:
        raise kept.raised
    return kept.answer
