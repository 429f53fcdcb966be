"""Shut down gracefully: no new jobs are started, and running jobs have time to end.

`async with` does this when its block ends, `graceful_shutdown` when it is called, and `run_until_signal` at the first
SIGTERM or SIGINT. Jobs that do not end in time return to the store, with their attempts refunded.
"""

import asyncio
from datetime import timedelta

from rexecutor import Executor, InMemoryBackend, Job, Rexecutor, override_global_backend


class Slow(Executor[float]):
    """Takes as many seconds as its data say."""

    name = "slow"

    def __init__(self) -> None:
        self.started = asyncio.Event()

    async def execute(self, job: Job[float]) -> None:
        """Sleep."""
        self.started.set()
        await asyncio.sleep(job.data)


async def main() -> None:
    """Shut down twice while a job runs."""
    backend = InMemoryBackend()
    with override_global_backend(backend):
        async with Rexecutor(backend, executors=[slow := Slow()]):
            handle = await Slow.enqueue(0.2)
            await slow.started.wait()
        print(f"after the block: {(await handle.fetch()).status}")

        rexecutor = Rexecutor(backend, executors=[slow := Slow()])
        await rexecutor.start()
        handle = await Slow.enqueue(3600.0)
        await slow.started.wait()
        await rexecutor.graceful_shutdown(timeout=timedelta(milliseconds=100))
        job = await handle.fetch()
        print(f"after a shutdown with 0.1 s: {job.status}, {job.attempt} attempts used")


asyncio.run(main())
