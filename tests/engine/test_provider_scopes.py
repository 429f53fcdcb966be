"""What providers make for a worker: once for all its jobs, closed after the last, whatever the providers do."""

import asyncio
import sys
import threading
from collections.abc import AsyncGenerator, Callable, Generator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecutor import ErrorKind, Executor, InMemoryBackend, Job, JobStatus, Rexecutor
from rexecutor.engine import node
from rexecutor.jobs.providers import Provide, Provider, provided, provided_sync
from rexecutor.telemetry.events import LoopBlocked, NodeStopped, ProviderNotClosed
from rexecutor.testing import FakeClock, drain
from tests.engine.in_children import Borrowing
from tests.engine.scripted import SECOND, until_status
from tests.support import Events, record_of, soon

NO_GRACE = timedelta(0)


class Using(Executor[str]):
    """Uses the value of a provider."""

    name = "using"
    max_attempts = 2

    def __init__(self, provider: Provider, used: Callable[[Any], None] = lambda _: None) -> None:
        self._needs = {"value": Provide(provider, scope="worker")}
        self._used = used

    async def execute(self, job: Job[str]) -> None:
        async with provided(self._needs, ()) as values:
            self._used(values["value"])

    def backoff(self, job: Job[str]) -> timedelta:
        return timedelta(0)

    def timeout(self, job: Job[str]) -> timedelta | None:
        return SECOND if job.data == "slow" else None


class UsingInThread(Executor[str]):
    """Uses the value of a provider in a thread."""

    name = "using_in_thread"
    blocking = True

    def __init__(self, provider: Provider, used: Callable[[Any], None] = lambda _: None) -> None:
        self._needs = {"value": Provide(provider, scope="worker")}
        self._used = used

    def execute(self, job: Job[str]) -> None:
        with provided_sync(self._needs, ()) as values:
            self._used(values["value"])


async def one_job(backend: InMemoryBackend, kind: type[Executor[str]], data: str = "x") -> Job[str, Any, Any]:
    return await soon((await kind.builder().with_data(data).enqueue(backend=backend)).wait())


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node, "CLOSE_TIMEOUT", 0.2)


async def test_tasks_and_threads_of_a_worker_share_a_value_that_is_closed_after_the_last_job(events: Events) -> None:
    log: list[str] = []
    used: list[object] = []

    async def resource() -> AsyncGenerator[object]:
        log.append("open")
        yield object()
        log.append("close")

    def plain() -> Generator[object]:
        log.append("open plain")
        yield object()
        log.append(f"close plain in {threading.current_thread().name}")

    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(Using(resource, used.append))
    rexecutor = rexecutor.with_executor(UsingInThread(plain, used.append))
    async with rexecutor:
        for _ in range(3):
            for kind in (Using, UsingInThread):
                assert (await one_job(backend, kind)).status is JobStatus.COMPLETE
        assert log == ["open", "open plain"]

    assert log == ["open", "open plain", "close plain in rexecutor provider", "close"]
    assert len(used) == 6
    assert len(set(map(id, used))) == 2
    assert events.of(ProviderNotClosed) == []
    assert isinstance(events[-1], NodeStopped)


@pytest.mark.parametrize("error", [OSError("not yet"), SystemExit(3)])
@pytest.mark.parametrize("is_async", [True, False])
async def test_the_attempt_of_a_job_fails_with_its_provider_and_the_next_one_tries_again(
    error: BaseException, is_async: bool
) -> None:
    failures = [None, error]

    def make() -> str:
        if failure := failures.pop():
            raise failure
        return "made"

    async def make_in_loop() -> str:
        return make()

    backend, used = InMemoryBackend(), list[str]()
    async with Rexecutor(backend).with_executor(Using(make_in_loop if is_async else make, used.append)):
        job = await one_job(backend, Using)

    assert (job.status, used) == (JobStatus.COMPLETE, ["made"])
    assert [one.type_name for one in job.errors] == [type(error).__name__]


