"""Turns the end of an attempt (a result, an exception or a stop) into its outcome."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Final, assert_never
from weakref import WeakSet

from rexecutor.clock import Clock, checked_delay
from rexecutor.engine.failure import ChildFailedError, error_of, job_error
from rexecutor.engine.loop import Emit
from rexecutor.engine.running import Running, Stop
from rexecutor.errors import DecodeError
from rexecutor.model.backoff import DEFAULT_BACKOFF, clamp
from rexecutor.model.job import ErrorKind, JobError, Limits
from rexecutor.model.outcomes import (
    COMPLETE,
    Cancel,
    Cancelled,
    ExecutionResult,
    Failed,
    Interrupted,
    Outcome,
    Snooze,
    Undeclared,
    known_result,
)
from rexecutor.telemetry.events import BackoffFailed, ResultIgnored

_TOLD: Final[WeakSet[type]] = WeakSet()
"""Executors whose ignored return value has already been logged in this process."""


class Outcomes:
    """Makes outcomes; calls the executors' `backoff` for the delay after a failure."""

    def __init__(self, clock: Clock, limits: Limits, emit: Emit) -> None:
        self._clock = clock
        self._limits = limits
        self._emit = emit

    def of_result(self, running: Running, result: object) -> Outcome:
        """Return the outcome of a job whose `execute` returned this result.

        Raises:
            TypeError: The result stands for work that has not been done, such as a coroutine.
        """
        if running.commit_unknown:  # after `complete_in` the result does not count: the transaction decides
            return COMPLETE
        match self.meaning(running, result):
            case None:
                return COMPLETE
            case Snooze() as snooze:
                return snooze
            case Cancel(reason):
                return Cancelled(self._error(running, ErrorKind.CANCELLED, "Cancel", reason))

    def meaning(self, running: Running, result: object) -> ExecutionResult:
        """Return the result if it is a declared one; otherwise None, with one warning for each executor.

        Raises:
            TypeError: The result stands for work that has not been done, such as a coroutine.
        """
        known = known_result(result)
        if not isinstance(known, Undeclared):
            return known
        kind, record = type(running.executor), running.record
        if kind not in _TOLD:
            _TOLD.add(kind)
            self._emit(ResultIgnored(record.id, record.executor, record.attempt, known.type_name))
        return None

    def of_error(self, running: Running, error: BaseException) -> Outcome:
        """Return the outcome of a job that raised this, here or in a child process.

        Never raises. It avoids `isinstance`, which reads the exception's `__class__`, and that may raise anything.
        """
        is_stopped = issubclass(type(error), asyncio.CancelledError)
        if type(error) is ChildFailedError:
            kind, type_name, details = error.failure
            is_stopped = kind is ErrorKind.LOST
            told = self._error(running, kind, type_name, details)
        else:
            kind = (
                ErrorKind.DECODE
                if issubclass(type(error), DecodeError) and running.job is None
                else ErrorKind.EXCEPTION
            )
            attempt, now = running.record.attempt, self._clock.now()
            told = error_of(error, kind, attempt=attempt, now=now, limit=self._limits.error_text)
        if is_stopped and running.stop is not None:
            return self.of_stop(running, running.stop)
        return self._failed(running, told)

    def of_stop(self, running: Running, stop: Stop) -> Outcome:
        """Return the outcome of a job that was told to stop."""
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

    def of_rollback(self, running: Running) -> Outcome:
        """Return the failure to record if the job called `complete_in` but the transaction was not committed."""
        details = "execute returned after `complete_in`, but its transaction was not committed"
        error = self._error(running, ErrorKind.EXCEPTION, "NotCommitted", details)
        return Failed(error, DEFAULT_BACKOFF(max(running.record.attempt, 1)))

    def _failed(self, running: Running, error: JobError) -> Failed:
        return Failed(error, self._delay(running, error))

    def _delay(self, running: Running, error: JobError) -> timedelta:
        default = DEFAULT_BACKOFF(max(running.record.attempt, 1))
        if running.job is None:
            return default
        try:
            job = replace(running.job, errors=(*running.job.errors, error))
            return clamp(checked_delay("backoff", running.executor.backoff(job), least=timedelta.min))
        except BaseException as failure:  # noqa: BLE001 - part of the job boundary: the user's code
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
            limit=self._limits.error_text,
        )
