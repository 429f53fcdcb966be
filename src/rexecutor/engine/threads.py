"""Threads for jobs that block. They are daemons: a job that never ends cannot keep the process from ending."""

import asyncio
import contextvars
import threading
from collections.abc import Callable
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any

from rexecutor.background import in_fresh_context


@dataclass(slots=True)
class _Call:
    function: Callable[[Any], Any]
    argument: Any
    context: contextvars.Context
    ended: asyncio.Future[None]
    result: Any = None
    error: BaseException | None = None


class Threads:
    """A pool of threads: one for each call under way, kept for later calls until `stop`."""

    def __init__(self) -> None:
        self._calls: SimpleQueue[_Call | None] = SimpleQueue()
        self._threads = 0
        self._busy = 0

    async def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call the function in a thread, with a copy of this task's context. Return its result or raise its error."""
        loop = asyncio.get_running_loop()
        call = _Call(function, argument, contextvars.copy_context(), loop.create_future())
        self._busy += 1
        if self._busy > self._threads:
            self._threads += 1
            thread = threading.Thread(target=self._serve, name=f"rexecutor job {self._threads}", daemon=True)
            in_fresh_context(thread.start)
        self._calls.put(call)
        await call.ended
        if call.error is not None:
            raise call.error
        return call.result

    def stop(self) -> None:
        """Let the threads end as soon as there are no more calls."""
        for _ in range(self._threads):
            self._calls.put(None)
        self._threads = 0

    def _serve(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                call.result = call.context.run(call.function, call.argument)
            except BaseException as error:  # noqa: BLE001 - raised again where the runner awaits it
                call.error = error
            try:
                call.ended.get_loop().call_soon_threadsafe(self._ended, call)
            except RuntimeError:  # the loop is closed: nobody waits any more
                return

    def _ended(self, call: _Call) -> None:
        self._busy -= 1
        if not call.ended.done():
            call.ended.set_result(None)
