"""Stores that fail, before or after they did what was asked."""

import asyncio
from collections.abc import Sequence
from datetime import timedelta

import pytest

from rexecutor import Backend, InMemoryBackend, JobStatus, Rexecutor, enqueue_many
from rexecutor.backend.messages import CancelRequest, Claim, Demand
from rexecutor.model.job import JobId, NodeId
from rexecutor.model.outcomes import Settlement
from rexecutor.telemetry.events import DutyFailed, DutyRecovered, OutcomeRefused
from rexecutor.testing import FakeClock
from tests.engine.executors import HOUR, GatedScript, Quick, Recorder, Task, enqueued_task, has_ended_by_and_by
from tests.engine.gated import Gated
from tests.fault_injector import FaultInjector, Moment
from tests.support import Events, record_of, soon, status_of, until

SECOND = timedelta(seconds=1)


async def test_jobs_whose_claim_was_not_answered_are_given_back_and_run_once() -> None:
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)
    faults.fail("claim", "after")
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(5)], backend=backend)

    async with Rexecutor(backend).with_executor(recorder):
        jobs = [await soon(handle.wait()) for handle in handles]

    assert sorted(recorder.ran) == [0, 1, 2, 3, 4]
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.COMPLETE, 1)}
    assert (await record_of(backend, handles[0].id)).claims == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_outcomes_are_delivered_again_until_they_are_recorded(moment: Moment, events: Events) -> None:
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)
    faults.fail("settle", moment, moment)
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(5)], backend=backend)

    async with Rexecutor(backend).with_executor(recorder):
        jobs = [await soon(handle.wait()) for handle in handles]

    assert sorted(recorder.ran) == [0, 1, 2, 3, 4]
    assert {job.status for job in jobs} == {JobStatus.COMPLETE}
    assert events.of(OutcomeRefused) == []


async def test_an_outage_is_two_events_however_long_it_lasts(events: Events) -> None:
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)
    faults.fail("claim", "before", "before", "before", "before")

    async with Rexecutor(backend).with_executor(recorder):
        await soon((await Recorder.builder().with_data(1).enqueue(backend=backend)).wait())

    assert len(events.failures("claim")) == 1
    assert events.recoveries("claim") == [DutyRecovered("claim", 4)]


async def test_an_outcome_that_the_store_never_takes_does_not_hold_up_the_others() -> None:
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(20)], backend=backend)
    faults.poison = {handles[7].id}

    async with Rexecutor(backend).with_executor(recorder):
        for handle in handles[:7] + handles[8:]:
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE
        assert (await handles[7].fetch()).status is JobStatus.EXECUTING
        faults.poison = set()
        await soon(handles[7].wait())


async def test_a_job_that_has_ended_and_waits_to_be_recorded_is_not_given_back() -> None:
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)

    async with Rexecutor(backend).with_executor(recorder):
        first = await Recorder.builder().with_data(1).enqueue(backend=backend)
        faults.poison = {first.id}
        await until(lambda: recorder.ran == [1])
        faults.fail("claim", "after")
        second = await Recorder.builder().with_data(2).enqueue(backend=backend)
        await until(lambda: recorder.ran == [1, 2])
        assert (await first.fetch()).status is JobStatus.EXECUTING
        faults.poison = set()
        jobs = [await soon(handle.wait()) for handle in (first, second)]

    assert recorder.ran == [1, 2]
    assert [job.status for job in jobs] == [JobStatus.COMPLETE] * 2
    assert (await record_of(backend, first.id)).claims == 1


async def test_jobs_that_a_claim_brings_after_the_shutdown_began_are_given_back_unharmed() -> None:
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)
    may_claim = faults.hold("claim")
    rexecutor = Rexecutor(backend).with_executor(recorder)
    await rexecutor.start()
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(5)], backend=backend)
    await until(lambda: faults.held["claim"] == 1)

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    await asyncio.wait((shutdown,), timeout=0.05)
    may_claim.set()
    await soon(shutdown)

    records = [await record_of(backend, handle.id) for handle in handles]
    assert recorder.ran == []
    assert {(record.status, record.attempt, record.errors) for record in records} == {(JobStatus.SCHEDULED, 0, ())}


async def test_a_claim_whose_answer_is_lost_at_the_shutdown_is_given_back() -> None:
    backend = InMemoryBackend()
    faults = FaultInjector(backend)
    faults.fail("claim", "after")
    may_claim = faults.hold("claim")
    rexecutor = Rexecutor(backend).with_executor(Recorder())
    await rexecutor.start()
    handle = await Recorder.builder().with_data(1).enqueue(backend=backend)
    await until(lambda: faults.held["claim"] == 1)

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    await asyncio.wait((shutdown,), timeout=0.05)
    may_claim.set()
    await soon(shutdown)

    record = await record_of(backend, handle.id)
    assert (record.status, record.attempt) == (JobStatus.SCHEDULED, 0)


