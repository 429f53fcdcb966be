"""Stores that fail, before or after they did what was asked."""

import asyncio
import logging
import re
import threading
from collections.abc import Sequence
from datetime import timedelta
from typing import Literal

import pytest

from rexecutor import BackendError, ErrorKind, Executor, InMemoryBackend, Job, JobStatus, Rexecutor, enqueue_many
from rexecutor.backend.exchange import CancelRequest, Claim, Demand, Heartbeat, Node
from rexecutor.engine.lease import Lease
from rexecutor.job import JobId, NodeId
from rexecutor.outcome import Interrupted, Settlement
from rexecutor.testing import FakeClock
from tests.support import record_of, soon, until

SECOND = timedelta(seconds=1)
Moment = Literal["before", "after"]


class Flaky(InMemoryBackend):
    """Fails the next calls of a verb, before the work is done or after."""

    def __init__(self, clock: FakeClock | None = None) -> None:
        super().__init__(clock=clock)
        self.failing: dict[str, list[Moment]] = {"claim": [], "settle": [], "beat": []}
        self.poison: set[JobId] = set()
        self.beaten = threading.Event()
        self.hung = threading.Event()
        self.hung.set()
        self.claiming = asyncio.Event()
        self.may_claim = asyncio.Event()
        self.may_claim.set()

    def _next(self, verb: str) -> Moment | None:
        return self.failing[verb].pop(0) if self.failing[verb] else None

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        moment = self._next("claim")
        if moment == "before":
            raise BackendError("no connection")
        claim = await super().claim(demand, node_id)
        if claim.jobs:
            self.claiming.set()
            await self.may_claim.wait()
        if moment == "after" and claim.jobs:
            raise BackendError("connection cut before the answer")
        if moment == "after":
            self.failing["claim"].insert(0, "after")
        return claim

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        moment = self._next("settle")
        if moment == "before" or self.poison & {settlement.job_id for settlement in settlements}:
            raise BackendError("no connection")
        refused = await super().settle(settlements)
        if moment == "after":
            raise BackendError("connection cut before the answer")
        return refused

    def beat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        if self._next("beat"):
            self.beaten.set()
            raise BackendError("no connection")
        self.hung.wait(20)
        return super().beat(node, rescues=rescues)


class Recorder(Executor[int]):
    name = "recorder"
    max_attempts = 1

    def __init__(self) -> None:
        self.ran: list[int] = []

    async def execute(self, job: Job[int]) -> None:
        self.ran.append(job.data)


async def test_jobs_whose_claim_was_not_answered_are_given_back_and_run_once() -> None:
    backend, recorder = Flaky(), Recorder()
    backend.failing["claim"] = ["after"]
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(5)], backend=backend)

    async with Rexecutor(backend).with_executor(recorder):
        jobs = [await soon(handle.wait()) for handle in handles]

    assert sorted(recorder.ran) == [0, 1, 2, 3, 4]
    assert {(job.status, job.attempt) for job in jobs} == {(JobStatus.COMPLETE, 1)}
    assert (await record_of(backend, handles[0].id)).claims == 2


@pytest.mark.parametrize("moment", ["before", "after"])
async def test_outcomes_are_delivered_again_until_they_are_recorded(
    moment: Moment, caplog: pytest.LogCaptureFixture
) -> None:
    backend, recorder = Flaky(), Recorder()
    backend.failing["settle"] = [moment, moment]
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(5)], backend=backend)

    async with Rexecutor(backend).with_executor(recorder):
        jobs = [await soon(handle.wait()) for handle in handles]

    assert sorted(recorder.ran) == [0, 1, 2, 3, 4]
    assert {job.status for job in jobs} == {JobStatus.COMPLETE}
    assert "no longer ours" not in caplog.text


async def test_an_outage_is_two_log_lines_however_long_it_lasts(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "rexecutor")
    backend, recorder = Flaky(), Recorder()
    backend.failing["claim"] = ["before"] * 4

    async with Rexecutor(backend).with_executor(recorder):
        await soon((await Recorder.builder().with_data(1).enqueue(backend=backend)).wait())

    assert caplog.text.count("claim fails") == 1
    assert caplog.text.count("claim succeeds again after 4 failures") == 1


