"""How a `Rexecutor` begins and ends, and what becomes of the jobs that run then."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

import pytest

from rexecutor import (
    Backend,
    BackendError,
    ConfigurationError,
    Executor,
    InMemoryBackend,
    Job,
    JobStatus,
    Rexecutor,
    RexecutorError,
    SQLiteBackend,
    enqueue_many,
)
from rexecutor.engine.runner import Runner
from rexecutor.telemetry.events import NodeStopped
from tests.engine.executors import GatedScript, Task, enqueued_task
from tests.engine.gated import Gated
from tests.fault_injector import FaultInjector
from tests.support import Events, record_of, soon, status_of, until, until_no_threads_of_ours

SECOND = timedelta(seconds=1)


async def test_leaving_the_block_waits_for_running_jobs_and_records_them(tmp_path: Path) -> None:
    gated = Gated()

    async with SQLiteBackend(tmp_path / "jobs.db") as backend:
        async with Rexecutor(backend).with_executor(gated):
            handle = await Gated.builder().with_data("x").enqueue(backend=backend)
            await soon(gated.started.wait())
            asyncio.get_running_loop().call_later(0.05, gated.let_go.set)

        assert await status_of(backend, handle.id) is JobStatus.COMPLETE


async def test_what_is_cut_off_goes_back_with_its_attempt_and_without_an_error() -> None:
    gated, backend = Gated(), InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(gated)
    await rexecutor.start()
    handle = await Gated.builder().with_data("x").enqueue(backend=backend)
    await soon(gated.started.wait())

    await soon(rexecutor.graceful_shutdown(timeout=timedelta(0)))

    record = await record_of(backend, handle.id)
    assert (record.status, record.attempt, record.claims, record.errors) == (JobStatus.SCHEDULED, 0, 1, ())
    assert gated.cancelled == 1


async def test_a_thread_that_does_not_end_is_given_back_and_does_not_hold_the_shutdown_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rexecutor.engine.node.STOP_GRACE", 0.1)
    started, let_go = threading.Event(), threading.Event()

    class Hanging(Executor[None]):
        name = "hanging"
        blocking = True

        def execute(self, job: Job[None]) -> None:
            started.set()
            let_go.wait(30)

    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(Hanging)
    await rexecutor.start()
    handle = await Hanging.builder().enqueue(backend=backend)
    await until(started.is_set)

    await soon(rexecutor.graceful_shutdown(timeout=timedelta(0)))

    record = await record_of(backend, handle.id)
    assert (record.status, record.attempt) == (JobStatus.SCHEDULED, 0)
    let_go.set()


async def test_a_second_shutdown_waits_for_the_first_and_a_third_does_nothing() -> None:
    gated, backend = Gated(), InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(gated)
    await rexecutor.start()
    await Gated.builder().with_data("x").enqueue(backend=backend)
    await soon(gated.started.wait())

    first = asyncio.ensure_future(rexecutor.graceful_shutdown())
    second = asyncio.ensure_future(rexecutor.graceful_shutdown())
    await asyncio.wait((first, second), timeout=0.05)
    assert not first.done()
    assert not second.done()
    gated.let_go.set()
    await soon(asyncio.gather(first, second))

    await soon(rexecutor.graceful_shutdown())


async def test_after_a_shutdown_nothing_of_it_is_left(tmp_path: Path) -> None:
    tasks = asyncio.all_tasks()

    async with Rexecutor(SQLiteBackend(tmp_path / "jobs.db")).with_executor(Gated):
        pass

    assert asyncio.all_tasks() == tasks
    await until_no_threads_of_ours()


async def test_it_opens_a_backend_that_is_not_open_and_closes_what_it_opened(tmp_path: Path) -> None:
    mine = SQLiteBackend(tmp_path / "mine.db")
    theirs = SQLiteBackend(tmp_path / "theirs.db")

    async with Rexecutor(theirs):
        assert theirs.is_open
    async with mine:
        async with Rexecutor(mine):
            pass
        assert mine.is_open

    assert not theirs.is_open


async def test_it_can_be_started_again_after_it_has_ended() -> None:
    rexecutor = Rexecutor(InMemoryBackend())

    async with rexecutor:
        pass
    async with rexecutor:
        assert rexecutor.is_running


async def test_a_second_start_is_refused() -> None:
    async with Rexecutor(InMemoryBackend()) as rexecutor:
        with pytest.raises(RexecutorError, match="is already running"):
            await rexecutor.start()
        with pytest.raises(RexecutorError, match="before the start"):
            rexecutor.with_executor(Gated)


async def test_two_in_one_process_share_a_store_as_two_nodes() -> None:
    backend = InMemoryBackend()
    first, second = Gated(), Gated()

    async with (
        Rexecutor(backend, max_concurrency=1).with_executor(first),
        Rexecutor(backend, max_concurrency=1).with_executor(second),
    ):
        handles = [await Gated.builder().with_data("x").enqueue(backend=backend) for _ in range(2)]
        await soon(first.started.wait())
        await soon(second.started.wait())
        first.let_go.set()
        second.let_go.set()
        for handle in handles:
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE


async def test_a_shutdown_with_a_wrong_timeout_does_nothing_and_the_next_works() -> None:
    gated, backend = Gated(), InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(gated)
    await rexecutor.start()

    with pytest.raises(ConfigurationError, match="must be a timedelta, not 5"):
        await rexecutor.graceful_shutdown(timeout=5)  # pyright: ignore[reportArgumentType] - that is the test
    handle = await Gated.builder().with_data("x").enqueue(backend=backend)
    await soon(gated.started.wait())
    gated.let_go.set()
    await soon(rexecutor.graceful_shutdown())

    assert await status_of(backend, handle.id) is JobStatus.COMPLETE
    await until_no_threads_of_ours()


async def test_a_shutdown_whose_caller_is_cancelled_goes_on() -> None:
    gated, backend = Gated(), InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(gated)
    await rexecutor.start()
    handle = await Gated.builder().with_data("x").enqueue(backend=backend)
    await soon(gated.started.wait())
    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    await asyncio.wait((shutdown,), timeout=0.05)

    shutdown.cancel()
    await asyncio.gather(shutdown, return_exceptions=True)
    gated.let_go.set()
    await soon(rexecutor.graceful_shutdown())

    assert await status_of(backend, handle.id) is JobStatus.COMPLETE


def test_one_of_a_module_serves_one_event_loop_after_another(tmp_path: Path) -> None:
    class Short(Executor[None]):
        name = "short"

        async def execute(self, job: Job[None]) -> None:
            running.set()

    running = threading.Event()
    rexecutor = Rexecutor(SQLiteBackend(tmp_path / "jobs.db")).with_executor(Short)

    async def once() -> JobStatus:
        async with rexecutor:
            handle = await Short.builder().enqueue(backend=rexecutor.backend)
            await until(running.is_set)
            return (await soon(handle.wait())).status

    assert [asyncio.run(once()) for _ in range(3)] == [JobStatus.COMPLETE] * 3


async def test_signals_can_only_be_awaited_in_the_main_thread() -> None:
    def elsewhere() -> None:
        with pytest.raises(ConfigurationError, match="main thread"):
            asyncio.run(Rexecutor(InMemoryBackend()).run_until_signal())

    await asyncio.to_thread(elsewhere)


async def test_starting_twice_at_once_starts_one_node(tmp_path: Path) -> None:
    rexecutor = Rexecutor(SQLiteBackend(tmp_path / "jobs.db"), executors=[Gated])

    results = await asyncio.gather(rexecutor.start(), rexecutor.start(), return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["NoneType", "RexecutorError"]
    await soon(rexecutor.graceful_shutdown())
    await until_no_threads_of_ours()


async def test_a_shutdown_whose_backend_cannot_be_closed_has_ended_all_the_same(tmp_path: Path) -> None:
    class Unclosable(SQLiteBackend):
        async def close(self) -> None:
            await super().close()
            raise BackendError("the disk is gone")

    rexecutor = Rexecutor(Unclosable(tmp_path / "jobs.db"), executors=[Gated])
    await rexecutor.start()

    with pytest.raises(BackendError, match="the disk is gone"):
        await soon(rexecutor.graceful_shutdown())

    assert not rexecutor.is_running
    await rexecutor.graceful_shutdown()
    await until_no_threads_of_ours()


async def test_a_shutdown_has_ended_only_when_the_running_jobs_have(backend: Backend) -> None:
    gated = GatedScript()
    rexecutor = Rexecutor(backend).with_executor(Task(gated))
    await rexecutor.start()
    handle = await enqueued_task(backend)
    await soon(gated.started.wait())

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    done, _ = await asyncio.wait((shutdown,), timeout=0.05)
    gated.let_go.set()
    await soon(shutdown)

    assert not done
    assert await status_of(backend, handle.id) is JobStatus.COMPLETE


@pytest.mark.parametrize("is_answered", [True, False])
async def test_what_a_claim_brings_during_a_shutdown_goes_back_unharmed(backend: Backend, *, is_answered: bool) -> None:
    gated, faults = GatedScript(), FaultInjector(backend)
    answer = faults.hold("claim")
    handles = await enqueue_many([Task.builder().with_data("x") for _ in range(5)], backend=backend)
    rexecutor = Rexecutor(backend).with_executor(Task(gated))
    if not is_answered:
        faults.fail("claim", "after")
    await rexecutor.start()
    await until(lambda: faults.returned["claim"] == 1)

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    done, _ = await asyncio.wait((shutdown,), timeout=0.05)
    answer.set()
    await soon(shutdown)

    records = [await record_of(backend, handle.id) for handle in handles]
    assert not done
    assert gated.runs == 0
    assert {(record.status, record.attempt, record.claims, record.errors) for record in records} == {
        (JobStatus.SCHEDULED, 0, 1, ())
    }


async def test_a_runner_that_cannot_be_closed_holds_up_neither_the_duties_nor_the_lease(
    monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    async def fail(_: Runner) -> None:
        raise OSError("a child process cannot be ended")

    monkeypatch.setattr(Runner, "close", fail)
    tasks, backend = asyncio.all_tasks(), InMemoryBackend()
    rexecutor = Rexecutor(backend).with_executor(Gated)
    await rexecutor.start()
    await until(lambda: bool(backend._leases))

    with pytest.raises(OSError, match="cannot be ended"):
        await soon(rexecutor.graceful_shutdown())

    assert asyncio.all_tasks() == tasks
    assert not backend._leases
    assert len(events.of(NodeStopped)) == 1
    await until_no_threads_of_ours()
