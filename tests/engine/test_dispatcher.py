"""How many jobs a node claims, and how often it asks."""

from rexecutor import Backend, JobStatus, Rexecutor, enqueue_many
from rexecutor.testing import FakeClock
from tests.engine.executors import HOUR, SECOND, Quick, Waiting, has_ended_by_and_by, pass_time, works
from tests.fault_injector import FaultInjector
from tests.support import Events, soon, status_of, until


async def test_no_more_jobs_are_claimed_than_can_run(backend: Backend) -> None:
    waiting = Waiting()
    await enqueue_many([Waiting.builder()] * 250, backend=backend)

    async with Rexecutor(backend).with_executor(waiting):
        await until(lambda: waiting.runs >= 100)
        counts = {count.status: count.jobs for count in await backend.count()}
        waiting.let_go.set()
        await until(lambda: waiting.runs == 250)

    assert counts == {JobStatus.EXECUTING: 100, JobStatus.SCHEDULED: 150}


async def test_a_claim_takes_as_many_jobs_as_there_are_slots(backend: Backend) -> None:
    faults = FaultInjector(backend)
    handles = await enqueue_many([Quick.builder()] * 1_000, backend=backend)

    async with Rexecutor(backend).with_executor(Quick):
        await soon(handles[-1].wait())

    assert faults.calls["claim"] <= 50


async def test_a_job_of_the_future_is_awaited_in_peace(backend: Backend, clock: FakeClock) -> None:
    faults = FaultInjector(backend)
    handle = await Quick.builder().schedule_in(10 * SECOND + SECOND / 100).enqueue(backend=backend)

    async with Rexecutor(backend).with_executor(Quick):
        await until(lambda: faults.calls["wait_ready"] > 0)
        await pass_time(clock, 10 * SECOND)
        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED
        asked = faults.calls["claim"]
        clock.advance(SECOND / 100)
        await soon(handle.wait())

    assert asked <= 15


async def test_an_outage_is_no_busy_loop_and_two_events(backend: Backend, clock: FakeClock, events: Events) -> None:
    faults = FaultInjector(backend)

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        assert await works(backend)
        faults.break_down("claim", "wait_ready")
        await pass_time(clock, 2 * SECOND, faults=faults)
        before = faults.calls["claim"]
        handle = await Quick.builder().enqueue(backend=backend)
        await pass_time(clock, 40 * SECOND, faults=faults)
        asked = faults.calls["claim"] - before
        assert await status_of(backend, handle.id) is JobStatus.SCHEDULED
        faults.repair()
        await until(lambda: has_ended_by_and_by(backend, clock, handle.id))

    assert 0 < asked <= 20
    assert len(events.failures("claim")) == 1
    assert len(events.recoveries("claim")) == 1


async def test_a_paused_executor_is_no_busy_loop_and_its_jobs_start_when_it_is_resumed(
    backend: Backend, clock: FakeClock
) -> None:
    faults = FaultInjector(backend)
    await Quick.pause_jobs("why not", backend=backend)
    waiting = await enqueue_many([Quick.new()] * 300, backend=backend)

    async with Rexecutor(backend, executors=[Quick, Waiting]):
        await until(lambda: faults.calls["wait_ready"] > 0)
        before = faults.calls["claim"]
        await pass_time(clock, 10 * SECOND)
        asked = faults.calls["claim"] - before
        statuses = {await status_of(backend, handle.id) for handle in waiting}
        assert await Quick.resume_jobs(backend=backend)
        await soon(waiting[-1].wait())

    assert asked <= 15
    assert statuses == {JobStatus.SCHEDULED}


async def test_other_jobs_run_while_an_executor_is_paused(backend: Backend) -> None:
    await Waiting.pause_jobs("why not", backend=backend)
    await enqueue_many([Waiting.new()] * 300, backend=backend)
    handles = await enqueue_many([Quick.new()] * 300, backend=backend)

    async with Rexecutor(backend, max_concurrency=2, executors=[Quick, Waiting]):
        for handle in handles:
            await soon(handle.wait())
        executing = [count for count in await backend.count() if count.status is JobStatus.EXECUTING]

    assert executing == []