async def test_a_claim_that_gets_no_answer_does_not_keep_a_shutdown_from_cancelling_jobs() -> None:
    backend, gated = InMemoryBackend(), Gated()
    faults = FaultInjector(backend)
    rexecutor = Rexecutor(backend).with_executor(gated).with_executor(Recorder())
    await rexecutor.start()
    handle = await Gated.builder().with_data("x").enqueue(backend=backend)
    await soon(gated.started.wait())
    may_claim = faults.hold("claim")
    await Recorder.builder().with_data(1).enqueue(backend=backend)
    await until(lambda: faults.held["claim"] == 1)

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown(timedelta(0)))
    await until(lambda: gated.cancelled == 1, 5)
    may_claim.set()
    await soon(shutdown)

    record = await record_of(backend, handle.id)
    assert (record.status, record.attempt) == (JobStatus.SCHEDULED, 0)


async def test_a_job_cancelled_before_its_first_step_ends_at_once_and_frees_its_slot() -> None:
    recorder = Recorder()

    class Cancelling(InMemoryBackend):
        """Tells of the cancel in the very moment in which it hands the job over."""

        async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
            claim = await super().claim(demand, node_id)
            loop = asyncio.get_running_loop()
            for record in claim.jobs:
                if record.data == "1":
                    await self.cancel(record.id, "at once")
                    request = CancelRequest(record.id, record.claims, "at once")
                    node = rexecutor._lifetime.node if rexecutor._lifetime else None
                    assert node is not None
                    loop.call_soon(node._runner.cancel, [request])
            return claim

    backend = Cancelling()
    rexecutor = Rexecutor(backend, max_concurrency=1).with_executor(recorder)
    async with rexecutor:
        first = await Recorder.builder().with_data(1).enqueue(backend=backend)
        second = await Recorder.builder().with_data(2).enqueue(backend=backend)

        assert (await soon(first.wait(), 3)).status is JobStatus.CANCELLED
        assert (await soon(second.wait(), 3)).status is JobStatus.COMPLETE


async def test_claims_go_on_after_more_outcomes_were_waiting_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rexecutor.engine.dispatcher.MAX_UNSETTLED", 5)
    backend, recorder = InMemoryBackend(), Recorder()
    faults = FaultInjector(backend)
    faults.fail("settle", "before", "before")
    await enqueue_many([Recorder.builder().with_data(number) for number in range(100)], backend=backend)

    async with Rexecutor(backend, max_concurrency=20).with_executor(recorder):
        await until(lambda: len(recorder.ran) == 100)


class Denying(InMemoryBackend):
    """Refuses the next outcomes, although they are its jobs' own, and records nothing of them."""

    denials = 3

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        if self.denials:
            self.denials -= 1
            return [one.job_id for one in settlements]
        return await super().settle(settlements)


async def test_a_refusal_is_not_believed_while_the_job_still_runs_under_the_claim(
    events: Events,
) -> None:
    backend, recorder = Denying(), Recorder()

    async with Rexecutor(backend).with_executor(recorder):
        job = await soon((await Recorder.builder().with_data(1).enqueue(backend=backend)).wait())

    assert (job.status, recorder.ran) == (JobStatus.COMPLETE, [1])
    (failed,) = events.of(DutyFailed)
    assert f"the store refused outcomes of jobs that still execute here: [{job.id}]" in str(failed.error)
    assert events.of(OutcomeRefused) == []


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_an_outcome_that_is_not_recorded_is_delivered_again(
    backend: Backend, clock: FakeClock, moment: Moment
) -> None:
    gated, faults = GatedScript(), FaultInjector(backend)
    faults.fail("settle", moment, moment, moment)

    async def is_recorded() -> bool:
        clock.advance(SECOND)
        return await status_of(backend, handle.id) is JobStatus.COMPLETE and faults.calls["settle"] == 4

    async with Rexecutor(backend).with_executor(Task(gated)):
        handle = await enqueued_task(backend, max_attempts=1)
        await soon(gated.started.wait())
        gated.let_go.set()
        await until(lambda: faults.calls["settle"] == 1)
        await until(is_recorded)

    job = await handle.fetch()
    assert (gated.runs, job.attempt, job.errors) == (1, 1, ())


async def test_hints_that_fail_end_no_claims(backend: Backend, clock: FakeClock) -> None:
    faults = FaultInjector(backend)
    faults.break_down("wait_ready")

    async with Rexecutor(backend, lease=HOUR).with_executor(Quick):
        await until(lambda: faults.calls["wait_ready"] > 0)
        for _ in range(3):
            handle = await Quick.builder().enqueue(backend=backend)
            await until(lambda handle=handle: has_ended_by_and_by(backend, clock, handle.id))
