"""An event loop that ends cancels all tasks and waits for them: `asyncio.run` does, and a server that is in a hurry.

The jobs that run are then given back, as by a shutdown, and no outcome is lost.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Final

import pytest

from rexecutor import Backend, JobStatus, Rexecutor
from tests.backends import BACKENDS, made_backend
from tests.engine.gated import Gated
from tests.support import record_of, soon, until, until_no_threads_of_ours


async def nothing(_: Rexecutor) -> None:
    """Leave it running."""


async def a_lifespan(rexecutor: Rexecutor) -> None:
    """Shut it down in a task that waits until then, as the lifespan of an application does."""

    async def lifespan() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await rexecutor.graceful_shutdown()

    lives.append(asyncio.ensure_future(lifespan()))
    await asyncio.wait(lives[-1:], timeout=0)


async def a_shutdown(rexecutor: Rexecutor) -> None:
    """Begin to shut it down, which waits for the job."""
    lives.append(asyncio.ensure_future(rexecutor.graceful_shutdown()))
    await until(lambda: rexecutor.health().status == "stopping")


lives: Final[list[asyncio.Future[None]]] = []
"""Kept from the garbage collector; they end with their loops."""

BEFORE: Final[Mapping[str, Callable[[Rexecutor], Awaitable[None]]]] = {
    "nothing": nothing,
    "a lifespan": a_lifespan,
    "a shutdown": a_shutdown,
}
"""What the application does about its `Rexecutor` before all tasks are cancelled."""


def status_after(store: str, folder: Path, backend: Backend, job_id: int) -> tuple[JobStatus, int, int]:
    """Return the job's status, how many attempts it has used, and how many errors it has."""

    async def read() -> tuple[JobStatus, int, int]:
        async with backend if store == "memory" else made_backend(store, folder) as opened:
            record = await record_of(opened, job_id)
        return record.status, record.attempt, len(record.errors)

    return asyncio.run(read())


@pytest.mark.parametrize("store", BACKENDS)
@pytest.mark.parametrize("before", BEFORE)
def test_a_job_that_runs_is_given_back(store: str, before: str, tmp_path: Path) -> None:
    backend = made_backend(store, tmp_path)
    rexecutor = Rexecutor(backend, executors=[gated := Gated()])

    async def main() -> int:
        await rexecutor.start()
        handle = await Gated.enqueue("x", max_attempts=1, backend=backend)
        await soon(gated.started.wait())
        await BEFORE[before](rexecutor)
        return handle.id

    job_id = asyncio.run(main())

    assert gated.cancelled == 1
    assert status_after(store, tmp_path, backend, job_id) == (JobStatus.SCHEDULED, 0, 0)
    backend.close_sync()
    asyncio.run(until_no_threads_of_ours())
