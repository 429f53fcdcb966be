"""Worker processes: started, awaited, and ended by their pid, never left behind."""

import asyncio
import signal
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TypeAlias

from tests.faults.history import Line, read

ROOT = Path(__file__).parents[2]
Worker: TypeAlias = asyncio.subprocess.Process


class Fleet:
    """The workers of one test on one store."""

    def __init__(self, folder: Path, lease: float, store: str) -> None:
        self.store = store
        self.history = folder / "history"
        self._lease = lease
        self.workers: list[Worker] = []

    async def start(self) -> Worker:
        """Start one more."""
        command = (sys.executable, "-m", "tests.faults.worker", self.store, str(self.history), str(self._lease))
        worker = await asyncio.create_subprocess_exec(*command, cwd=ROOT, stderr=asyncio.subprocess.PIPE)
        self.workers.append(worker)
        return worker

    def lines(self) -> list[Line]:
        """Return what has been written so far."""
        return read(self.history)

    async def until(self, condition: Callable[[list[Line]], bool], seconds: float) -> list[Line]:
        """Wait until the history meets the condition, and return it."""
        async with asyncio.timeout(seconds):
            while not condition(lines := self.lines()):
                await asyncio.sleep(0.01)
        return lines


@asynccontextmanager
async def fleet(folder: Path, lease: float, store: str | None = None) -> AsyncGenerator[Fleet]:
    """Yield a fleet on the store, by default a new file; kill what is left of it at the end."""
    made = Fleet(folder, lease, store or str(folder / "jobs.db"))
    try:
        yield made
    finally:
        for worker in made.workers:
            with suppress(ProcessLookupError):
                worker.send_signal(signal.SIGKILL)
        await asyncio.gather(*(worker.communicate() for worker in made.workers))
