"""Names of the executors that run tasks. Imports nothing of `django.tasks`, which Django 5.2 does not have."""

import re
from typing import Final

from rexecutor.model.checks import checked_name

ASYNC: Final = ":async"
"""End of the name of an executor that runs `async def` tasks. No queue's name may end with it."""
_ALIAS: Final = re.compile("[A-Za-z0-9_-]+")


def is_alias(alias: str) -> bool:
    """Return whether the alias of a task backend can be part of an executor's name."""
    return _ALIAS.fullmatch(alias) is not None


def is_queue(name: str) -> bool:
    """Return whether the name of a queue is unambiguous in an executor's name: not empty, not ending in `:async`."""
    return bool(name) and not name.endswith(ASYNC)


def executor_name(what: str, alias: str, queue: str | None, *, is_async: bool) -> str:
    """Return the name of the executor that runs a queue's tasks.

    Args:
        what: Start of the error message.
        alias: Alias of the task backend.
        queue: Name of the queue; None for all queues of a backend that allows any name.
        is_async: Whether it runs the `async def` tasks, or the others.

    Raises:
        ConfigurationError: The name has other characters than A-Z a-z 0-9 _ . : -, or more than 128.
    """
    return checked_name(what, f"django.{alias}{'' if queue is None else f'.{queue}'}{ASYNC * is_async}")
