"""An outcome that is settled at one backend wakes those who wait for it at another, and nobody else.

The clock stands still, so that no wait ends because it polls.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest

from rexecutor.backend.postgres import PostgresBackend
from rexecutor.backend.postgres.hearing import ANNOUNCE_SECONDS, AWAITED_SECONDS
from rexecutor.backend.postgres.notifying import AWAITED, ENDED, GIVEN_BACK
from rexecutor.backend.postgres.statements import channel_of
from rexecutor.model.job import JobId, JobRecord
from rexecutor.model.outcomes import Complete, Interrupted, Outcome, Settlement, Snooze
from rexecutor.model.status import JobStatus
from rexecutor.testing import FakeClock
from rexecutor.testing.suite.store import (
    ALPHA,
    BETA,
    HOUR,
    LEASE,
    OTHER_NODE,
    SECOND,
    Store,
    cancelled,
    failed,
    new_job,
)
from tests.postgres import Migrated, postgres_backend, server_url, until_it_listens
from tests.support import record_of, soon, until


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def near(tmp_path: Path, clock: FakeClock) -> AsyncIterator[Store]:
    """A node's backend, which listens as nodes do."""

    def open_backend() -> Migrated:
        return postgres_backend(tmp_path, clock)

    async with open_backend() as backend:
        await until_it_listens(backend)
        store = Store(backend, clock, open_backend, shares_store=True)
        yield store
        store.close()


@pytest.fixture
async def far(near: Store) -> AsyncIterator[PostgresBackend]:
    """The backend of an application that waits."""
    async with near.another_backend() as backend:
        assert isinstance(backend, PostgresBackend)
        yield backend


def start_wait(backend: PostgresBackend, *ids: JobId) -> "asyncio.Task[dict[JobId, JobRecord | None]]":
    async def wait() -> dict[JobId, JobRecord | None]:
        found: dict[JobId, JobRecord | None] = {}
        await backend.waits.wait(ids, found.update)
        return found

    return asyncio.ensure_future(wait())


def backend_of(store: Store) -> PostgresBackend:
    assert isinstance(store.backend, PostgresBackend)
    return store.backend


async def heard(near: Store) -> None:
    """Wait until the node has heard that somebody waits."""
    await until(lambda: backend_of(near)._hearing.is_awaited)


async def announced(backend: PostgresBackend) -> None:
    """Wait until the backend has announced that somebody waits."""
    await until(lambda: backend._hearing.announced >= 0)


@asynccontextmanager
async def notifications(backend: PostgresBackend) -> AsyncGenerator[list[str]]:
    """Collect what is sent on the channel of the schema, except what a listener sends to itself."""
    heard: list[str] = []
    async with await psycopg.AsyncConnection.connect(server_url(), autocommit=True) as connection:
        await connection.execute(f"LISTEN {channel_of(backend.schema)}".encode())

        async def listen() -> None:
            async for one in connection.notifies():
                if not one.payload.startswith("~"):
                    heard.append(one.payload)  # noqa: PERF401 - it is read meanwhile

        listening = asyncio.ensure_future(listen())
        yield heard
        listening.cancel()
        await asyncio.wait((listening,))


async def all_heard(backend: PostgresBackend, sent: list[str]) -> list[str]:
    """Return what was sent until now."""
    await backend._notifier.flush()
    await backend._notify(["end"])
    await until(lambda: "end" in sent)
    return sent[: sent.index("end")]


@pytest.mark.parametrize("outcome", [Complete(), cancelled(), failed()], ids=lambda outcome: type(outcome).__name__)
async def test_an_outcome_at_one_backend_ends_a_wait_at_another(
    near: Store, far: PostgresBackend, outcome: Outcome
) -> None:
    [job] = await near.executing(new_job(max_attempts=1))
    waiting = start_wait(far, job.id)
    await heard(near)

    settled = await near.settle(job, outcome)

    assert await soon(waiting) == {job.id: settled}


