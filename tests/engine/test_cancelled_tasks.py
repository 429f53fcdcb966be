"""An event loop that ends cancels all tasks and waits for them: `asyncio.run` does, and a server that is in a hurry.

The jobs that run are then given back, as by a shutdown, and no outcome is lost.
"""

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

import pytest

from rexecutor import Backend, InMemoryBackend, Job, JobStatus, Rexecutor
from rexecutor.engine.node import RunningNode
from rexecutor.model.job import JobRecord
from rexecutor.testing import FakeClock
from tests.backends import BACKENDS, made_backend
from tests.engine.gated import Gated
from tests.engine.scripted import Blocking, Scripted
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


async def node_of(rexecutor: Rexecutor) -> RunningNode:
    """Start it and return its node, once it may claim jobs."""
    await rexecutor.start()
    node = rexecutor._lifetime.node if rexecutor._lifetime else None
    assert node is not None
    await until(lambda: node._lease.is_trusted)
    return node


def test_a_job_that_was_claimed_but_has_not_begun_is_given_back(tmp_path: Path) -> None:
    backend = InMemoryBackend(clock=FakeClock())
    rexecutor = Rexecutor(backend, executors=[gated := Gated()])

    async def main() -> int:
        node = await node_of(rexecutor)
        handle = await Gated.enqueue("x", max_attempts=1, backend=backend)
        before = node._runner.start

        def start(records: Sequence[JobRecord]) -> None:
            before(records)
            over.set()
            for task in asyncio.all_tasks():
                task.cancel()  # before the job's task has taken its first step

        node._buffer._start_jobs = start
        over = asyncio.Event()
        try:
            await soon(asyncio.Event().wait())
        except asyncio.CancelledError:
            assert over.is_set()
        return handle.id

    job_id = asyncio.run(main())

    assert not gated.started.is_set()
    assert status_after("memory", tmp_path, backend, job_id) == (JobStatus.SCHEDULED, 0, 0)


def test_a_job_in_a_thread_is_given_back_although_its_thread_goes_on(tmp_path: Path) -> None:
    backend = InMemoryBackend(clock=FakeClock())
    started, let_go = threading.Event(), threading.Event()

    def hang(_: Job[str]) -> None:
        started.set()
        let_go.wait(20)

    async def main() -> int:
        await node_of(Rexecutor(backend, executors=[Blocking(hang)]))
        handle = await Blocking.enqueue("x", backend=backend)
        await until(started.is_set)
        return handle.id

    job_id = asyncio.run(main())

    assert status_after("memory", tmp_path, backend, job_id) == (JobStatus.SCHEDULED, 0, 0)
    let_go.set()
    asyncio.run(until_no_threads_of_ours())


def test_a_job_that_raises_something_else_when_it_is_cancelled_has_failed(tmp_path: Path) -> None:
    backend = InMemoryBackend(clock=FakeClock())
    started = asyncio.Event()

    async def raise_at_the_end() -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            raise ZeroDivisionError

    async def main() -> int:
        await node_of(Rexecutor(backend, executors=[Scripted(lambda _: raise_at_the_end())]))
        handle = await Scripted.enqueue("x", backend=backend)
        await soon(started.wait())
        return handle.id

    job_id = asyncio.run(main())

    assert status_after("memory", tmp_path, backend, job_id) == (JobStatus.RETRYABLE, 1, 1)
