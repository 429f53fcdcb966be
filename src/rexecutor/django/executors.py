"""The executors that run Django's tasks: two for each queue, for plain functions and for `async def`."""

from collections.abc import Collection
from datetime import timedelta
from functools import cache
from typing import Any

from django.tasks import task_backends
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend

from rexecutor.django.calls import Call, Deferral, Queue
from rexecutor.django.registry import find
from rexecutor.django.running import DISCARDING, TaskJob, run_task, run_task_async
from rexecutor.django.task import RexecutorTask
from rexecutor.jobs.executor import Executor
from rexecutor.model.backoff import BackoffStrategy


class TaskExecutor(Executor[Call, Deferral, Any]):
    """Runs the tasks of one queue. Its settings are those of each task."""

    discard_on = DISCARDING

    def backoff(self, job: TaskJob) -> timedelta:
        """Return the delay before the next attempt: by the task's `backoff`, or by default."""
        task = find(job.data.path)
        backoff = task.backoff if isinstance(task, RexecutorTask) else None
        if backoff is None:
            return super().backoff(job)
        return backoff(job.attempt) if isinstance(backoff, BackoffStrategy) else backoff(job)

    def timeout(self, job: TaskJob) -> timedelta | None:
        """Return the task's `timeout`; None for no limit."""
        task = find(job.data.path)
        return task.timeout if isinstance(task, RexecutorTask) else None


@cache
def executor_class(queue: Queue, *, is_async: bool) -> type[TaskExecutor]:
    """Return the executor of a queue's `async def` tasks, or of its other tasks.

    Raises:
        InvalidTask: No executor can have the queue's name.
    """
    if is_async:

        class AsyncTasks(TaskExecutor):
            name = queue.executor(is_async=True)

            async def execute(self, job: TaskJob) -> Any:
                return await run_task_async(job, queue.alias)

        return AsyncTasks

    class Tasks(TaskExecutor):
        name = queue.executor(is_async=False)
        blocking = True

        def execute(self, job: TaskJob) -> Any:
            return run_task(job, queue.alias)

    return Tasks


def queues_of(alias: str) -> set[str]:
    """Return the names of a task backend's queues; an empty set if its `QUEUES` are `[]`, which allows any name."""
    return task_backends[alias].queues


def executors_of(alias: str, queues: Collection[str] = ()) -> list[type[TaskExecutor]]:
    """Return the executors that run the tasks of a task backend, in the order of its queues' names.

    Args:
        alias: Alias of the task backend in `TASKS`.
        queues: Names of queues of the backend; empty for all.

    Raises:
        InvalidTaskBackend: No executor can have the name of a queue.
    """
    chosen: list[str | None] = [*sorted(set(queues) or queues_of(alias))] or [None]
    try:
        return [
            executor_class(Queue(alias, queue), is_async=is_async) for queue in chosen for is_async in (False, True)
        ]
    except InvalidTask as error:
        raise InvalidTaskBackend(str(error)) from error
