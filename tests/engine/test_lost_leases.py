"""Nodes that cannot renew their leases, and what becomes of their jobs."""

import asyncio
import threading
from datetime import timedelta

import pytest

from rexecutor import Backend, BackendError, ErrorKind, Executor, InMemoryBackend, Job, JobStatus, Rexecutor
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import Demand, Heartbeat, Node
from rexecutor.engine.lease import Lease
from rexecutor.model.outcomes import Interrupted, Settlement
from rexecutor.telemetry.events import JobsRescued, LeaseLost, LeaseRegained
from rexecutor.testing import FakeClock
from tests.engine.executors import LEASE, Recorder, Task, claimed_task, enqueued_task
from tests.fault_injector import FaultInjector
from tests.support import Events, record_of, soon, until

SECOND = timedelta(seconds=1)


async def test_a_node_that_cannot_renew_its_lease_cancels_its_jobs_and_claims_nothing(
    events: Events,
) -> None:
    clock = FakeClock()
    backend = InMemoryBackend(clock=clock)
    faults = FaultInjector(backend)
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
        faults.break_down("heartbeat")
        for _ in range(26):
            faults.heartbeat_failed.clear()
            clock.advance(SECOND)
            await asyncio.to_thread(faults.heartbeat_failed.wait, 0.2)
        await soon(ended.wait())
        await until(lambda: [one.cancelled for one in events.of(LeaseLost)] == [1])
        second = await Hung.builder().enqueue(backend=backend)
        await asyncio.to_thread(faults.heartbeat_failed.wait, 0.2)
        assert (await second.fetch()).status is JobStatus.SCHEDULED

        faults.repair()
        for _ in range(3):
            clock.advance(2 * SECOND)
            await asyncio.to_thread(lambda: None)
        job = await soon(handle.wait())
        await soon(second.wait())

    assert job.status is JobStatus.COMPLETE


async def test_jobs_of_a_node_that_died_are_rescued_and_its_late_outcome_is_refused(
    events: Events,
) -> None:
    clock = FakeClock()
    backend, recorder = InMemoryBackend(clock=clock), Recorder()
    dead = Node("dead", "a node that died", 30 * SECOND)
    backend.heartbeat(dead)
    handle = await Recorder.builder().with_data(1).with_max_attempts(2).enqueue(backend=backend)
    claim = await backend.claim(Demand({"recorder": 1}, 1), "dead")
    clock.advance(31 * SECOND)

    async with Rexecutor(backend).with_executor(recorder):
        job = await soon(handle.wait())

    assert [error.kind for error in job.errors] == [ErrorKind.LOST]
    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert events.of(JobsRescued) == [JobsRescued(1)]
    late = Settlement(handle.id, claim.jobs[0].claims, Interrupted())
    assert await backend.settle([late]) == [handle.id]
    assert (await handle.fetch()).status is JobStatus.COMPLETE


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
        node = rexecutor._lifetime.node if rexecutor._lifetime else None
        assert node is not None
        await until(lambda: len(node._runner._attempts) == 1)
        second_may_end.set()
        job = await soon(handle.wait())
        await until(lambda: not node._runner._attempts)
        again = await soon((await Slow.builder().enqueue(backend=backend)).wait())

    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert again.status is JobStatus.COMPLETE


async def test_a_node_whose_beat_hangs_cancels_its_jobs_and_can_be_shut_down(
    monkeypatch: pytest.MonkeyPatch, events: Events
) -> None:
    monkeypatch.setattr("rexecutor.engine.node.DELIVERY_TIMEOUT", timedelta(seconds=0.2))
    backend, hung = InMemoryBackend(), asyncio.Event()
    faults = FaultInjector(backend)

    class Hung(Executor[None]):
        name = "hung"

        async def execute(self, job: Job[None]) -> None:
            hung.set()
            await asyncio.Event().wait()

    rexecutor = Rexecutor(backend, lease=timedelta(seconds=0.6)).with_executor(Hung)
    await rexecutor.start()
    await Hung.builder().enqueue(backend=backend)
    await soon(hung.wait())

    may_go_on = faults.hang_heartbeats()
    await until(lambda: [one.cancelled for one in events.of(LeaseLost)] == [1])
    await soon(rexecutor.graceful_shutdown())

    may_go_on.set()


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
    node = rexecutor._lifetime.node if rexecutor._lifetime else None
    assert node is not None
    assert node._duties is not None

    node._duties.cancel()

    await until(lambda: not backend._leases)
    await soon(rexecutor.graceful_shutdown())


