"""Set up executors on separate nodes: each `Rexecutor` runs the jobs of those executors that it was given.

Here three of them share an SQLite file. One enqueues and runs nothing, as a web server would, so it is no node. Each of
the others is responsible for jobs of its own. Usually they are processes (`rexecutor worker MODULE:REXECUTOR`).
"""

import asyncio
import tempfile
from pathlib import Path

from rexecutor import Executor, Job, Rexecutor, SQLiteBackend


class RefreshWorker(Executor[int]):
    """Refreshes an account."""

    name = "refresh_worker"

    def __init__(self, node: str) -> None:
        self._node = node

    async def execute(self, job: Job[int]) -> None:
        """Refresh the account."""
        print(f"{self._node}: refresh account {job.data}")


class ResizeImage(Executor[str]):
    """Resizes an image, on a powerful machine. It blocks, so it runs in a thread."""

    name = "resize_image"
    blocking = True
    max_concurrency = 2

    def __init__(self, node: str) -> None:
        self._node = node

    def execute(self, job: Job[str]) -> None:
        """Resize the image."""
        print(f"{self._node}: resize {job.data}")


async def main() -> None:
    """Start two nodes and what enqueues, and give the nodes work."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "jobs.db"
        async with (
            Rexecutor(SQLiteBackend(path)) as web,
            Rexecutor(SQLiteBackend(path), executors=[RefreshWorker("small node")]),
            Rexecutor(SQLiteBackend(path), executors=[ResizeImage("big node")], max_concurrency=2),
        ):
            refresh = await RefreshWorker.enqueue(7, backend=web.backend)
            await refresh.wait()
            resize = await ResizeImage.enqueue("cat.png", backend=web.backend)
            await resize.wait()


asyncio.run(main())
