"""A coroutine that is never awaited does nothing. For an enqueue that means a lost job, so it is logged as an error."""

import asyncio
import inspect
import sys
from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar
from weakref import ReferenceType

from rexecutor.telemetry.events import EnqueueForgotten
from rexecutor.telemetry.log import log_event

Function = TypeVar("Function", bound=Callable[..., Coroutine[Any, Any, Any]])


class _OfExecutor(Protocol):
    @property
    def executor(self) -> type[Any]: ...


class AwaitGuard:
    """An argument of a coroutine, which is deleted with it. Logs an error if the coroutine was dropped unawaited.

    The coroutine is a real one, so it goes wherever Python expects one. It must set the guard's `coroutine` to None
    when it starts. A coroutine that is cancelled as a task before it starts is not a forgotten one. It still exists
    when its arguments are deleted, but a dropped one no longer does: its weak references are dead. One that is closed
    before it starts is told from a dropped one before Python 3.12 only: since then it keeps its arguments to its end.
    """

    __slots__ = ("call", "coroutine", "jobs")

    def __init__(self, call: str, jobs: _OfExecutor | list[Any]) -> None:
        self.call = call
        self.jobs = jobs  # one job stands alone, to make no list for each of thousands of enqueues at once
        self.coroutine: ReferenceType[Coroutine[Any, Any, Any]] | None = None

    # The names are bound as defaults because the interpreter may have cleared the module at its end.
    def __del__(
        self,
        log: Callable[[EnqueueForgotten], None] = log_event,
        event: type[EnqueueForgotten] = EnqueueForgotten,
    ) -> None:
        if self.coroutine is None or self.coroutine() is not None:
            return
        jobs: list[Any] = self.jobs if isinstance(self.jobs, list) else [self.jobs]
        if jobs:
            executors = dict.fromkeys(job.executor.name for job in jobs)
            log(event(", ".join(executors), self.call, len(jobs)))


def marked_async(function: Function) -> Function:
    """Let `iscoroutinefunction` be true of a function that returns a coroutine, as if it were an `async def`.

    Frameworks ask for that before they call a function. If it is false they call it in a thread and await nothing.
    """
    if sys.version_info >= (3, 12):
        return inspect.markcoroutinefunction(function)
    # What `asyncio.iscoroutinefunction` reads; `inspect.iscoroutinefunction` cannot be told.
    vars(function)["_is_coroutine"] = vars(asyncio.coroutines)["_is_coroutine"]
    return function
