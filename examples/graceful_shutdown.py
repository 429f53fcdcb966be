"""Shut down gracefully: no new jobs are started, and those that run are given time to end.

`async with` does so by itself when its block is left; `graceful_shutdown` does it where there is no block; and
`run_until_signal` at the first SIGTERM or SIGINT. What does not end in time goes back, with its attempt refunded.
"""

import asyncio
from datetime import timedelta

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor, override_global_backend


class Slow(Executor[float]):
    """Takes as many seconds as it is told."""

    name = "slow"

    def __init__(self) -> None:
        """Begin with no job started."""
        self.started = asyncio.Event()

    async def execute(self, job: Job[float]) -> None:
        """Take its time."""
        self.started.set()
        await asyncio.sleep(job.data)


async def main() -> None:
    """End twice while a job runs."""
    backend = InMemoryBackend()
    with override_global_backend(backend):
        async with Rexecutor(backend).with_executor(slow := Slow()):
            handle = await Slow.builder().with_data(0.2).enqueue()
            await slow.started.wait()
        print(f"after the block: {(await handle.fetch()).status}")

        rexecutor = Rexecutor(backend).with_executor(slow := Slow())
        await rexecutor.start()
        handle = await Slow.builder().with_data(3600.0).enqueue()
        await slow.started.wait()
        await rexecutor.graceful_shutdown(timeout=timedelta(milliseconds=100))
        job = await handle.fetch()
        print(f"after a shutdown with 0.1 s: {job.status}, {job.attempt} attempts used")


asyncio.run(main())
