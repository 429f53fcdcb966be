"""Stored jobs as Django's `TaskResult`s. No I/O."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, Final, TypedDict

import msgspec
from django.conf import settings
from django.tasks import DEFAULT_TASK_QUEUE_NAME, TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.base import TaskError
from django.utils import timezone

from rexecutor.django.annotations import AnyResult, AnyTask
from rexecutor.django.calls import LEAST_URGENT, Deferral, Queue, default_attempts
from rexecutor.django.registry import find_or_discover
from rexecutor.django.task import RexecutorTask
from rexecutor.errors import DecodeError, InvalidJobError, LeaseLostError
from rexecutor.model.checks import mistake
from rexecutor.model.job import ErrorKind, JobError, JobRecord
from rexecutor.model.status import JobStatus

STATUS: Final[Mapping[JobStatus, TaskResultStatus]] = MappingProxyType(
    {
        JobStatus.EXECUTING: TaskResultStatus.RUNNING,
        JobStatus.COMPLETE: TaskResultStatus.SUCCESSFUL,
        JobStatus.CANCELLED: TaskResultStatus.FAILED,
        JobStatus.DISCARDED: TaskResultStatus.FAILED,
    }
)
"""Django's status for a job's status; `READY` for those that are missing here."""
UNKNOWN_WORKER: Final = "unknown"
"""Worker id of an attempt whose node is not recorded: a job keeps only its latest errors, and no node of a success."""


class NotJSONTypeError(TypeError):
    """A task has returned a value of a type that JSON lacks. It is not retried."""


class NotJSONValueError(ValueError):
    """A task has returned a value that cannot be stored as a result. It is not retried."""


def path_of(kind: type[BaseException]) -> str:
    """Return the module and qualified name of an exception's class."""
    return f"{kind.__module__}.{kind.__qualname__}"


_SHOWN: Final = {path_of(NotJSONTypeError): path_of(TypeError), path_of(NotJSONValueError): path_of(ValueError)}
"""Paths of this module's exceptions → those that Django's own backends record instead."""
_WITHOUT_EXCEPTION: Final[Mapping[ErrorKind, str]] = MappingProxyType(
    {
        ErrorKind.EXCEPTION: path_of(Exception),
        ErrorKind.TIMEOUT: path_of(TimeoutError),
        ErrorKind.EXPIRED: path_of(TimeoutError),
        ErrorKind.CANCELLED: "asyncio.exceptions.CancelledError",
        ErrorKind.DECODE: path_of(DecodeError),
        ErrorKind.LOST: path_of(LeaseLostError),
    }
)
"""Path of the exception that Django is given for an error without one, by kind."""


class _Stored(TypedDict):
    path: str
    args: list[Any]
    kwargs: dict[str, Any]


def result_of(record: JobRecord, queue: Queue, backend: BaseTaskBackend) -> AnyResult:
    """Return the `TaskResult` of a stored job.

    Its task is the one defined under the job's path, with the priority, queue and `run_after` of the job, even if the
    settings no longer allow these. If the task is no longer defined, a stand-in takes its place, and raises a
    `LookupError` when it is called.

    Raises:
        DecodeError: The row cannot be read, or is not that of a task.
    """
    if record.defect is not None:
        raise DecodeError(f"job {record.id}: {record.defect}")
    try:
        call = msgspec.json.decode(record.data, type=_Stored)
        deferral = None if record.metadata is None else msgspec.json.decode(record.metadata, type=Deferral)
        value: Any = None if record.result is None else msgspec.json.decode(record.result)
    except (msgspec.MsgspecError, ValueError) as error:  # a ValueError: the text is no UTF-8
        raise DecodeError(f"job {record.id}: it is not the job of a task: {error}") from error
    attempted_at = moment(record.attempted_at)
    result: AnyResult = TaskResult(
        task=_task(record, call["path"], deferral, queue, backend),
        id=str(record.id),
        status=STATUS.get(record.status, TaskResultStatus.READY),
        enqueued_at=moment(record.inserted_at),
        started_at=attempted_at,
        finished_at=moment(record.ended_at),
        last_attempted_at=attempted_at,
        args=call["args"],
        kwargs=call["kwargs"],
        backend=backend.alias,
        errors=[task_error(error) for error in record.errors],
        worker_ids=_workers(record),
    )
    object.__setattr__(result, "_return_value", value)
    return result


def moment(at: datetime | None) -> datetime | None:
    """Return the aware moment as Django represents it: naive, in `TIME_ZONE`, if `USE_TZ` is False.

    Return None if Python's calendar does not have it there, which only happens if a row is damaged.
    """
    if at is None or settings.USE_TZ:
        return at
    try:
        return timezone.make_naive(at, timezone.get_default_timezone())
    except OverflowError:
        return None


def stored_moment(at: datetime) -> datetime:
    """Return the moment in UTC; a naive one is taken to be in `TIME_ZONE`.

    Raises:
        InvalidJobError: Python's calendar does not have it in UTC.
    """
    try:
        aware = at if timezone.is_aware(at) else timezone.make_aware(at, timezone.get_default_timezone())
        return aware.astimezone(UTC)
    except OverflowError as error:
        raise mistake("run_after", "in the years 1970 to 9998", at, error=InvalidJobError) from error


def task_error(error: JobError) -> TaskError:
    """Return the error of an attempt as Django's `TaskError`."""
    path = error.type_path or _WITHOUT_EXCEPTION[error.kind]
    if error.kind is ErrorKind.DECODE:
        path = _WITHOUT_EXCEPTION[error.kind]
    return TaskError(exception_class_path=_SHOWN.get(path, path), traceback=error.details)


def _workers(record: JobRecord) -> list[str]:
    """Return the node of each attempt that has started, in order."""
    nodes = {error.attempt: error.node for error in record.errors if error.node is not None}
    if record.node is not None:
        nodes[record.attempt] = record.node
    return [nodes.get(attempt, UNKNOWN_WORKER) for attempt in range(1, record.attempt + 1)]


def _task(record: JobRecord, path: str, deferral: Deferral | None, queue: Queue, backend: BaseTaskBackend) -> AnyTask:
    """Return the job's task. It is made without checks: they are for new enqueues, and this job is stored already."""
    found = find_or_discover(path)
    kind = RexecutorTask if found is None else type(found)
    values: dict[str, Any] = {each.name: each.default for each in fields(kind)}
    if found is None:
        values["func"] = _missing(path)
    else:
        values |= {name: getattr(found, name) for name in values}
    values |= {
        "priority": LEAST_URGENT - record.priority,
        "backend": backend.alias,
        "queue_name": queue.name or next(iter(record.tags), DEFAULT_TASK_QUEUE_NAME),
        "run_after": None if deferral is None else moment(deferral.run_after),
    }
    if issubclass(kind, RexecutorTask):
        usual = values["max_attempts"] or default_attempts(backend.alias, backend.options)
        if record.max_attempts != usual:
            values["max_attempts"] = record.max_attempts
    task = object.__new__(kind)
    for name, value in values.items():
        object.__setattr__(task, name, value)
    return task


def _missing(path: str) -> Callable[..., Any]:
    """Return a stand-in for the function of a task that is no longer defined."""

    def missing(*_: object, **__: object) -> Any:
        raise LookupError(f"the task {path!r} is no longer defined, so it cannot be called")

    missing.__module__, _, missing.__qualname__ = path.rpartition(".")
    missing.__name__ = missing.__qualname__
    return missing
