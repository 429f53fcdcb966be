"""`RexecutorTask`: Django's `Task` with attempts, a backoff and a timeout."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.tasks.exceptions import InvalidTask

from rexecutor.django.annotations import AnyTask
from rexecutor.django.registry import register
from rexecutor.errors import RexecutorError
from rexecutor.jobs.definition import takes
from rexecutor.jobs.function import Backoff
from rexecutor.model.backoff import BackoffStrategy
from rexecutor.model.checks import checked_delay, mistake
from rexecutor.model.job import checked_max_attempts

_SHORTEST_TIMEOUT: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RexecutorTask(AnyTask):
    """Task with attempts, a backoff and a timeout; `@task` makes it if the task's backend is a `TaskBackend`.

    With Django 6.1 or later, `@task` takes the fields as keywords: `@task(max_attempts=5)`. Django 6.0 accepts only its
    own fields there; write `send = dataclasses.replace(send, max_attempts=5)` below the function.

    A worker takes `timeout` and `backoff` from the task in its module. A copy with another value cannot be enqueued;
    one with another `max_attempts` can.

    Raises:
        InvalidTask: Raised when it is made: a value is out of range, or Django's own checks fail.
    """

    max_attempts: int | None = None
    """Maximum number of attempts, 1 to 32,767; after the last one, a failure is final.

    None for `OPTIONS["MAX_ATTEMPTS"]`, which is 1 by default: Django has no retries, so tasks written for it may not be
    safe to run twice.
    """
    backoff: Backoff | None = None
    """Delay before the next attempt: a strategy, or a function of the failed job.

    None for 4 s, 8 s, 16 s …, at most 7 days, with 10 % of jitter.
    """
    timeout: timedelta | None = None
    """Maximum duration of an attempt, above zero; None for no limit. A thread goes on, but its result is ignored."""

    def __post_init__(self) -> None:
        """Check the task, and remember it for workers."""
        AnyTask.__post_init__(self)
        _check(self)
        register(self)


def _check(task: RexecutorTask) -> None:
    """Raise an `InvalidTask` if a field that Django's `Task` does not have is invalid."""
    path = task.module_path
    backoff: Callable[..., object] | None = task.backoff
    try:
        if task.max_attempts is not None:
            checked_max_attempts(path, task.max_attempts)
        if task.timeout is not None:
            checked_delay(f"{path}: timeout", task.timeout, least=_SHORTEST_TIMEOUT)
        is_strategy = backoff is None or isinstance(backoff, BackoffStrategy)
        if not is_strategy and (inspect.iscoroutinefunction(backoff) or not takes(backoff, 1)):
            expected = "a BackoffStrategy, such as BackoffStrategy.constant(…), or a plain function of the failed job"
            raise mistake(f"{path}: backoff", expected, backoff)
    except RexecutorError as error:
        raise InvalidTask(str(error)) from error
