"""A node with a schedule for each second: `python -m tests.faults.programs.ticking STORE`. Says when it is up."""

import asyncio
import sys
from datetime import timedelta

from rexecutor import Executor, Job, Rexecutor
from tests.faults.stores import backend_at

LEASE = timedelta(seconds=2)


class Ticking(Executor[None]):
    """What each tick enqueues."""

    name = "ticking"

    async def execute(self, job: Job[None]) -> None: ...


async def main(store: str) -> None:
    """Be a node until a signal comes."""
    node = Rexecutor(backend_at(store), lease=LEASE).with_cron_executor(Ticking, "* * * * * *")
    running = asyncio.ensure_future(node.run_until_signal())
    async with backend_at(store) as backend:
        while not await backend.schedules():
            await asyncio.sleep(0.05)
    print("up", flush=True)
    await running


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
