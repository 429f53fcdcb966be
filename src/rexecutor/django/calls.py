"""How a task is stored as a job: its data and metadata, its tag, and the name of its executor."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend
from django.utils.json import normalize_json

from rexecutor.django.names import ASYNC, executor_name, is_alias, is_queue
from rexecutor.django.registry import find_or_discover
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import MAX_ATTEMPTS, Limits, is_storable

LEAST_URGENT: Final = 100
"""Priority of the job of a task with priority 0. Django's 100 is the most urgent, and becomes a job's 0."""
_LONGEST_TAG: Final = Limits().tag


class Call(msgspec.Struct, frozen=True):
    """The data of a task's job: the function to call, and its arguments as JSON values."""

    path: str
    """Module and name of the function. It selects one of the tasks that modules define, and never names an import."""
    args: list[Any]
    kwargs: dict[str, Any]

    def __post_init__(self) -> None:
        """Raise a `ValueError` if no task has the path. On a worker, the attempt then fails with the kind `decode`."""
        if find_or_discover(self.path) is None:
            raise ValueError(
                f"no task {self.path!r} is defined here; define it in the module `tasks` of an application, or name its"
                ' module in OPTIONS["MODULES"], or restart this worker, if it was started before the task was written'
            )


class Deferral(msgspec.Struct, frozen=True):
    """The metadata of a job whose task has a `run_after`. The job's own `scheduled_at` changes with each retry."""

    run_after: Annotated[datetime, msgspec.Meta(tz=True)]


class Queue(NamedTuple):
    """The queue of a task backend that a job belongs to."""

    alias: str
    name: str | None
    """None if the `QUEUES` of the backend are `[]`, which allows any name: a tag of the job then names its queue."""

    def executor(self, *, is_async: bool) -> str:
        """Return the name of the executor that runs the queue's tasks: the `async def` ones, or the others.

        Raises:
            InvalidTask: The alias or the queue cannot be part of an executor's name.
        """
        if not is_alias(self.alias):
            raise InvalidTask(
                f"TASKS: the alias {self.alias!r} must consist of the characters A-Z a-z 0-9 _ - for jobs"
            )
        if self.name is not None and not is_queue(self.name):
            raise InvalidTask(f"TASKS[{self.alias!r}]: the queue {self.name!r} must not be empty or end in {ASYNC!r}")
        try:
            return executor_name(f"TASKS[{self.alias!r}]: executor", self.alias, self.name, is_async=is_async)
        except ConfigurationError as error:
            raise InvalidTask(
                f"TASKS[{self.alias!r}]: the queue {self.name!r} must consist of the characters A-Z a-z 0-9 _ . : - and"
                " be shorter"
            ) from error


def queue_of(alias: str, executor: str) -> Queue | None:
    """Return the queue whose tasks the executor runs; None if it runs none of the task backend with this alias."""
    prefix = f"django.{alias}"
    rest = executor.removesuffix(ASYNC)
    if rest == prefix:
        return Queue(alias, None)
    return Queue(alias, rest.removeprefix(f"{prefix}.")) if rest.startswith(f"{prefix}.") else None


def checked_tag(queue_name: str) -> str:
    """Return the name of the queue; raise an `InvalidTask` if it cannot be a job's tag."""
    if 1 <= len(queue_name) <= _LONGEST_TAG and is_storable(queue_name):
        return queue_name
    raise InvalidTask(f"the queue {queue_name!r} must have 1 to {_LONGEST_TAG} characters, and no NUL")


def default_attempts(alias: str, options: Mapping[str, Any]) -> int:
    """Return the number of attempts of a task without `max_attempts`: `OPTIONS["MAX_ATTEMPTS"]`, or 1.

    Raises:
        InvalidTaskBackend: The option is not an int from 1 to 32,767.
    """
    given: object = options.get("MAX_ATTEMPTS", 1)
    if type(given) is int and 1 <= given <= MAX_ATTEMPTS:
        return given
    raise InvalidTaskBackend(f"TASKS[{alias!r}]: MAX_ATTEMPTS must be an int from 1 to {MAX_ATTEMPTS}, not {given!r}")


def as_json(value: Any) -> Any:
    """Return the value as it will be read back from JSON: keys are str, sequences are lists.

    Raises:
        TypeError: It contains a type that JSON lacks.
        ValueError: It contains bytes that are not UTF-8.
    """
    return json.loads(json.dumps(normalize_json(value)))
