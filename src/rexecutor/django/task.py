"""`RexecutorTask`: Django's `Task` with the settings of a job that Django does not have."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.tasks.exceptions import InvalidTask

from rexecutor.django.annotations import AnyTask
from rexecutor.django.registry import register
from rexecutor.errors import RexecutorError
from rexecutor.jobs.definition import takes
from rexecutor.jobs.function import Backoff
from rexecutor.model.backoff import BackoffStrategy
from rexecutor.model.checks import checked_delay, mistake
from rexecutor.model.job import checked_max_attempts

_SHORTEST_TIMEOUT: timedelta = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class RexecutorTask(AnyTask):
    """A task of Django's that a `TaskBackend` runs: what `@task` makes if the task's backend is one.

    With Django 6.1 or later, `@task` takes the fields as keywords: `@task(max_attempts=5)`. In Django 6.0 it knows only
    Django's own; there, write `send = dataclasses.replace(send, max_attempts=5)` below the function.

    `timeout` and `backoff` are those of the task in its module, when it runs. A copy with another value can therefore
    not be enqueued; one with another `max_attempts` can.

    Raises:
        InvalidTask: Raised when it is made: a value is out of range, or Django's own checks fail.
    """

    max_attempts: int | None = None
    """How many attempts a job may have before a failure is final: 1 to 32,767.

    None for `OPTIONS["MAX_ATTEMPTS"]`, which is 1 by default: Django has no retries, so code that is written for it
    need not be able to run twice.
    """
    backoff: Backoff | None = None
    """How long to wait before the next attempt: a strategy, or a function of the failed job.

    None for 4 s, 8 s, 16 s …, at most 7 days, with 10 % of jitter.
    """
    timeout: timedelta | None = None
    """How long an attempt may take, above zero; None for no limit. A thread cannot be stopped."""

    def __post_init__(self) -> None:
        """Check the task, and remember it for workers."""
        AnyTask.__post_init__(self)
        _check(self)
        register(self)


def _check(task: RexecutorTask) -> None:
    """Raise an `InvalidTask` if one of our own fields has a value that cannot work."""
    path = task.module_path
    backoff: Callable[..., object] | None = task.backoff
    try:
        if task.max_attempts is not None:
            checked_max_attempts(path, task.max_attempts)
        if task.timeout is not None:
            checked_delay(f"{path}: timeout", task.timeout, least=_SHORTEST_TIMEOUT)
        is_strategy = backoff is None or isinstance(backoff, BackoffStrategy)
        if not is_strategy and (inspect.iscoroutinefunction(backoff) or not takes(backoff, 1)):
            raise mistake(f"{path}: backoff", "a BackoffStrategy or a plain function of the failed job", backoff)
    except RexecutorError as error:
        raise InvalidTask(str(error)) from error
