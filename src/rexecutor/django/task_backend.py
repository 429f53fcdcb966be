"""`TaskBackend`, to be named as a `BACKEND` in `TASKS`."""

import re
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime
from inspect import iscoroutinefunction
from typing import Any, Final

from django.core.checks import CheckMessage
from django.core.exceptions import SynchronousOnlyOperation
from django.db import connections
from django.db.transaction import TransactionManagementError
from django.tasks import TaskResult, TaskResultStatus
from django.tasks.backends.base import BaseTaskBackend
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend, TaskResultDoesNotExist
from django.tasks.signals import task_enqueued

from rexecutor.backend.app_transaction import SyncTransaction, blocking
from rexecutor.backend.base import Backend
from rexecutor.django.annotations import AnyResult, AnyTask
from rexecutor.django.calls import LEAST_URGENT, Call, Deferral, Queue, as_json, checked_tag, default_attempts, queue_of
from rexecutor.django.checks import check_backend
from rexecutor.django.executors import executor_class
from rexecutor.django.registry import find_or_discover
from rexecutor.django.results import moment, result_of, stored_moment
from rexecutor.django.stores import bound_store, store_of
from rexecutor.django.task import RexecutorTask
from rexecutor.errors import BackendError, ConfigurationError, DecodeError
from rexecutor.model.job import JobRecord
from rexecutor.model.where import Where

_ID: Final = re.compile("[1-9][0-9]{0,18}")
_LARGEST_ID: Final = 2**63 - 1
_FIXED: Final = ("backoff", "timeout", "takes_context")
"""Settings that a worker takes from the task in its module."""


@contextmanager
def _in_djangos_words(alias: str) -> Generator[None]:
    """Translate a `ConfigurationError` into the exception that Django has for it."""
    try:
        yield
    except ConfigurationError as error:
        cause = error.__cause__
        if isinstance(cause, TransactionManagementError | SynchronousOnlyOperation):
            raise type(cause)(str(error)) from error
        raise InvalidTaskBackend(f"TASKS[{alias!r}]: {error}") from error


def _found(bound: Backend | SyncTransaction, job_id: int) -> JobRecord | None:
    """Return the job with this id; None if there is none."""
    return next(iter(bound.query_sync(Where.id_equals(job_id), limit=1)), None)


def _ready(task: AnyTask, call: Call, result_id: str, enqueued_at: datetime | None, alias: str) -> AnyResult:
    """Return the result of a task that was enqueued just now."""
    return TaskResult(
        task=task,
        id=result_id,
        status=TaskResultStatus.READY,
        enqueued_at=enqueued_at,
        started_at=None,
        finished_at=None,
        last_attempted_at=None,
        args=call.args,
        kwargs=call.kwargs,
        backend=alias,
        errors=[],
        worker_ids=[],
    )


