"""What is stored of an enqueued task, and the names of the executors that run it."""

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from django.tasks.exceptions import InvalidTask, InvalidTaskBackend
from django.utils.json import normalize_json

from rexecutor.django.registry import find_or_discover
from rexecutor.errors import ConfigurationError
from rexecutor.model.checks import checked_name
from rexecutor.model.job import MAX_ATTEMPTS, Limits, is_storable

LEAST_URGENT: Final = 100
"""Priority of a job whose task has the priority 0. Django counts upwards: 100 is the most urgent, and becomes 0."""
_ASYNC: Final = ":async"
_ALIAS: Final = re.compile("[A-Za-z0-9_-]+")
_LONGEST_TAG: Final = Limits().tag


class Call(msgspec.Struct, frozen=True):
    """The data of a task's job: the function to call, and its arguments as JSON values."""

    path: str
    """Module and name of the function. It only chooses among tasks that are defined; nothing is imported for it."""
    args: list[Any]
    kwargs: dict[str, Any]

    def __post_init__(self) -> None:
        """Refuse a path that no task has: in a worker that is a failed attempt of the kind `decode`."""
        if find_or_discover(self.path) is None:
            raise ValueError(
                f"no task {self.path!r} is defined here; define it in the module `tasks` of an application, or name its"
                ' module in OPTIONS["MODULES"]'
            )


class Deferral(msgspec.Struct, frozen=True):
    """The metadata of a job whose task has a `run_after`. A job's own `scheduled_at` changes when it is retried."""

    run_after: datetime


class Queue(NamedTuple):
    """The queue of a task backend that a job belongs to."""

    alias: str
    name: str | None
    """None for all queues of a backend whose `QUEUES` are `[]`; a tag of the job names its queue then."""

    def executor(self, *, is_async: bool) -> str:
        """Return the name of the executor that runs its tasks: those that block, or those that are `async def`.

        Raises:
            InvalidTask: No executor can have such a name.
        """
        if not _ALIAS.fullmatch(self.alias):
            raise InvalidTask(
                f"TASKS: the alias {self.alias!r} must consist of the characters A-Z a-z 0-9 _ - for jobs"
            )
        queue = "" if self.name is None else f".{self.name}"
        if queue == "." or queue.endswith(_ASYNC):
            raise InvalidTask(f"TASKS[{self.alias!r}]: the queue {self.name!r} must not be empty or end in {_ASYNC!r}")
        try:
            return checked_name(f"TASKS[{self.alias!r}]: executor", f"django.{self.alias}{queue}{_ASYNC * is_async}")
        except ConfigurationError as error:
            raise InvalidTask(
                f"TASKS[{self.alias!r}]: the queue {self.name!r} must consist of the characters A-Z a-z 0-9 _ . : - and"
                " be shorter"
            ) from error


def queue_of(alias: str, executor: str) -> Queue | None:
    """Return the queue whose jobs the executor runs; None if it does not run tasks of the backend of this alias."""
    prefix = f"django.{alias}"
    rest = executor.removesuffix(_ASYNC)
    if rest == prefix:
        return Queue(alias, None)
    return Queue(alias, rest.removeprefix(f"{prefix}.")) if rest.startswith(f"{prefix}.") else None


def checked_tag(queue_name: str) -> str:
    """Return the name of a queue as a job's tag, or raise an `InvalidTask` if it cannot be one."""
    if 1 <= len(queue_name) <= _LONGEST_TAG and is_storable(queue_name):
        return queue_name
    raise InvalidTask(f"the queue {queue_name!r} must have 1 to {_LONGEST_TAG} characters, and no NUL")


def default_attempts(alias: str, options: Mapping[str, Any]) -> int:
    """Return how many attempts a task has that does not say so itself: `OPTIONS["MAX_ATTEMPTS"]`, or 1.

    Raises:
        InvalidTaskBackend: It is not a whole number, or out of range.
    """
    given: object = options.get("MAX_ATTEMPTS", 1)
    if type(given) is int and 1 <= given <= MAX_ATTEMPTS:
        return given
    raise InvalidTaskBackend(f"TASKS[{alias!r}]: MAX_ATTEMPTS must be an int from 1 to {MAX_ATTEMPTS}, not {given!r}")


def as_json(value: Any) -> Any:
    """Return the value as Django's JSON has it, and as it will be read: keys are texts, sequences are lists.

    Raises:
        TypeError: It holds a type that JSON lacks.
        ValueError: It holds bytes that are no UTF-8.
    """
    return json.loads(json.dumps(normalize_json(value)))
