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
