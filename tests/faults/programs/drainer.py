"""A worker that is told what to drain: `python -m tests.faults.programs.drainer STORE`.

To `"window"` it runs 1,000 jobs and says how long they took, from the first start to the last; to `"all"` it works
until a signal.
"""

import asyncio
import json
import sys
from time import perf_counter
from typing import Final

from rexecutor import Backend, Executor, Job, Rexecutor
from tests.faults.children import say
from tests.faults.stores import backend_at

WINDOW: Final = 1_000


class Noop(Executor[int]):
    """Does nothing but count."""

    name = "noop"

    def __init__(self) -> None:
        self._ran = 0
        self._began = 0.0
        self.seconds = 0.0
        self.has_run = asyncio.Event()

    async def execute(self, job: Job[int]) -> None:
        self._ran += 1
        if self._ran == 1:
            self._began = perf_counter()
        if self._ran == WINDOW:
            self.seconds = perf_counter() - self._began
            self.has_run.set()


async def drain_window(backend: Backend) -> float:
    """Run the first jobs there are."""
    noop = Noop()
    async with Rexecutor(backend).with_executor(noop):
        await noop.has_run.wait()
    return noop.seconds


async def main(store: str) -> None:
    """Do what the lines of the standard input say."""
    async with backend_at(store) as backend:
        while json.loads(await asyncio.to_thread(sys.stdin.readline)) == "window":
            say(await drain_window(backend))
        await Rexecutor(backend).with_executor(Noop()).run_until_signal()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
