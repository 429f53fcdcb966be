"""What goes on after its caller knows nothing of the caller's context."""

import asyncio
import threading
from contextvars import ContextVar

from rexecutor.background import in_fresh_context, start_task
from tests.support import soon

variable: ContextVar[str] = ContextVar("variable", default="clean")


async def test_a_task_and_what_it_starts_see_nothing_of_the_callers_context() -> None:
    async def child() -> str:
        return variable.get()

    async def task() -> tuple[str, str]:
        return variable.get(), await asyncio.ensure_future(child())

    variable.set("request")

    assert await soon(start_task(task())) == ("clean", "clean")


async def test_what_a_task_sets_does_not_come_back_to_its_caller() -> None:
    async def task() -> None:
        variable.set("task")

    await soon(start_task(task()))

    assert variable.get() == "clean"


async def test_timers_threads_and_callbacks_that_are_started_apart_see_nothing_either() -> None:
    seen: list[str] = []
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def look() -> None:
        seen.append(variable.get())
        if len(seen) == 2:
            loop.call_soon_threadsafe(ended.set)

    variable.set("request")
    in_fresh_context(loop.call_later, 0, look)
    in_fresh_context(threading.Thread(target=look).start)
    await soon(ended.wait())

    assert seen == ["clean", "clean"]