async def test_a_leap_of_the_wall_clock_rescues_nobody_who_lives() -> None:
    clock = FakeClock()
    backend, hung = InMemoryBackend(clock=clock), asyncio.Event()

    class Hung(Executor[None]):
        name = "hung"

        async def execute(self, job: Job[None]) -> None:
            hung.set()
            await asyncio.Event().wait()

    class Idle(Executor[None]):
        name = "idle"

        async def execute(self, job: Job[None]) -> None: ...

    async with Rexecutor(backend).with_executor(Hung), Rexecutor(backend).with_executor(Idle) as other:
        handle = await Hung.builder().enqueue(backend=backend)
        await soon(hung.wait())
        node = other._lifetime.node if other._lifetime else None
        assert node is not None
        await until(lambda: node._lease.is_trusted)
        lease, heartbeats = (
            Lease(Node("third", "third", 30 * SECOND), backend.heartbeat_connection(), clock),
            backend.heartbeat_connection(),
        )
        lease.step()

        clock.jump(timedelta(hours=1))
        clock.advance(5 * SECOND)
        heartbeat = lease.step()
        heartbeats.close()

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
    events: Events,
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
        assert backend.heartbeat(Node("other", "other", timedelta(hours=1))).rescued == 1

        clock.advance(6 * SECOND)
        await soon(cancelled.wait())
        job = await soon(handle.wait())

    assert (job.status, job.attempt, [error.kind for error in job.errors]) == (JobStatus.COMPLETE, 2, [ErrorKind.LOST])
    assert events.of(LeaseLost)[0].cancelled in (1, 2)  # 2 if it had claimed the rescued job once more already


async def test_a_lease_that_began_anew_is_not_trusted_until_the_jobs_of_the_last_one_have_been_stopped() -> None:
    clock = FakeClock()
    backend = InMemoryBackend(clock=clock)
    lease = Lease(Node("n", "n", LEASE), backend.heartbeat_connection(), clock)
    lease.step()
    lease.accept()
    assert lease.is_trusted

    clock.advance(2 * LEASE)
    backend.heartbeat(Node("other", "other", LEASE))
    heartbeat = lease.step()

    assert heartbeat is not None
    assert heartbeat.began
    assert not lease.is_trusted
    lease.accept()
    assert lease.is_trusted


class _Deaf(HeartbeatConnection):
    """Heartbeats whose answers may be lost."""

    def __init__(self, heartbeats: HeartbeatConnection) -> None:
        self._heartbeats = heartbeats
        self.is_deaf = False

    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        heartbeat = self._heartbeats.send(node, rescues=rescues)
        if self.is_deaf:
            raise BackendError("cut before the answer")
        return heartbeat

    def deregister(self, node_id: str) -> None: ...

    def close(self) -> None: ...


@pytest.mark.parametrize("stood", [LEASE, LEASE - SECOND])
def test_if_the_answer_was_lost_that_a_lease_began_anew_the_next_one_says_it(stood: timedelta) -> None:
    clock = FakeClock()
    backend = InMemoryBackend(clock=clock)
    heartbeats = _Deaf(backend.heartbeat_connection())
    lease = Lease(Node("n", "n", LEASE), heartbeats, clock)
    lease.step()
    clock.advance(stood)
    backend.heartbeat(Node("other", "other", LEASE))  # rescues the jobs, if the lease has run out
    heartbeats.is_deaf = True
    with pytest.raises(BackendError):
        lease.step()
    heartbeats.is_deaf = False

    heartbeat = lease.step()

    assert heartbeat is not None
    assert heartbeat.began == (stood == LEASE)


async def test_jobs_whose_claim_is_answered_after_the_lease_began_anew_do_not_start_under_it(events: Events) -> None:
    clock = FakeClock()
    backend, recorder = InMemoryBackend(clock=clock), Recorder()
    faults = FaultInjector(backend)
    may_go_on = faults.hold("claim")

    async with Rexecutor(backend).with_executor(recorder):
        handle = await Recorder.builder().with_data(1).with_max_attempts(2).enqueue(backend=backend)
        await until(lambda: faults.held["claim"] == 1)
        backend._leases.clear()  # as if the process had stood still for longer than its lease
        assert backend.heartbeat(Node("other", "other", timedelta(hours=1))).rescued == 1
        clock.advance(6 * SECOND)
        await until(lambda: bool(events.of(LeaseRegained)))
        may_go_on.set()
        job = await soon(handle.wait())

    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert recorder.ran == [1]


async def test_a_job_whose_node_died_runs_on_another(backend: Backend, clock: FakeClock) -> None:
    handle = await enqueued_task(backend)
    lost = await claimed_task(backend, "a node that dies")
    assert (lost.node, lost.attempted_at) == ("a node that dies", clock.now())
    clock.advance(LEASE)

    async with Rexecutor(backend).with_executor(Task):
        job = await soon(handle.wait())

    assert (job.status, job.attempt) == (JobStatus.COMPLETE, 2)
    assert [error.kind for error in job.errors] == [ErrorKind.LOST]
