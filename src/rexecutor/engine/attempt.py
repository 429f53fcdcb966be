"""One attempt: a job whose code runs, why it may be told to stop, and the outcome in which it ends."""

import asyncio
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from datetime import timedelta
from enum import Enum, auto
from typing import Any, Final, NamedTuple, Protocol, assert_never
from weakref import WeakSet

import msgspec

from rexecutor.backend.completion import Completion
from rexecutor.clock import Clock
from rexecutor.engine.failure import ChildFailedError, Failure, failure_of, job_error
from rexecutor.engine.loop import Emit
from rexecutor.errors import ConfigurationError, DecodeError, LeaseLostError
from rexecutor.jobs.definition import not_to_await
from rexecutor.jobs.executor import AnyExecutor
from rexecutor.jobs.middleware import call_within
from rexecutor.jobs.types import Codecs, encoded_result
from rexecutor.model.backoff import DEFAULT_BACKOFF, clamp
from rexecutor.model.checks import checked_delay
from rexecutor.model.job import ErrorKind, Job, JobError, JobRecord, Limits
from rexecutor.model.outcomes import (
    COMPLETE,
    Cancel,
    Cancelled,
    Complete,
    Discarded,
    Failed,
    Interrupted,
    Outcome,
    Returned,
    Snooze,
    Undeclared,
    returned,
)
from rexecutor.telemetry.events import BackoffFailed, ResultIgnored

_WARNED: Final[WeakSet[type]] = WeakSet()
"""Executors whose ignored return value has already been logged in this process."""


class Stop(Enum):
    """Why a running job was told to stop."""

    TIMEOUT = auto()
    CANCEL = auto()
    SHUTDOWN = auto()
    LEASE_LOST = auto()


class Killable(Protocol):
    """A process that runs a job, and that can be ended."""

    def terminate(self) -> None:
        """Ask the process to end."""

    def kill(self) -> None:
        """Kill the process."""


class Completing(Protocol):
    """A run of a job, which the job itself may complete by `complete_in`."""

    commit_unknown: bool


@contextmanager
def completing(run: Completing) -> Generator[None]:
    """Set `commit_unknown`, unless the connection is refused before anything is sent to the store."""
    before, run.commit_unknown = run.commit_unknown, True
    try:
        yield
    except ConfigurationError:
        run.commit_unknown = before
        raise


class Shared(NamedTuple):
    """Objects that all attempts of a runner share."""

    clock: Clock
    limits: Limits
    completion: Completion
    emit: Emit