async def test_an_outcome_before_the_wait_was_announced_ends_it_too(near: Store, far: PostgresBackend) -> None:
    for _ in range(5):
        [job] = await near.executing()
        waiting = start_wait(far, job.id)
        settled = await near.settle(job, Complete())

        assert await soon(waiting) == {job.id: settled}


async def test_a_cancel_ends_a_wait_at_another_backend(near: Store, far: PostgresBackend, tmp_path: Path) -> None:
    def cancel_sync(job_id: JobId) -> None:
        closed = postgres_backend(tmp_path, near.clock)
        closed.cancel_sync(job_id, "enough")
        closed.close_sync()

    async def cancel(job_id: JobId) -> None:
        await near.backend.cancel(job_id, "enough")

    async def cancel_in_a_thread(job_id: JobId) -> None:
        await asyncio.to_thread(cancel_sync, job_id)

    for act in (cancel, cancel_in_a_thread):
        [job_id] = await near.enqueue(new_job(delay=HOUR))
        waiting = start_wait(far, job_id)
        await announced(far)

        await act(job_id)

        assert await soon(waiting) == {job_id: await record_of(far, job_id)}


async def test_a_job_completed_in_the_applications_transaction_ends_a_wait_when_it_is_settled(
    near: Store, far: PostgresBackend
) -> None:
    [job] = await near.executing()
    waiting = start_wait(far, job.id)
    await heard(near)
    async with await psycopg.AsyncConnection.connect(server_url()) as connection:
        assert await near.backend.completion().complete(job, connection)

    assert await near.backend.settle([Settlement(*job.claim_id, failed())]) == [job.id]

    assert (await soon(waiting)).keys() == {job.id}


async def test_a_heartbeat_tells_of_jobs_that_it_ends_and_of_no_others(near: Store) -> None:
    async def told_after(step: timedelta) -> list[str]:
        near.clock.advance(step)
        async with notifications(backend_of(near)) as sent:
            near.heartbeat(OTHER_NODE)
            return await all_heard(backend_of(near), sent)

    [job] = await near.executing(new_job(max_attempts=2))
    [late] = await near.enqueue(new_job(BETA, expires_in=HOUR))
    await backend_of(near)._notifier.flush()

    told_of_a_rescue = await told_after(LEASE)
    near.heartbeat()
    assert [again.id for again in await near.claim()] == [job.id]
    told_of_a_discard = await told_after(LEASE)
    told_of_an_expiry = await told_after(HOUR)

    assert (told_of_a_rescue, told_of_a_discard, told_of_an_expiry) == ([], [ENDED], [ENDED])
    assert [(await near.job(each)).status for each in (job.id, late)] == [JobStatus.DISCARDED, JobStatus.CANCELLED]


async def test_nobody_is_told_of_an_outcome_that_nobody_waits_for(near: Store) -> None:
    async with notifications(backend_of(near)) as sent:
        jobs = await near.executing(new_job(), new_job())

        for job in jobs:
            await near.settle(job, Complete())

        assert set(await all_heard(backend_of(near), sent)) == {ALPHA}


async def test_an_outcome_that_ends_no_job_is_told_to_nobody(near: Store, far: PostgresBackend) -> None:
    [job, other] = await near.executing(new_job(), new_job())
    waiting = start_wait(far, job.id)
    await heard(near)
    async with notifications(backend_of(near)) as sent:
        await near.settle(other, Snooze(HOUR))

        assert await all_heard(backend_of(near), sent) == []
        await near.settle(job, Complete())
        await soon(waiting)