class TaskBackend(BaseTaskBackend):
    """Stores the tasks of `django.tasks` as jobs, which `manage.py rexecutor` runs.

    ```py
    TASKS = {"default": {"BACKEND": "rexecutor.django.TaskBackend", "OPTIONS": {"DATABASE": "default"}}}
    ```

    A task is stored by an INSERT on Django's own connection. In `atomic()` it is part of the transaction, so a rollback
    removes it. `OPTIONS` are:

    - `DATABASE`: alias of the database that holds the jobs, PostgreSQL or SQLite; `"default"` by default.
    - `SCHEMA`: schema of the tables on PostgreSQL; `"rexecutor"` by default.
    - `STORE`: a URL instead of these two, such as `"memory:"` in tests.
    - `MAX_ATTEMPTS`: number of attempts of a task without `max_attempts`; 1 by default.
    - `MODULES`: modules that define tasks, besides the modules `tasks` of the applications.
    """

    task_class = RexecutorTask
    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def enqueue(self, task: AnyTask, args: Sequence[Any], kwargs: Mapping[str, Any]) -> AnyResult:
        """Store a job for the task, and return its result, which is `READY`.

        Its `enqueued_at` is None if the connection was lost right after the task was stored.

        Raises:
            InvalidTask: Django's checks fail, a worker could not find the task or run it as it is, or no executor can
                have the name of its queue.
            InvalidTaskBackend: The settings name no store that can hold jobs.
            TransactionManagementError: An error has occurred in the `atomic()` block, which can only be rolled back.
            SynchronousOnlyOperation: An event loop runs in this thread; await `aenqueue`.
            InvalidJobError: `run_after` is not in the years 1970 to 9998. It is a `ValueError`.
            TypeError: The arguments contain a type that JSON lacks.
            EncodeError: They contain what no store accepts, such as NaN or a NUL character, or are larger than 1 MiB as
                JSON. It is a `ValueError`.
            BackendError: The store failed. In `atomic()`, the transaction is to be rolled back.
        """
        self.validate_task(task)
        self._check_runs(task)
        call = Call(task.module_path, as_json(args), as_json(kwargs))
        queue = Queue(self.alias, task.queue_name if self.queues else None)
        run_after = None if task.run_after is None else stored_moment(task.run_after)
        own = task.max_attempts if isinstance(task, RexecutorTask) else None
        executor = executor_class(queue, is_async=iscoroutinefunction(task.func))
        builder = executor.new(
            call,
            metadata=None if run_after is None else Deferral(run_after),
            tags=() if self.queues else (checked_tag(task.queue_name),),
            priority=LEAST_URGENT - int(task.priority),
            max_attempts=default_attempts(self.alias, self.options) if own is None else own,
            schedule_at=run_after,
        )
        with _in_djangos_words(self.alias):
            bound = self._bound()
            handle = builder.enqueue_sync(backend=bound)
            try:
                record = _found(bound, handle.id)
            except BackendError:
                if self._is_in_transaction():
                    raise
                record = None  # the task is stored for good, and an error would lead to storing it twice
        result = _ready(task, call, str(handle.id), None if record is None else moment(record.inserted_at), self.alias)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> AnyResult:
        """Return the current result of a task of this backend, read on Django's connection.

        If the task is no longer defined, the result has a stand-in, which raises a `LookupError` when it is called.

        Raises:
            TaskResultDoesNotExist: There is no such result, it was pruned, it belongs to another backend, or it cannot
                be read.
            InvalidTaskBackend: The settings name no store that can hold jobs.
            TransactionManagementError: An error has occurred in the `atomic()` block.
            SynchronousOnlyOperation: An event loop runs in this thread; await `aget_result`.
            BackendError: The store failed.
        """
        is_id = isinstance(result_id, str) and _ID.fullmatch(result_id) is not None
        if not is_id or int(result_id) > _LARGEST_ID:
            raise TaskResultDoesNotExist(result_id)
        with _in_djangos_words(self.alias):
            record = _found(self._bound(), int(result_id))
        queue = None if record is None else queue_of(self.alias, record.executor)
        if record is None or queue is None:
            raise TaskResultDoesNotExist(result_id)
        try:
            return result_of(record, queue, self)
        except DecodeError as error:
            raise TaskResultDoesNotExist(str(error)) from error

    def check(self, **kwargs: Any) -> list[CheckMessage]:  # noqa: ARG002 - Django may give more
        """Return the messages of `manage.py check` about the settings of this backend."""
        return check_backend(self.alias, self.options, self.queues)

    def _bound(self) -> Backend | SyncTransaction:
        """Return the store that this thread uses, bound to Django's connection."""
        return blocking(bound_store(store_of(self.options)))

    def _is_in_transaction(self) -> bool:
        """Return whether this thread's connection to the store is in a transaction of the application."""
        database = store_of(self.options).database
        if database is None:
            return False
        connection = connections[database]
        return connection.in_atomic_block or not connection.autocommit

    def _check_runs(self, task: AnyTask) -> None:
        """Raise an `InvalidTask` if a worker would not find the task, or would run it with other settings."""
        path = task.module_path
        found = find_or_discover(path)
        if found is None or found.func is not task.func:
            raise InvalidTask(
                f"{path} is not what a worker would find under that path; give the task the name of its function"
            )
        for name in _FIXED:
            if getattr(found, name, None) != getattr(task, name, None):
                raise InvalidTask(
                    f"{path}: {name} cannot be changed for one enqueue: a worker takes it from the task in its module"
                )
