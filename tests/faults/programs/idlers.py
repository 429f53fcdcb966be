"""Several workers in one process, with a handle on the store each.

`python -m tests.faults.programs.idlers STORE HISTORY NODES LEASE_SECONDS`. To each line it says what they have asked
of the store so far.
"""

import asyncio
import sys
from contextlib import AsyncExitStack
from datetime import timedelta
from pathlib import Path

from rexecutor import Executor, Job, Rexecutor
from tests.faults.children import say
from tests.faults.history import History
from tests.faults.statement_counts import counted
from tests.faults.stores import backend_at


class Awaited(Executor[None]):
    """Writes when it starts."""

    name = "awaited"

    def __init__(self, history: History) -> None:
        self._history = history

    async def execute(self, job: Job[None]) -> None:
        self._history.write("start", job.id, job.attempt)


async def main(store: str, history: str, nodes: int, lease: float) -> None:
    """Work until the standard input ends."""
    executor = Awaited(History(Path(history)))
    with counted() as counts:
        async with AsyncExitStack() as stack:
            for _ in range(nodes):
                backend = await stack.enter_async_context(backend_at(store, 2))
                node = Rexecutor(backend, lease=timedelta(seconds=lease)).with_executor(executor)
                await stack.enter_async_context(node)
            say("ready")
            while await asyncio.to_thread(sys.stdin.readline):
                say(counts)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
