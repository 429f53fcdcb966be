"""Runs one attempt of a task, with its signals, its context, its result and the connections of its thread."""

import asyncio
from typing import Any, Final

from asgiref.sync import sync_to_async
from django.tasks import TaskContext, TaskResultStatus, task_backends
from django.tasks.base import TaskError
from django.tasks.signals import task_finished, task_started
from django.utils import timezone

from rexecutor.django.calls import Call, Deferral, as_json, queue_of
from rexecutor.django.connections import check_blocks, closes_connections, refresh_connections
from rexecutor.django.registry import find_or_discover
from rexecutor.django.results import NotJSONTypeError, NotJSONValueError, path_of, result_of
from rexecutor.engine.attempt import Attempt, Stop, attempt_of
from rexecutor.engine.failure import shown
from rexecutor.model.job import Job

TaskJob = Job[Call, Deferral, Any]
DISCARDING: Final = (NotJSONTypeError, NotJSONValueError)
"""Exceptions after which a task is not retried."""


def run_task(job: TaskJob, alias: str) -> Any:
    """Call the task's function in this thread, and return its value as JSON."""
    run = _Run(job, alias)
    with closes_connections(job):
        task_started.send_robust(run.sender, task_result=run.result)
        try:
            value = run.returned(run.task.call(*run.args, **job.data.kwargs))
            check_blocks()
        except BaseException as error:
            if run.fails(error):
                task_finished.send_robust(run.sender, task_result=run.result)
            raise
        run.succeed(value)
        task_finished.send_robust(run.sender, task_result=run.result)
    return value


async def run_task_async(job: TaskJob, alias: str) -> Any:
    """Await the task's function, and return its value as JSON. Synchronous receivers run in Django's thread."""
    run = _Run(job, alias)
    refresh = sync_to_async(refresh_connections)
    # `asend_robust` of Django 6.0 calls receivers in a task of their own, where `sys.exc_info` is empty.
    started, finished = sync_to_async(task_started.send_robust), sync_to_async(task_finished.send_robust)
    await refresh()
    try:
        await started(run.sender, task_result=run.result)
        try:
            value = run.returned(await run.task.acall(*run.args, **job.data.kwargs))
        except BaseException as error:
            if run.fails(error):
                await finished(run.sender, task_result=run.result)
            raise
        run.succeed(value)
        await finished(run.sender, task_result=run.result)
    finally:
        await refresh()
    return value


class _Run:
    """One attempt of a task, and the `TaskResult` that the receivers of its signals get."""

    def __init__(self, job: TaskJob, alias: str) -> None:
        attempt, queue, task = attempt_of(job), queue_of(alias, job.executor), find_or_discover(job.data.path)
        assert attempt is not None and queue is not None and task is not None  # noqa: PT018, S101 - it runs here
        backend = task_backends[alias]
        self._job = job
        self._attempt: Final[Attempt] = attempt
        self.sender: Final = type(backend)
        self.task: Final = task
        self.result: Final = result_of(attempt.record, queue, backend)
        context = (TaskContext(task_result=self.result),) if task.takes_context else ()
        self.args: Final = (*context, *job.data.args)

    def returned(self, value: object) -> Any:
        """Return the task's return value as it is stored.

        Raises:
            NotJSONTypeError: The value contains a type that JSON lacks.
            NotJSONValueError: It cannot be stored for another reason, such as its size.
            TimeoutError: The attempt has its outcome already, so the value comes too late.
        """
        if self._attempt.is_settled:
            raise TimeoutError("the task returned after its attempt had been given up")
        try:
            stored = as_json(value)
            if self._attempt.codecs.result is not None:
                self._attempt.codecs.result.encode(stored)
        except TypeError as error:
            raise NotJSONTypeError(f"{self.task.module_path}: {error}") from None
        except (ValueError, RecursionError) as error:  # an EncodeError is a ValueError
            raise NotJSONValueError(f"{self.task.module_path}: {error}") from None
        return stored

    def succeed(self, value: Any) -> None:
        """Record the success in the result."""
        _set(self.result, finished_at=timezone.now(), status=TaskResultStatus.SUCCESSFUL, _return_value=value)

    def fails(self, error: BaseException) -> bool:
        """Record the failure in the result if it is final. Return whether it is.

        It is not if the task will be retried, or run by another worker.
        """
        attempt = self._attempt
        is_stopped = attempt.is_settled or (isinstance(error, asyncio.CancelledError) and attempt.is_told_to_stop)
        match attempt.stop if is_stopped else None:
            case None:
                is_final = self._job.is_final_attempt or type(error) in DISCARDING
                told = TaskError(exception_class_path=path_of(type(error)), traceback=shown(error)[1])
            case Stop.TIMEOUT:
                is_final = self._job.is_final_attempt
                details = f"the attempt took longer than {attempt.timeout}"
                told = TaskError(exception_class_path=path_of(TimeoutError), traceback=details)
            case Stop.CANCEL:
                is_final = True
                told = TaskError(exception_class_path=path_of(asyncio.CancelledError), traceback=attempt.reason)
            case Stop.SHUTDOWN | Stop.LEASE_LOST:
                return False
        if is_final:
            self.result.errors.append(told)
            _set(self.result, finished_at=timezone.now(), status=TaskResultStatus.FAILED)
        return is_final


def _set(result: object, **values: Any) -> None:
    for name, value in values.items():
        object.__setattr__(result, name, value)