async def test_an_outcome_that_the_store_never_takes_does_not_hold_up_the_others() -> None:
    backend, recorder = Flaky(), Recorder()
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(20)], backend=backend)
    backend.poison = {handles[7].id}

    async with Rexecutor(backend).with_executor(recorder):
        for handle in handles[:7] + handles[8:]:
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE
        assert (await handles[7].fetch()).status is JobStatus.EXECUTING
        backend.poison = set()
        await soon(handles[7].wait())


async def test_a_node_that_cannot_renew_its_lease_cancels_its_jobs_and_claims_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    backend = Flaky(clock)
    hung, ended = asyncio.Event(), asyncio.Event()

    class Hung(Executor[None]):
        name = "hung"

        async def execute(self, job: Job[None]) -> None:
            if job.attempt == 1 and not ended.is_set():
                hung.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    ended.set()

    async with Rexecutor(backend).with_executor(Hung):
        handle = await Hung.builder().enqueue(backend=backend)
        await soon(hung.wait())
        backend.failing["beat"] = ["before"] * 1_000
        for _ in range(26):
            backend.beaten.clear()
            clock.advance(SECOND)
            await asyncio.to_thread(backend.beaten.wait, 0.2)
        await soon(ended.wait())
        await until(lambda: "claims nothing, cancelled 1 jobs" in caplog.text)
        second = await Hung.builder().enqueue(backend=backend)
        await asyncio.to_thread(backend.beaten.wait, 0.2)
        assert (await second.fetch()).status is JobStatus.SCHEDULED

        backend.failing["beat"] = []
        for _ in range(3):
            clock.advance(2 * SECOND)
            await asyncio.to_thread(lambda: None)
        job = await soon(handle.wait())
        await soon(second.wait())

    assert job.status is JobStatus.COMPLETE


