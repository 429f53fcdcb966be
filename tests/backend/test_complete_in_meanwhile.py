"""`complete_in` while somebody else's change of the job is not yet committed."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import pytest

from rexecutor import Backend, BackendError, JobStatus, LeaseLostError, SQLiteBackend
from rexecutor.backend.messages import Demand, Node
from rexecutor.engine.attempt import require_ours
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import CancelAsked
from rexecutor.testing.suite.store import ALPHA, LEASE, NODE, new_job
from tests.backend import app_counter
from tests.backend.app_counter import COUNTERS, AppCounter
from tests.backend.held_back import held_back
from tests.backends import made_backend
from tests.postgres import server_url
from tests.support import record_of, soon

LIBRARIES = [name for name, (store, _) in COUNTERS.items() if store == "postgres"]


@pytest.fixture(params=LIBRARIES)
def library(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    async with made_backend("postgres", tmp_path) as made:
        yield made


@pytest.fixture
def counter(library: str, backend: Backend) -> AppCounter:
    return COUNTERS[library][1](backend)


@pytest.fixture
async def job(backend: Backend) -> JobRecord:
    """A job that a node runs."""
    return await executing(backend)


async def executing(backend: Backend) -> JobRecord:
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.send(Node(NODE, "here", LEASE))
    await backend.enqueue([new_job()])
    [job] = (await backend.claim(Demand({ALPHA: 1}, 1), NODE)).jobs
    return job


async def complete(backend: Backend, counter: AppCounter, job: JobRecord) -> None:
    """Count and complete the job in one transaction, as `Job.complete_in` does."""
    async with counter.transaction() as connection:
        require_ours(job, holds_claim=await backend.completion().complete(job, connection))


async def test_a_completion_that_waits_for_a_cancel_or_an_update_counts(
    backend: Backend, counter: AppCounter, job: JobRecord
) -> None:
    async with held_back(backend) as held:
        await held.update(job.id, new_job(priority=7), job.version)
        await held.apply(job.id, CancelAsked("not wanted"))
        completing = asyncio.ensure_future(complete(backend, counter, job))
        await held.waited_for()
    await soon(completing)

    record = await record_of(backend, job.id)
    assert (record.status, record.priority, record.cancel_reason) == (JobStatus.COMPLETE, 7, None)
    assert counter.count() == 1


async def test_a_completion_that_waits_while_the_job_is_taken_away_is_refused(
    backend: Backend, counter: AppCounter, job: JobRecord
) -> None:
    async with held_back(backend) as held:
        await held.release_claims(NODE)
        completing = asyncio.ensure_future(complete(backend, counter, job))
        await held.waited_for()
    with pytest.raises(LeaseLostError):
        await soon(completing)

    assert (await record_of(backend, job.id)).status is JobStatus.SCHEDULED
    assert counter.count() == 0


async def test_a_transaction_that_stays_open_does_not_hold_up_a_node_that_gives_other_claims_back(
    backend: Backend, counter: AppCounter, job: JobRecord
) -> None:
    lost = await executing(backend)

    async with counter.transaction() as connection:
        assert await backend.completion().complete(job, connection)
        given_back = await soon(backend.release_claims(NODE, [job.claim_id]))

    assert given_back == 1
    assert (await record_of(backend, lost.id)).status is JobStatus.SCHEDULED
    assert (await record_of(backend, job.id)).status is JobStatus.COMPLETE


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_in_a_transaction_with_an_older_snapshot_it_is_a_serialization_failure(
    backend: Backend, counter: AppCounter, job: JobRecord, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_counter, "server_url", lambda: with_isolation(level))

    async with held_back(backend) as held:
        await held.apply(job.id, CancelAsked("not wanted"))
        completing = asyncio.ensure_future(complete(backend, counter, job))
        await held.waited_for()
    with pytest.raises(BackendError, match="could not serialize access due to concurrent update"):
        await soon(completing)

    record = await record_of(backend, job.id)
    assert (record.status, record.cancel_reason) == (JobStatus.EXECUTING, "not wanted")
    assert counter.count() == 0
    await complete(backend, counter, job)
    assert (await record_of(backend, job.id)).status is JobStatus.COMPLETE


@pytest.mark.parametrize("level", ["repeatable read", "serializable"])
async def test_nor_is_a_job_lost_whose_claim_is_younger_than_the_transaction(
    backend: Backend, counter: AppCounter, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app_counter, "server_url", lambda: with_isolation(level))

    async def claim_within() -> None:
        async with counter.transaction() as connection:
            await backend.completion().complete(await executing(backend), connection)

    with pytest.raises(BackendError, match=rf"\({level}\) began before job 1 was claimed; roll it back"):
        await claim_within()

    assert (await record_of(backend, 1)).status is JobStatus.EXECUTING
    assert counter.count() == 0


def with_isolation(level: str) -> str:
    """Return the server's URL with another default for transactions."""
    url = server_url()
    level = level.replace(" ", "%5C%20")
    return f"{url}{'&' if '?' in url else '?'}options=-c%20default_transaction_isolation%3D{level}"


async def test_on_sqlite_a_completion_waits_for_the_change_and_counts(tmp_path: Path) -> None:
    async with made_backend("sqlite", tmp_path) as backend:
        assert isinstance(backend, SQLiteBackend)
        job = await executing(backend)
        path, completion = backend.path, backend.completion()

        def complete_alone() -> bool:
            with closing(sqlite3.connect(path)) as connection, connection:
                return completion.complete_sync(job, connection)

        async with held_back(backend) as held:
            await held.apply(job.id, CancelAsked("not wanted"))
            completing = asyncio.ensure_future(asyncio.to_thread(complete_alone))
            await held.waited_for()
            assert not completing.done()
        assert await soon(completing)

        assert (await record_of(backend, job.id)).status is JobStatus.COMPLETE


async def test_on_sqlite_a_transaction_that_read_before_the_change_is_told_of_the_lock(tmp_path: Path) -> None:
    async with made_backend("sqlite", tmp_path) as backend:
        assert isinstance(backend, SQLiteBackend)
        job = await executing(backend)
        with closing(sqlite3.connect(backend.path)) as connection:
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM rexecutor_jobs").fetchone()
            await backend.cancel(job.id, "not wanted")

            with pytest.raises(BackendError, match="database is locked"):
                backend.completion().complete_sync(job, connection)
