"""The fence: an outcome or a cancel that comes too late changes nothing."""

from rexecutor import Backend, JobStatus, Rexecutor
from rexecutor.backend.messages import Node
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.testing import FakeClock
from tests.engine.executors import LEASE, Task, claimed_task, enqueued_task
from tests.support import record_of, soon


async def test_a_late_outcome_overwrites_no_newer_attempt(backend: Backend, clock: FakeClock) -> None:
    handle = await enqueued_task(backend)
    old = await claimed_task(backend, "paused")
    clock.advance(LEASE)
    new = await claimed_task(backend, "other")

    refused = await backend.settle([Settlement(old.id, old.claims, Complete())])

    assert refused == [handle.id]
    assert await record_of(backend, handle.id) == new


async def test_a_late_success_does_not_make_a_cancelled_job_complete(backend: Backend, clock: FakeClock) -> None:
    handle = await enqueued_task(backend)
    old = await claimed_task(backend, "paused")
    clock.advance(LEASE)
    heartbeats = backend.heartbeat_connection()
    assert heartbeats.send(Node("other", "other", LEASE)).rescued == 1
    heartbeats.close()
    await handle.cancel("not wanted")

    refused = await backend.settle([Settlement(old.id, old.claims, Complete())])

    job = await handle.fetch()
    assert refused == [handle.id]
    assert (job.status, job.cancelled_at, job.completed_at) == (JobStatus.CANCELLED, clock.now(), None)


async def test_a_cancel_leaves_a_complete_job_complete(backend: Backend) -> None:
    async with Rexecutor(backend).with_executor(Task):
        handle = await enqueued_task(backend)
        complete = await soon(handle.wait())

    assert await handle.cancel("too late") is JobStatus.COMPLETE
    assert await handle.fetch() == complete
