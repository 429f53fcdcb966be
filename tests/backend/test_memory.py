"""The in-memory backend: the suite, the model, and what is its own."""

import asyncio
import threading
from datetime import timedelta
from pathlib import Path

from rexecutor import Executor, Job, UniquenessCriteria, enqueue_many
from rexecutor.backend.memory import InMemoryBackend
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.where import Everything
from rexecutor.testing import BackendSuite, FakeClock, model_of
from rexecutor.testing.suite.store import ALPHA, NODE, new_job
from tests.support import soon


class TestInMemoryBackend(BackendSuite):
    def open_backend(self, clock: FakeClock, store: Path) -> InMemoryBackend:
        return InMemoryBackend(clock=clock)


TestInMemoryModel = model_of(TestInMemoryBackend)

LEASE = timedelta(seconds=30)


async def test_it_needs_no_opening() -> None:
    backend = InMemoryBackend()

    await backend.enqueue([new_job()])

    assert backend.is_open


async def test_jobs_stay_when_it_is_closed_and_opened_again() -> None:
    backend = InMemoryBackend()
    async with backend:
        await backend.enqueue([new_job()])

    async with backend:
        assert len(await backend.query(Everything())) == 1


async def test_while_paused_it_hands_out_nothing_and_keeps_everything() -> None:
    backend = InMemoryBackend().paused()
    backend.heartbeat(Node(NODE, "host", LEASE))
    await backend.enqueue([new_job(), new_job()])

    claim = await backend.claim(Demand({ALPHA: 5}, 5), NODE)

    assert list(claim.jobs) == []
    assert len(await backend.query(Everything())) == 2


async def test_paused_answers_the_backend_itself() -> None:
    backend = InMemoryBackend()

    assert backend.paused() is backend


async def test_beats_in_another_thread_leave_the_work_alone() -> None:
    backend = InMemoryBackend()
    ended = threading.Event()
    backend.heartbeat(Node(NODE, "host", LEASE))
    await backend.enqueue([new_job()] * 500)

    def live() -> None:
        heartbeats = backend.heartbeat_connection()
        while not ended.is_set():
            heartbeats.send(Node(NODE, "host", LEASE))

    beating = asyncio.ensure_future(asyncio.to_thread(live))
    claimed: list[int] = []
    while jobs := (await backend.claim(Demand({ALPHA: 3}, 3), NODE)).jobs:
        claimed += [job.id for job in jobs]
    ended.set()
    await beating

    assert claimed == list(range(1, 501))


class Mail(Executor[str]):
    name = "mail"

    async def execute(self, job: Job[str]) -> None: ...


async def test_many_unique_jobs_in_memory_are_enqueued_in_no_time() -> None:
    builder = Mail.builder().with_data("a")
    builders = [builder.unique(UniquenessCriteria.by_key(number)) for number in range(5_000)]

    handles = await soon(enqueue_many(builders, backend=InMemoryBackend()), 10)

    assert {handle.disposition for handle in handles} == {"inserted"}
