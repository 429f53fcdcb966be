"""What runs for everybody carries nobody's context: no request's trace is in a job or in the work of another."""

import asyncio
import contextvars
import threading
from contextlib import AbstractContextManager, nullcontext
from contextvars import ContextVar
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from rexecutor import Backend, InMemoryBackend, Job, JobStatus, Rexecutor, override_global_backend
from rexecutor.backend.current import current_backend
from rexecutor.model.job import NodeId
from rexecutor.testing import FakeClock
from tests.engine.in_children import InChild
from tests.engine.scripted import SECOND, Blocking, Scripted, until_status
from tests.support import soon, until

trace: ContextVar[str] = ContextVar("trace", default="none")


async def test_what_was_set_at_the_start_is_in_no_job(backend: Backend) -> None:
    seen: list[str] = []
    kinds = Scripted(lambda _: seen.append(trace.get())), Blocking(lambda _: seen.append(trace.get()))
    trace.set("start-up")

    async with Rexecutor(backend).with_executor(kinds[0]).with_executor(kinds[1]):
        for kind in kinds:
            await soon((await kind.builder().with_data("x").enqueue(backend=backend)).wait())

    assert seen == ["none", "none"]


async def test_jobs_of_concurrent_requests_have_no_trace_of_any(backend: Backend) -> None:
    seen: list[str] = []

    async def request(number: int) -> None:
        trace.set(f"request {number}")
        await Scripted.builder().with_data("x").enqueue(backend=backend)

    async with Rexecutor(backend).with_executor(Scripted(lambda _: seen.append(trace.get()))):
        await soon(asyncio.gather(*(request(number) for number in range(20))))
        await until(lambda: len(seen) == 20)

    assert seen == ["none"] * 20


async def test_a_timer_that_all_jobs_share_carries_the_context_of_none(backend: Backend, clock: FakeClock) -> None:
    """They share a timer, which the job with the earliest deadline has set."""
    seen: list[str] = []
    begun, let_go = threading.Event(), threading.Event()

    def hang(_: Job[str]) -> None:
        begun.set()
        let_go.wait(20)

    class Hanging(Blocking):
        name = "hanging"
        max_attempts = 2

        def timeout(self, job: Job[str]) -> timedelta:
            trace.set("job")
            return SECOND

        def backoff(self, job: Job[str]) -> timedelta:
            seen.append(trace.get())
            return SECOND

    async with Rexecutor(backend).with_executor(Hanging(hang)):
        handle = await Hanging.builder().with_data("x").enqueue(backend=backend)
        await until(begun.is_set)
        clock.advance(2 * SECOND)
        await until_status(backend, handle.id, JobStatus.RETRYABLE)
        let_go.set()

    assert seen == ["none"]


async def test_the_store_is_asked_by_a_node_without_the_context_of_its_start(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim, settle, seen = backend.claim, backend.settle, set[str]()

    async def claims(demand: Any, node: NodeId) -> Any:
        seen.add(f"claim {trace.get()}")
        return await claim(demand, node)

    async def settles(batch: Any) -> Any:
        seen.add(f"settle {trace.get()}")
        return await settle(batch)

    monkeypatch.setattr(backend, "claim", claims)
    monkeypatch.setattr(backend, "settle", settles)
    trace.set("start-up")

    async with Rexecutor(backend).with_executor(Scripted(lambda _: None)):
        await soon((await Scripted.builder().with_data("x").enqueue(backend=backend)).wait())

    assert seen == {"claim none", "settle none"}


async def test_a_child_process_keeps_nothing_of_a_job_for_the_next(tmp_path: Path) -> None:
    notes = tmp_path / "notes"

    async with Rexecutor(InMemoryBackend(), max_concurrency=1).with_executor(InChild(notes)) as rexecutor:
        for _ in range(2):
            handle = await InChild.builder().with_data("set").enqueue(backend=rexecutor.backend)
            assert (await soon(handle.wait(), 60)).status is JobStatus.COMPLETE

    lines = notes.read_text().splitlines()
    assert [line.split()[0] for line in lines if line.startswith("seen")] == ["seen-none", "seen-none"]
    assert len({line.split()[1] for line in lines}) == 1, "both ran in the same process"


async def test_jobs_find_the_backend_that_overrode_the_global_one_at_the_start() -> None:
    backend, found = InMemoryBackend(), list[Backend]()
    kinds = Scripted(lambda _: found.append(current_backend())), Blocking(lambda _: found.append(current_backend()))

    with override_global_backend(backend):
        rexecutor = Rexecutor(InMemoryBackend()).with_executor(kinds[0]).with_executor(kinds[1])
        await rexecutor.start()
    try:
        for kind in kinds:
            await soon((await kind.builder().with_data("x").enqueue(backend=rexecutor.backend)).wait())
    finally:
        await rexecutor.graceful_shutdown()

    assert found == [backend, backend]


@pytest.mark.parametrize("is_overridden_at_the_start", [False, True])
async def test_jobs_of_a_wider_fixtures_node_find_the_backend_that_a_test_overrides(
    *, is_overridden_at_the_start: bool
) -> None:
    backend, found = InMemoryBackend(), list[Backend]()
    kinds = Scripted(lambda _: found.append(current_backend())), Blocking(lambda _: found.append(current_backend()))
    rexecutor = Rexecutor(InMemoryBackend(), executors=kinds)
    fixture = override_global_backend(InMemoryBackend()) if is_overridden_at_the_start else nullcontext()
    narrower = override_global_backend(backend)

    with fixture:
        async with rexecutor:
            context = contextvars.copy_context()
            entered = await asyncio.create_task(_entered(narrower), context=context)
            for kind in kinds:
                await soon((await kind.builder().with_data("x").enqueue(backend=rexecutor.backend)).wait())
            context.run(narrower.__exit__, None, None, None)

    assert entered is backend
    assert found == [backend, backend]


async def _entered(block: AbstractContextManager[Backend]) -> Backend:
    return block.__enter__()


async def test_jobs_find_the_global_backend(backend: Backend) -> None:
    found: list[Backend] = []

    async with Rexecutor(backend).with_executor(Scripted(lambda _: found.append(current_backend()))) as rexecutor:
        rexecutor.set_global_backend()
        await soon((await Scripted.builder().with_data("x").enqueue()).wait())

    assert found == [backend]
