"""Starts work that outlives its caller in an empty `contextvars` context instead of a copy of the caller's.

Tasks, timers, callbacks and threads inherit the context of the code that starts them. Work that goes on afterwards, or
is shared, would carry the first caller's context, such as one request's trace id, in everything that it does.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def in_fresh_context(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in an empty context, which everything that it starts inherits."""
    return Context().run(function, *args, **kwargs)


def start_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run the coroutine as a task of the running loop, in an empty context."""
    return in_fresh_context(asyncio.get_running_loop().create_task, work)