class Attempt(msgspec.Struct, eq=False):
    """A job whose code runs, or is about to, and the outcomes that it may have."""

    record: JobRecord
    executor: AnyExecutor
    codecs: Codecs[Any, Any, Any]
    shared: Shared
    task: asyncio.Task[None] | None = None
    child: Killable | None = None
    """The child process that runs the job; None if it runs in this process."""
    job: Job[Any, Any, Any] | None = None
    timeout: timedelta | None = None
    deadline: float | None = None
    """When its timeout, or the grace after a stop, is over: in the clock's monotonic seconds."""
    stop: Stop | None = None
    reason: str = ""
    has_begun: bool = False
    began: float | None = None
    """When its code began, in the clock's monotonic seconds; None if it has not begun."""
    waited: float | None = None
    """Seconds from its due time until its code began, once something needs them."""
    has_returned: bool = False
    """Whether `execute` has returned a value that needs to be checked: what is raised then is not the job's own."""
    is_settled: bool = False
    """Whether its outcome was handed over; code that does not stop may still run."""
    commit_unknown: bool = False
    """Whether `complete_in` was called. Then only the user's transaction decides whether the job is complete."""

    @property
    def is_told_to_stop(self) -> bool:
        """Whether the job's code was told to stop, which a thread never is."""
        return self.stop is not None and not (self.executor.blocking and self.child is None)

    async def complete(self, connection: object, result: object) -> None:
        """Complete the job in the connection's transaction; see `Job.complete_in`."""
        text = encoded_result(self.codecs, self.record.executor, result)
        with completing(self):
            done = await self.shared.completion.complete(self.record, connection, result=text)
            require_ours(self.record, holds_claim=done)

    def complete_sync(self, connection: object, result: object) -> None:
        """Complete the job in a blocking connection's transaction; see `Job.complete_in_sync`."""
        text = encoded_result(self.codecs, self.record.executor, result)
        with completing(self):
            done = self.shared.completion.complete_sync(self.record, connection, result=text)
            require_ours(self.record, holds_claim=done)

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        """Pickle and copy the run as None: a copy of the job, or the job in another process, is not running."""
        return _no_run, ()

    def blocking_run_within(self, managers: Sequence[AbstractContextManager[Any]], job: Job[Any, Any, Any]) -> Returned:
        """Run the job in this thread as `blocking_run` does, within these context managers."""

        def run() -> Returned:
            if self.is_settled:  # it was told to stop meanwhile
                raise asyncio.CancelledError
            return self.blocking_run(job)

        return call_within(managers, run, self.result_of_swallowed)

    def result_of_swallowed(self) -> Returned:
        """Return the result of a run of which middleware has swallowed an exception: as if `execute` returned None.

        Raises:
            CancelledError: The job was told to stop, so it has not done its work.
        """
        if self.is_told_to_stop:
            raise asyncio.CancelledError
        return self.checked(None)

    def blocking_run(self, job: Job[Any, Any, Any]) -> Returned:
        """Run the job in this thread; check and encode what it returns here too, where that holds nobody up."""
        value = self.executor.execute(job)
        self.has_returned = True
        return self.checked(not_to_await(self.executor, value))

    def checked(self, value: object) -> Returned:
        """Check and encode what `execute` returned.

        Raises:
            TypeError: The value stands for work that has not been done, such as a coroutine.
            EncodeError: It is not of the declared type, or is too large.
        """
        self.has_returned = True
        codec = self.codecs.result
        if value is None and codec is None:  # by far the most frequent end
            return COMPLETE
        if self.commit_unknown:  # after `complete_in` the value does not count: the transaction decides
            return COMPLETE
        return returned(value, None if codec is None else codec.encode)

    def outcome_of_result(self, value: Returned) -> Outcome:
        """Return the outcome of a job whose `execute` returned this; the value of an undeclared result is ignored."""
        match value:
            case Complete() | Snooze():
                return value
            case Cancel(reason):
                return Cancelled(self._error(Failure(ErrorKind.CANCELLED, "Cancel", reason)))
            case Undeclared(type_name):
                self._warn(type_name)
                return COMPLETE
            case _:
                assert_never(value)

    def outcome_of_error(self, error: BaseException) -> Outcome:
        """Return the outcome of a job that raised this, here or in a child process.

        Never raises. It avoids `isinstance`, which reads the exception's `__class__`, and that may raise anything.
        """
        is_stopped = issubclass(type(error), asyncio.CancelledError)
        if type(error) is ChildFailedError:
            failure = error.failure
            is_stopped = failure.kind is ErrorKind.LOST
        elif self.job is None and issubclass(type(error), DecodeError):
            failure = failure_of(error)._replace(kind=ErrorKind.DECODE)
        else:
            is_in_code = self.job is not None and not self.has_returned
            failure = failure_of(error, self.executor.discard_on if is_in_code else ())
        if is_stopped and self.stop is not None:
            return self.outcome_of_stop(self.stop)
        discarded_by = failure.discarded_by
        # Code that was told to stop may raise anything because of that, even what stands in `discard_on`, and that must
        # not cost the job its other attempts. A thread is never told to stop.
        if discarded_by is not None and (self.stop is None or (self.executor.blocking and self.child is None)):
            details = f"{failure.details.rstrip()} (not retried: {discarded_by} is in discard_on)\n"
            return Discarded(self._error(failure._replace(details=details)))
        return self._failed(self._error(failure))

    def outcome_of_stop(self, stop: Stop) -> Outcome:
        """Return the outcome of a job that was told to stop."""
        match stop:
            case Stop.TIMEOUT:
                details = f"the attempt took longer than {self.timeout}"
                return self._failed(self._error(Failure(ErrorKind.TIMEOUT, "Timeout", details)))
            case Stop.CANCEL:
                return Cancelled(self._error(Failure(ErrorKind.CANCELLED, "Cancel", self.reason)))
            case Stop.SHUTDOWN | Stop.LEASE_LOST:
                return Interrupted()
            case _:
                assert_never(stop)

    def outcome_of_rollback(self) -> Outcome:
        """Return the failure to record if the job called `complete_in` but the transaction was not committed."""
        details = "execute returned after `complete_in`, but its transaction was not committed"
        error = self._error(Failure(ErrorKind.EXCEPTION, "NotCommitted", details))
        return Failed(error, DEFAULT_BACKOFF(max(self.record.attempt, 1)))

    def _warn(self, type_name: str) -> None:
        """Warn that a value of this type was ignored, once for each executor."""
        executor_cls, record = type(self.executor), self.record
        if executor_cls not in _WARNED:
            _WARNED.add(executor_cls)
            self.shared.emit(ResultIgnored(record.id, record.executor, record.attempt, type_name))

    def _failed(self, error: JobError) -> Failed:
        return Failed(error, self._delay(error))

    def _delay(self, error: JobError) -> timedelta:
        default = DEFAULT_BACKOFF(max(self.record.attempt, 1))
        if self.job is None:
            return default
        try:
            job = replace(self.job, errors=(*self.job.errors, error))
            return clamp(checked_delay("backoff", self.executor.backoff(job), least=timedelta.min))
        except BaseException as failure:  # noqa: BLE001 - part of the job boundary: the user's code
            record = self.record
            self.shared.emit(BackoffFailed(record.id, record.executor, record.attempt, failure))
            return default

    def _error(self, failure: Failure) -> JobError:
        return job_error(failure, self.record, now=self.shared.clock.now(), limit=self.shared.limits.error_text)


def attempt_of(job: Job[Any, Any, Any]) -> Attempt | None:
    """Return the attempt that runs the job in this process; None for a job that was read from a store."""
    completer = job._completer  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - only users must not touch it
    return completer if isinstance(completer, Attempt) else None


def require_ours(record: JobRecord, *, holds_claim: bool) -> None:
    """Raise a `LeaseLostError` if the job is no longer this worker's."""
    if not holds_claim:
        raise LeaseLostError(
            f"job {record.id} ({record.executor}): no longer belongs to this worker (another may run it, or"
            " complete_in was called before); roll the transaction back"
        )


def _no_run() -> None:
    """Return None: the run of a copied or unpickled job."""
