"""Work that outlives the call that begins it: it starts from an empty context, not from the caller's.

Tasks, timers, callbacks and threads take the context of the code that starts them along. For work that goes on after
that, or that others share, this would be one request's trace id in everything that follows.
"""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import Context
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


def apart(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call the function in an empty context, which all that it starts inherits."""
    return Context().run(function, *args, **kwargs)


def start_task(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run the coroutine as a task of the running loop, in an empty context."""
    return apart(asyncio.get_running_loop().create_task, work)