@pytest.mark.usefixtures("_short")
async def test_a_provider_that_never_returns_costs_a_job_its_timeout_and_the_shutdown_no_more_than_it_may(
    clock: FakeClock, events: Events
) -> None:
    begun = asyncio.Event()

    async def hang() -> str:
        begun.set()
        await asyncio.Event().wait()
        return "never"

    backend = InMemoryBackend(clock=clock)
    rexecutor = Rexecutor(backend).with_executor(Using(hang))
    await rexecutor.start()
    handle = await Using.builder().with_data("slow").with_max_attempts(1).enqueue(backend=backend)
    await soon(begun.wait())
    clock.advance(SECOND)
    await until_status(backend, handle.id, JobStatus.DISCARDED)
    await soon(rexecutor.graceful_shutdown(NO_GRACE), 10)

    assert [error.kind for error in (await record_of(backend, handle.id)).errors] == [ErrorKind.TIMEOUT]
    assert isinstance(events[-1], NodeStopped)


@pytest.mark.usefixtures("_short")
async def test_a_value_that_does_not_close_is_reported_and_keeps_no_other_from_being_closed(events: Events) -> None:
    closed: list[str] = []

    async def good() -> AsyncGenerator[str]:
        yield "good"
        closed.append("good")

    async def hanging() -> AsyncGenerator[str]:
        yield "hanging"
        await asyncio.Event().wait()

    async def exiting() -> AsyncGenerator[str]:
        yield "exiting"
        raise SystemExit(3)

    class UsingThree(Using):
        name = "using_three"

        async def execute(self, job: Job[str]) -> None:
            needs = {one.__name__: Provide(one, scope="worker") for one in (good, hanging, exiting)}
            async with provided(needs, ()):
                pass

    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(UsingThree(good))
    await rexecutor.start()
    assert (await one_job(backend, UsingThree)).status is JobStatus.COMPLETE
    await soon(rexecutor.graceful_shutdown(NO_GRACE), 10)

    reported = [(one.provider.rpartition(".")[2], type(one.error)) for one in events.of(ProviderNotClosed)]
    assert reported == [("exiting", SystemExit), ("hanging", TimeoutError)]
    assert closed == ["good"]
    assert isinstance(events[-1], NodeStopped)


@pytest.mark.usefixtures("_short")
async def test_a_value_of_a_thread_that_does_not_close_blocks_neither_the_loop_nor_the_shutdown(events: Events) -> None:
    let_go = threading.Event()

    def hanging() -> Generator[str]:
        yield "hanging"
        let_go.wait(20)

    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(UsingInThread(hanging))
    await rexecutor.start()
    assert (await one_job(backend, UsingInThread)).status is JobStatus.COMPLETE
    await soon(rexecutor.graceful_shutdown(NO_GRACE), 10)
    let_go.set()

    assert [type(one.error) for one in events.of(ProviderNotClosed)] == [TimeoutError]
    assert events.of(LoopBlocked) == []


async def test_a_drain_is_a_worker_too() -> None:
    log: list[str] = []

    def plain() -> Generator[str]:
        log.append("open")
        yield "plain"
        log.append("close")

    backend = InMemoryBackend()
    for data in ("a", "b"):
        await Using.builder().with_data(data).enqueue(backend=backend)

    await drain(Using(plain, log.append), backend=backend)

    assert log == ["open", "plain", "plain", "close"]


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")
async def test_a_child_process_has_a_scope_of_its_own_and_closes_it_at_its_end(tmp_path: Path) -> None:
    notes, backend = tmp_path / "notes", InMemoryBackend()

    async with Rexecutor(backend).with_executor(Borrowing):
        for _ in range(2):
            handle = await Borrowing.builder().with_data(str(notes)).enqueue(backend=backend)
            assert (await soon(handle.wait(), 60)).status is JobStatus.COMPLETE

    lines = notes.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["used-1", "used-2", "closed"]
    assert len({line.split()[1] for line in lines}) == 1
