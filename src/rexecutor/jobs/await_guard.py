"""A coroutine that is never awaited does nothing. For an enqueue that means a lost job, so it is logged as an error."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar
from weakref import ReferenceType

from rexecutor.telemetry.events import EnqueueForgotten
from rexecutor.telemetry.subscribers import emit

Function = TypeVar("Function", bound=Callable[..., Coroutine[Any, Any, Any]])


class _OfExecutor(Protocol):
    @property
    def executor(self) -> type[Any]: ...


# The names are bound as defaults because the interpreter may have cleared the module at its end.
def _log_forgotten(
    guard: "AwaitGuard",
    log: Callable[[EnqueueForgotten], None] = emit,
    event: type[EnqueueForgotten] = EnqueueForgotten,
) -> None:
    """Log that the guard's coroutine was dropped, once."""
    jobs: list[Any] = guard.jobs if isinstance(guard.jobs, list) else [guard.jobs]
    guard.jobs = []
    if jobs:
        executors = dict.fromkeys(job.executor.name for job in jobs)
        log(event(", ".join(executors), guard.call, len(jobs)))


class AwaitGuard(ReferenceType[Coroutine[Any, Any, Any]]):
    """A weak reference to a coroutine. Logs an error if the coroutine was dropped unawaited.

    The coroutine is a real one, so it goes wherever Python expects one. One of its arguments is a list with the guard,
    which it must clear when it starts. A coroutine that is cancelled as a task before it starts is not a forgotten one:
    it deletes its arguments, and so the guard, while it still exists. One that is closed before it starts is told from
    a dropped one before Python 3.12 only: since then it keeps its arguments to its end.
    """

    __slots__ = ("call", "jobs")

    call: str
    jobs: _OfExecutor | list[Any]  # one job stands alone, to make no list for each of thousands of enqueues at once

    # A dropped coroutine calls back at once, even if it is kept after that: pytest keeps Python's warning about it,
    # which holds the coroutine. In a reference cycle there is no call, and the guard is deleted with its coroutine.
    def __del__(self, forgotten: "Callable[[AwaitGuard], None]" = _log_forgotten) -> None:
        if self() is None:
            forgotten(self)


def await_guard(coroutine: Coroutine[Any, Any, Any], call: str, jobs: _OfExecutor | list[Any]) -> AwaitGuard:
    """Return a guard for this coroutine, which is to store these jobs. `call` is what the message says to await."""
    guard = AwaitGuard(coroutine, _log_forgotten)
    guard.call, guard.jobs = call, jobs  # an `__init__` would double the time that this takes
    return guard


def marked_async(function: Function) -> Function:
    """Let `iscoroutinefunction` be true of a function that returns a coroutine, as if it were an `async def`.

    Frameworks ask for that before they call a function. If it is false they call it in a thread and await nothing.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # What `asyncio.iscoroutinefunction` reads; `inspect.iscoroutinefunction` cannot be told.
    vars(function)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return function
