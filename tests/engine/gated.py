"""A job that runs until it is let go."""

import asyncio

from rexecutor import Executor, Job


class Gated(Executor[str]):
    """Waits until it is let go."""

    name = "gated"

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.let_go = asyncio.Event()
        self.cancelled = 0

    async def execute(self, job: Job[str]) -> None:
        self.started.set()
        try:
            await self.let_go.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            if job.data != "deaf":
                raise
            await self.let_go.wait()