async def test_jobs_of_a_node_that_died_are_rescued_and_its_late_outcome_is_refused(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    backend, recorder = InMemoryBackend(clock=clock), Recorder()
    dead = Node("dead", "a node that died", 30 * SECOND)
    backend.beat(dead)
    handle = await Recorder.builder().with_data(1).with_max_attempts(2).enqueue(backend=backend)
    claim = await backend.claim(Demand({"recorder": 1}, 1), "dead")
    clock.advance(31 * SECOND)

    async with Rexecutor(backend).with_executor(recorder):
        job = await soon(handle.wait())

    assert [error.kind for error in job.errors] == [ErrorKind.LOST]
    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert "rescued 1 jobs" in caplog.text
    late = Settlement(handle.id, claim.jobs[0].claims, Interrupted())
    assert await backend.settle([late]) == [handle.id]
    assert (await handle.fetch()).status is JobStatus.COMPLETE


async def test_a_job_that_has_ended_and_waits_to_be_recorded_is_not_given_back() -> None:
    backend, recorder = Flaky(), Recorder()

    async with Rexecutor(backend).with_executor(recorder):
        first = await Recorder.builder().with_data(1).enqueue(backend=backend)
        backend.poison = {first.id}
        await until(lambda: recorder.ran == [1])
        backend.failing["claim"] = ["after"]
        second = await Recorder.builder().with_data(2).enqueue(backend=backend)
        await until(lambda: recorder.ran == [1, 2])
        assert (await first.fetch()).status is JobStatus.EXECUTING
        backend.poison = set()
        jobs = [await soon(handle.wait()) for handle in (first, second)]

    assert recorder.ran == [1, 2]
    assert [job.status for job in jobs] == [JobStatus.COMPLETE] * 2
    assert (await record_of(backend, first.id)).claims == 1


async def test_jobs_that_a_claim_brings_after_the_shutdown_began_are_given_back_unharmed() -> None:
    backend, recorder = Flaky(), Recorder()
    backend.may_claim.clear()
    rexecutor = Rexecutor(backend).with_executor(recorder)
    await rexecutor.start()
    handles = await enqueue_many([Recorder.builder().with_data(number) for number in range(5)], backend=backend)
    await soon(backend.claiming.wait())

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    await asyncio.wait((shutdown,), timeout=0.05)
    backend.may_claim.set()
    await soon(shutdown)

    records = [await record_of(backend, handle.id) for handle in handles]
    assert recorder.ran == []
    assert {(record.status, record.attempt, record.errors) for record in records} == {(JobStatus.SCHEDULED, 0, ())}


async def test_a_claim_whose_answer_is_lost_at_the_shutdown_is_given_back() -> None:
    backend = Flaky()
    backend.failing["claim"] = ["after"]
    backend.may_claim.clear()
    rexecutor = Rexecutor(backend).with_executor(Recorder())
    await rexecutor.start()
    handle = await Recorder.builder().with_data(1).enqueue(backend=backend)
    await soon(backend.claiming.wait())

    shutdown = asyncio.ensure_future(rexecutor.graceful_shutdown())
    await asyncio.wait((shutdown,), timeout=0.05)
    backend.may_claim.set()
    await soon(shutdown)

    record = await record_of(backend, handle.id)
    assert (record.status, record.attempt) == (JobStatus.SCHEDULED, 0)


async def test_a_job_cancelled_before_its_first_step_ends_at_once_and_frees_its_slot() -> None:
    backend, recorder = Flaky(), Recorder()

    class Cancelling(Flaky):
        """Tells of the cancel in the very moment in which it hands the job over."""

        async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
            claim = await InMemoryBackend.claim(self, demand, node_id)
            loop = asyncio.get_running_loop()
            for record in claim.jobs:
                if record.data == "1":
                    await self.cancel(record.id, "at once")
                    request = CancelRequest(record.id, record.claims, "at once")
                    node = rexecutor._run.node if rexecutor._run else None
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


async def test_a_job_that_is_claimed_again_while_its_old_code_runs_ends_by_its_new_run() -> None:
    release, started = threading.Event(), threading.Semaphore(0)

    class Slow(Executor[None]):
        name = "slow"
        blocking = True
        max_concurrency = 2

        def timeout(self, job: Job[None]) -> timedelta | None:
            return SECOND / 20 if job.attempt == 1 else None

        def backoff(self, job: Job[None]) -> timedelta:
            return timedelta(0)

        def execute(self, job: Job[None]) -> None:
            started.release()
            if job.attempt == 1:
                release.wait(20)
            else:
                release.set()  # the old code ends while the new runs
                second_may_end.wait(20)

    second_may_end = threading.Event()
    backend = InMemoryBackend()
    async with Rexecutor(backend).with_executor(Slow) as rexecutor:
        handle = await Slow.builder().enqueue(backend=backend)
        await until(lambda: started._value >= 2)
        node = rexecutor._run.node if rexecutor._run else None
        assert node is not None
        await until(lambda: len(node._runner._running) == 1)
        second_may_end.set()
        job = await soon(handle.wait())
        await until(lambda: not node._runner._running)
        again = await soon((await Slow.builder().enqueue(backend=backend)).wait())

    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert again.status is JobStatus.COMPLETE


async def test_a_log_handler_that_raises_stops_no_job(caplog: pytest.LogCaptureFixture) -> None:
    backend, recorder = InMemoryBackend(), Recorder()

    def broken(_: logging.LogRecord) -> bool:
        raise OSError("no space left on device")

    logger = logging.getLogger("rexecutor")
    logger.addFilter(broken)
    caplog.set_level("DEBUG", "rexecutor")
    try:
        async with Rexecutor(backend, max_concurrency=1).with_executor(recorder):
            for number in range(3):
                handle = await Recorder.builder().with_data(number).enqueue(backend=backend)
                assert (await soon(handle.wait())).status is JobStatus.COMPLETE
    finally:
        logger.removeFilter(broken)


async def test_a_node_whose_beat_hangs_cancels_its_jobs_and_can_be_shut_down(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("rexecutor.engine.node.DELIVERY", timedelta(seconds=0.2))
    backend, hung = Flaky(), asyncio.Event()

    class Hung(Executor[None]):
        name = "hung"

        async def execute(self, job: Job[None]) -> None:
            hung.set()
            await asyncio.Event().wait()

    rexecutor = Rexecutor(backend, lease=timedelta(seconds=0.6)).with_executor(Hung)
    await rexecutor.start()
    await Hung.builder().enqueue(backend=backend)
    await soon(hung.wait())

    backend.hung.clear()
    await until(lambda: "claims nothing, cancelled 1 jobs" in caplog.text)
    await soon(rexecutor.graceful_shutdown())

    backend.hung.set()


async def test_where_the_duties_are_cancelled_from_outside_the_lease_is_given_up() -> None:
    backend, stuck = InMemoryBackend(), asyncio.Event()

    class Stuck(Executor[None]):
        name = "stuck"

        async def execute(self, job: Job[None]) -> None:
            stuck.set()
            await asyncio.Event().wait()

    rexecutor = Rexecutor(backend).with_executor(Stuck)
    await rexecutor.start()
    await Stuck.builder().enqueue(backend=backend)
    await soon(stuck.wait())
    node = rexecutor._run.node if rexecutor._run else None
    assert node is not None
    assert node._duties is not None

    node._duties.cancel()

    await until(lambda: not backend._leases)
    await soon(rexecutor.graceful_shutdown())


async def test_claims_go_on_after_more_outcomes_were_waiting_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rexecutor.engine.dispatcher.MOST_UNSETTLED", 5)
    backend, recorder = Flaky(), Recorder()
    backend.failing["settle"] = ["before", "before"]
    await enqueue_many([Recorder.builder().with_data(number) for number in range(100)], backend=backend)

    async with Rexecutor(backend, max_concurrency=20).with_executor(recorder):
        await until(lambda: len(recorder.ran) == 100)


async def test_a_leap_of_the_wall_clock_rescues_nobody_who_lives() -> None:
    clock = FakeClock()
    backend, hung = InMemoryBackend(clock=clock), asyncio.Event()

    class Hung(Executor[None]):
        name = "hung"

        async def execute(self, job: Job[None]) -> None:
            hung.set()
            await asyncio.Event().wait()

    async with Rexecutor(backend).with_executor(Hung), Rexecutor(backend) as other:
        handle = await Hung.builder().enqueue(backend=backend)
        await soon(hung.wait())
        node = other._run.node if other._run else None
        assert node is not None
        await until(lambda: node._lease.is_trusted)
        lease, heart = Lease(Node("third", "third", 30 * SECOND), backend.heart(), clock), backend.heart()
        lease.step()

        clock.jump(timedelta(hours=1))
        clock.advance(5 * SECOND)
        heartbeat = lease.step()
        heart.close()

        assert heartbeat is not None
        assert heartbeat.rescued == 0
        assert (await record_of(backend, handle.id)).status is JobStatus.EXECUTING
        await other.graceful_shutdown()
        await handle.cancel("done")
        for _ in range(3):
            clock.advance(6 * SECOND)
            await asyncio.to_thread(lambda: None)
        await soon(handle.wait())


async def test_a_node_that_was_given_up_for_lost_cancels_what_it_ran_and_works_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    clock = FakeClock()
    backend, hung, cancelled = InMemoryBackend(clock=clock), asyncio.Event(), asyncio.Event()

    class Hung(Executor[int]):
        name = "hung"

        async def execute(self, job: Job[int]) -> None:
            if job.attempt == 1:
                hung.set()
                try:
                    await asyncio.Event().wait()
                finally:
                    cancelled.set()

    async with Rexecutor(backend).with_executor(Hung):
        handle = await Hung.builder().with_data(1).enqueue(backend=backend)
        await soon(hung.wait())
        backend._leases.clear()  # as if the process had stood still for longer than its lease
        assert backend.beat(Node("other", "other", timedelta(hours=1))).rescued == 1

        clock.advance(6 * SECOND)
        await soon(cancelled.wait())
        job = await soon(handle.wait())

    assert (job.status, job.attempt, [error.kind for error in job.errors]) == (JobStatus.COMPLETE, 2, [ErrorKind.LOST])
    assert re.search("cancelled [12] jobs", caplog.text)  # 2 where it had claimed the rescued job once more already
