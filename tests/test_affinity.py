"""Uses from a child process, from another event loop, and after the loop has ended: a clear error, and no harm."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Generator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecutor import Executor, InMemoryBackend, Job, JobStatus, Rexecutor, RexecutorError
from rexecutor.backend.base import Backend
from rexecutor.backend.postgres import PostgresBackend
from rexecutor.errors import BackendClosedError
from tests.backends import made_backend
from tests.support import soon, until_no_threads_of_ours

STORES = ["sqlite", "postgres"]
SECOND = timedelta(seconds=1)


class Noop(Executor[None]):
    name = "noop"

    async def execute(self, job: Job[None]) -> None: ...


@contextmanager
def as_in_a_child() -> Generator[None]:
    """Let the process's number be another, as after a fork."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "getpid", lambda: -1)
        yield


async def in_another_loop(act: Callable[[], Coroutine[Any, Any, object]]) -> None:
    """Do it in a loop of another thread's."""
    await soon(asyncio.to_thread(lambda: asyncio.run(act())))


async def works(backend: Backend) -> bool:
    """Whether a job of it is run."""
    handle = await Noop.builder().enqueue(backend=backend)
    return (await soon(handle.wait())).status is JobStatus.COMPLETE


async def test_a_child_process_may_not_end_what_its_parent_runs() -> None:
    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(Noop) as rexecutor:
        with as_in_a_child():
            assert not rexecutor.is_running
            for act in (rexecutor.graceful_shutdown, rexecutor.run_until_signal, rexecutor.start):
                with pytest.raises(RexecutorError, match="started in another process; make one in the child"):
                    await act()
            with pytest.raises(RexecutorError, match="with_executor: this Rexecutor was started in another process"):
                rexecutor.with_executor(Noop)

        assert await works(backend)


async def test_another_loop_may_not_end_what_the_first_runs() -> None:
    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(Noop) as rexecutor:
        for act in (rexecutor.graceful_shutdown, rexecutor.run_until_signal):
            with pytest.raises(RexecutorError, match="started in another event loop; call it there"):
                await in_another_loop(act)

        assert rexecutor.is_running
        assert await works(backend)


@pytest.mark.parametrize("store", STORES)
def test_what_a_closed_loop_has_left_behind_can_be_shut_down(store: str, tmp_path: Path) -> None:
    backend = made_backend(store, tmp_path)
    rexecutor = Rexecutor(backend).with_executor(Noop).set_global_backend()
    asyncio.run(rexecutor.start())
    assert not rexecutor.is_running

    asyncio.run(rexecutor.graceful_shutdown(SECOND))

    assert not backend.is_open
    asyncio.run(_run_once(rexecutor.set_global_backend()))


@pytest.mark.parametrize("store", STORES)
def test_what_a_closed_loop_has_left_behind_can_be_started_again(store: str, tmp_path: Path) -> None:
    rexecutor = Rexecutor(made_backend(store, tmp_path)).with_executor(Noop)
    asyncio.run(rexecutor.start())

    asyncio.run(_run_once(rexecutor))


async def _run_once(rexecutor: Rexecutor) -> None:
    async with rexecutor:
        assert await works(rexecutor.backend)
    await until_no_threads_of_ours()


async def test_a_shutdown_that_is_over_is_harmless_anywhere() -> None:
    rexecutor = Rexecutor(InMemoryBackend())
    async with rexecutor:
        pass

    await in_another_loop(rexecutor.graceful_shutdown)
    with as_in_a_child():
        await rexecutor.graceful_shutdown()


@pytest.mark.parametrize("store", STORES)
async def test_a_close_in_a_child_process_leaves_the_parents_alone(store: str, tmp_path: Path) -> None:
    async with made_backend(store, tmp_path) as backend, Rexecutor(backend).with_executor(Noop):
        with as_in_a_child():
            await backend.close()

        assert backend.is_open
        assert await works(backend)


@pytest.mark.parametrize("store", STORES)
def test_a_backend_whose_loop_is_closed_can_be_closed_and_opened_again(store: str, tmp_path: Path) -> None:
    backend = made_backend(store, tmp_path)
    asyncio.run(_open_and_enqueue(backend))

    asyncio.run(backend.close())
    asyncio.run(backend.close())

    assert not backend.is_open
    asyncio.run(_work(backend))


async def _open_and_enqueue(backend: Backend) -> None:
    await backend.open()
    await Noop.builder().enqueue(backend=backend)


async def _work(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Noop):
        assert await works(backend)


def test_a_postgres_backend_whose_loop_is_closed_is_not_open_and_opens_anew(tmp_path: Path) -> None:
    backend = made_backend("postgres", tmp_path)
    asyncio.run(_open_and_enqueue(backend))

    assert not backend.is_open
    with pytest.raises(BackendClosedError, match="not open"):
        asyncio.run(_enqueue(backend))
    asyncio.run(_work(backend))


async def _enqueue(backend: Backend) -> None:
    await Noop.builder().enqueue(backend=backend)


async def test_a_postgres_backend_is_for_the_loop_of_its_opening(tmp_path: Path) -> None:
    async with made_backend("postgres", tmp_path) as backend:
        handle = await Noop.builder().enqueue(backend=backend)
        for act in (lambda: handle.wait(SECOND), lambda: _enqueue(backend), backend.close):
            with pytest.raises(
                BackendClosedError, match=r"opened in another event loop; use it there, or .* `enqueue_sync`"
            ):
                await in_another_loop(act)

        assert isinstance(backend, PostgresBackend)
        assert backend.is_open
        assert (await handle.fetch()).status is JobStatus.SCHEDULED


async def test_a_postgres_backend_closed_before_a_fork_is_the_childs_to_open(tmp_path: Path) -> None:
    backend = made_backend("postgres", tmp_path)
    async with backend:
        pass

    with as_in_a_child(), pytest.raises(BackendClosedError, match="not open"):
        await _enqueue(backend)


@pytest.mark.parametrize("store", STORES)
async def test_a_second_loop_may_not_start_what_shares_the_firsts_backend(store: str, tmp_path: Path) -> None:
    backend = made_backend(store, tmp_path)
    async with Rexecutor(backend).with_executor(Noop):
        with pytest.raises(BackendClosedError, match="opened in another event loop"):
            await in_another_loop(Rexecutor(backend).with_executor(Noop).start)

        assert await works(backend)

    assert not backend.is_open


async def test_what_a_closed_loop_has_left_open_hears_of_other_handles_when_it_is_opened_again(tmp_path: Path) -> None:
    backend = made_backend("sqlite", tmp_path)
    await in_another_loop(backend.open)
    await backend.open()
    since = backend.change_count

    async with made_backend("sqlite", tmp_path) as other:
        await _enqueue(other)
    await soon(backend.wait_ready(["noop"], backend.clock.now() + timedelta(hours=1), since=since))

    await backend.close()
    await until_no_threads_of_ours()