async def test_an_outcome_is_told_of_although_others_of_its_batch_are_given_back(
    near: Store, far: PostgresBackend
) -> None:
    job, other = await near.executing(new_job(), new_job())
    waiting = start_wait(far, job.id)
    await heard(near)
    await backend_of(near)._notifier.flush()
    async with notifications(backend_of(near)) as sent:
        await near.settle_all([Settlement(*job.claim_id, Complete()), Settlement(*other.claim_id, Interrupted())])

        assert set(await all_heard(backend_of(near), sent)) == {ENDED, GIVEN_BACK}
    await soon(waiting)


async def test_a_backend_that_waits_for_its_own_jobs_tells_nobody(near: Store) -> None:
    [job] = await near.executing()
    async with notifications(backend_of(near)) as sent:
        waiting = start_wait(backend_of(near), job.id)
        await announced(backend_of(near))
        await near.settle(job, Complete())
        await soon(waiting)

        assert [payload[:1] for payload in await all_heard(backend_of(near), sent)] == [AWAITED]


async def test_a_wait_is_announced_every_ten_seconds_and_forgotten_after_thirty(
    near: Store, far: PostgresBackend, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    check_ended = far.check_ended

    async def counted(ids: Collection[JobId]) -> Mapping[JobId, JobRecord | JobStatus]:
        nonlocal looks
        found = await check_ended(ids)
        looks += 1
        return found

    monkeypatch.setattr(far, "check_ended", counted)
    [job] = await near.executing()
    waiting = start_wait(far, job.id)
    await heard(near)
    async with notifications(far) as sent:
        for _ in range(int(3 * ANNOUNCE_SECONDS)):
            before = looks
            clock.advance(SECOND)
            await until(lambda before=before: looks > before)

        assert await all_heard(far, sent) == [far._hearing.token] * 3
    waiting.cancel()
    await until(lambda: backend_of(near)._hearing.awaited == clock.monotonic())

    clock.advance(timedelta(seconds=AWAITED_SECONDS) - SECOND)
    assert backend_of(near)._hearing.is_awaited
    clock.advance(SECOND)
    assert not backend_of(near)._hearing.is_awaited


async def test_an_end_is_no_reason_to_ask_for_work(near: Store, far: PostgresBackend) -> None:
    since = near.backend.change_count
    ready = asyncio.ensure_future(near.backend.wait_ready([ALPHA], near.now + HOUR, since=since))

    await far._notify([ENDED, far._hearing.token])

    await until(lambda: near.backend.change_count == since + 2)
    assert not ready.done()
    await near.enqueue(new_job())
    await soon(ready)


async def test_jobs_that_a_heartbeat_cancels_wake_who_waits_for_ends_and_nobody_who_waits_for_work(
    tmp_path: Path, clock: FakeClock
) -> None:
    async with postgres_backend(tmp_path, clock, listens=False) as deaf:
        store = Store(deaf, clock, lambda: deaf, shares_store=True)
        [job_id] = await store.enqueue(new_job(expires_in=SECOND))
        clock.jump(SECOND)
        since = deaf.change_count
        ready = asyncio.ensure_future(deaf.wait_ready([ALPHA], store.now + HOUR, since=since))
        ended = asyncio.ensure_future(deaf.wait_ended(store.now + HOUR, since=since))
        await until(lambda: clock.waiting == 2)

        store.heartbeat()
        store.close()

        await soon(ended)
        assert (await store.job(job_id)).status is JobStatus.CANCELLED
        assert not ready.done()
        await store.enqueue(new_job())
        await soon(ready)


async def test_without_notifications_a_wait_ends_within_a_second(near: Store, tmp_path: Path, clock: FakeClock) -> None:
    async with postgres_backend(tmp_path, clock, listens=False) as deaf:
        [job] = await near.executing()
        waiting = start_wait(deaf, job.id)
        await until(lambda: clock.waiting > 0)
        settled = await near.settle(job, Complete())

        while not waiting.done():
            await asyncio.wait((waiting,), timeout=0.05)
            clock.advance(SECOND)

        assert waiting.result() == {job.id: settled}
        assert not backend_of(near)._hearing.is_awaited
