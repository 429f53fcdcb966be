"""`Job.complete_in`: the user's writes and the completion of the job are one transaction."""

import copy
import logging
import pickle
import sqlite3
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from msgspec.structs import replace
from psycopg import sql

from rexecutor import (
    Backend,
    BackendError,
    Cancel,
    ConfigurationError,
    ExecutionResult,
    Executor,
    InMemoryBackend,
    Job,
    JobStateError,
    JobStatus,
    LeaseLostError,
    PostgresBackend,
    Rexecutor,
    Where,
    enqueue_many,
)
from rexecutor.backend.messages import Demand, Node
from rexecutor.backend.postgres import statements
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import COMPLETE, Complete, Failed, Settlement
from rexecutor.telemetry.events import JobEnded
from rexecutor.testing import assert_result, drain, perform
from tests.backend.app_counter import COUNTERS, AppCounter, Counting, PostgresCounter, SqliteCounter, Undoing
from tests.backends import made_backend
from tests.model.records import executing
from tests.postgres import server_url
from tests.support import Events, record_of, soon


@pytest.fixture(params=COUNTERS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
async def backend(kind: str, tmp_path: Path) -> AsyncIterator[Backend]:
    async with made_backend(COUNTERS[kind][0], tmp_path) as made:
        yield made


@pytest.fixture
def counter(kind: str, backend: Backend) -> AppCounter:
    return COUNTERS[kind][1](backend)


async def run_once(backend: Backend, executor: Executor[None]) -> int:
    """Enqueue a job, run what is due, and return the job's id."""
    handle = await type(executor).builder().enqueue(backend=backend)
    await drain(executor, backend=backend)
    return handle.id


async def claimed(backend: Backend, jobs: int = 1) -> Sequence[JobRecord]:
    """Return jobs that a node runs."""
    with closing(backend.heartbeat_connection()) as heartbeats:
        heartbeats.send(Node("node", "here", timedelta(minutes=1)))
    await enqueue_many([Counting.builder()] * jobs, backend=backend)
    return (await backend.claim(Demand({Counting.name: jobs}, jobs), "node")).jobs


def fail() -> ExecutionResult:
    raise ValueError("after the commit")


@pytest.mark.parametrize("after", [None, lambda: Cancel("too late"), fail])
async def test_writes_and_completion_are_committed_together_whatever_execute_answers_then(
    backend: Backend, counter: AppCounter, after: Callable[[], ExecutionResult] | None, caplog: pytest.LogCaptureFixture
) -> None:
    job_id = await run_once(backend, Counting(counter, after=after))

    record = await record_of(backend, job_id)
    assert (record.status, record.attempt, record.errors) == (JobStatus.COMPLETE, 1, ())
    assert counter.count() == 1
    assert caplog.text == ""


@pytest.mark.parametrize("result", [None, '{"n": [1, 2.50], "text": "ž \\u0000"}'])
async def test_the_result_is_committed_with_the_completion_and_undone_with_it(
    backend: Backend, counter: AppCounter, result: str | None
) -> None:
    undone, done = await claimed(backend, 2)
    completion = backend.completion()

    async def complete_in_vain() -> None:
        async with counter.transaction() as connection:
            assert await completion.complete(undone, connection, result='"undone"')
            raise ValueError("roll back")

    with pytest.raises(ValueError, match="roll back"):
        await complete_in_vain()
    async with counter.transaction() as connection:
        assert await completion.complete(done, connection, result=result)
        assert not await completion.complete(done, connection, result='"again"')

    assert (await record_of(backend, undone.id)) == undone
    record = await record_of(backend, done.id)
    assert (record.status, record.result) == (JobStatus.COMPLETE, result)


async def test_an_error_before_the_commit_undoes_both_and_is_a_failed_attempt(
    backend: Backend, counter: AppCounter
) -> None:
    async def raise_it(_: object) -> None:
        raise ValueError("before the commit")

    job_id = await run_once(backend, Counting(counter, within=raise_it))

    record = await record_of(backend, job_id)
    assert (record.status, [error.type_name for error in record.errors]) == (JobStatus.RETRYABLE, ["ValueError"])
    assert counter.count() == 0


async def test_a_rollback_that_execute_says_nothing_of_is_a_failed_attempt(
    backend: Backend, counter: AppCounter
) -> None:
    job_id = await run_once(backend, Undoing(counter))

    record = await record_of(backend, job_id)
    assert (record.status, [error.type_name for error in record.errors]) == (JobStatus.RETRYABLE, ["NotCommitted"])
    assert counter.count() == 0


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_the_log_tells_what_the_store_has_recorded(
    backend: Backend, counter: AppCounter, caplog: pytest.LogCaptureFixture, events: Events
) -> None:
    caplog.set_level(logging.WARNING)
    async with Rexecutor(backend).with_executor(Undoing(counter)).with_executor(Counting(counter, after=fail)):
        done = await Counting.builder().enqueue(backend=backend)
        undone = await Undoing.builder().with_max_attempts(1).enqueue(backend=backend)
        jobs = [await soon(handle.wait()) for handle in (done, undone)]

    assert [job.status for job in jobs] == [JobStatus.COMPLETE, JobStatus.DISCARDED]
    assert len(caplog.messages) == 1
    (failed,) = [one.outcome for one in events.of(JobEnded) if not isinstance(one.outcome, Complete)]
    assert isinstance(failed, Failed)
    assert failed.error.type_name == "NotCommitted"


@pytest.mark.parametrize("kind", ["psycopg", "asyncpg", "sqlalchemy"])  # SQLite's one writer is in its transaction
async def test_a_worker_that_is_no_longer_the_jobs_own_cannot_commit(backend: Backend, counter: AppCounter) -> None:
    taken: list[int] = []

    async def take_it_away(job: Job[None]) -> None:
        if taken:  # the second run is let be
            return
        record = await record_of(backend, job.id)
        assert record.node is not None
        taken.append(await backend.release_claims(record.node, ()))

    executor = Counting(counter, before=take_it_away)
    job_id = await run_once(backend, executor)

    assert taken == [1]
    assert [type(error) for error in executor.raised] == [LeaseLostError]
    assert f"job {job_id} (counting)" in str(executor.raised[0])
    assert (await record_of(backend, job_id)).status is JobStatus.COMPLETE
    assert counter.count() == 1


async def test_nor_where_it_was_lost_before_the_transaction_began(backend: Backend, counter: AppCounter) -> None:
    class Losing(Executor[None]):
        name = "losing"
        runs = 0

        async def execute(self, job: Job[None]) -> None:
            Losing.runs += 1
            record = await record_of(backend, job.id)
            assert record.node is not None
            if Losing.runs == 1:
                await backend.release_claims(record.node, ())
            async with counter.transaction() as connection:
                await job.complete_in(connection)

    job_id = await run_once(backend, Losing())

    assert Losing.runs == 2
    assert (await record_of(backend, job_id)).status is JobStatus.COMPLETE
    assert counter.count() == 1


@pytest.mark.parametrize("kind", ["sqlite", "psycopg", "proxied"])
async def test_a_plain_def_completes_on_a_connection_that_blocks(backend: Backend, counter: AppCounter) -> None:
    assert isinstance(counter, SqliteCounter | PostgresCounter)

    class Blocking(Executor[None]):
        name = "blocking"
        blocking = True

        def execute(self, job: Job[None]) -> None:
            with counter.blocking() as connection:
                job.complete_in_sync(connection)

    job_id = await run_once(backend, Blocking())

    assert (await record_of(backend, job_id)).status is JobStatus.COMPLETE
    assert counter.count() == 1


@pytest.mark.parametrize("kind", ["psycopg"])
async def test_the_wrong_kind_of_connection_is_refused_with_what_to_do(backend: Backend, counter: AppCounter) -> None:
    completion = backend.completion()
    with psycopg.connect(server_url()) as connection:
        with pytest.raises(ConfigurationError, match="complete_in: the connection is synchronous; call complete_in_s"):
            await completion.complete(executing(), connection)
        with pytest.raises(ConfigurationError, match="cannot be used as a connection to PostgreSQL"):
            await completion.complete(executing(), "connection")
        assert not completion.complete_sync(executing(), connection)
    async with counter.transaction() as awaited:
        with pytest.raises(ConfigurationError, match="call `await complete_in`"):
            completion.complete_sync(executing(), awaited)


@pytest.mark.parametrize("kind", ["psycopg"])
async def test_a_job_of_that_number_in_another_database_is_not_completed(backend: Backend, counter: AppCounter) -> None:
    (job,) = await claimed(backend)
    elsewhere = replace(job, node="of another database")

    with psycopg.connect(server_url()) as connection:
        assert not backend.completion().complete_sync(elsewhere, connection)
        assert backend.completion().complete_sync(job, connection)


@pytest.mark.parametrize("kind", ["psycopg"])
@pytest.mark.parametrize("table", ["running", "stored_jobs"])
async def test_a_transaction_that_stays_open_does_not_hold_other_outcomes_up(
    backend: Backend, counter: AppCounter, table: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statements, "LOCK_TIMEOUT", "50ms")
    held, other = [Settlement(*job.claim_id, COMPLETE) for job in await claimed(backend, 2)]
    with psycopg.connect(server_url()) as connection:
        assert isinstance(backend, PostgresBackend)
        name = sql.Identifier(backend.schema, table)
        connection.execute(sql.SQL("SELECT FROM {} WHERE id = %s FOR UPDATE").format(name), [held.job_id])

        with pytest.raises(BackendError, match="a transaction holds the row"):
            await soon(backend.settle([held, other]))
        assert await soon(backend.settle([other])) == []

    assert await backend.settle([held]) == []


@pytest.mark.parametrize("kind", ["sqlite"])
async def test_a_connection_to_another_file_is_refused(backend: Backend, tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(tmp_path / "other.db")) as connection,
        pytest.raises(ConfigurationError, match="complete_in: the connection is to"),
    ):
        await backend.completion().complete(executing(), connection)


@pytest.mark.parametrize("kind", ["sqlite", "psycopg"])
async def test_a_completion_can_be_sent_to_a_child_process(backend: Backend, counter: AppCounter) -> None:
    assert isinstance(counter, SqliteCounter | PostgresCounter)
    sent = pickle.loads(pickle.dumps(backend.completion()))  # noqa: S301 - our own
    with counter.blocking() as connection:
        assert not sent.complete_sync(executing(), connection)


async def test_memory_says_that_it_shares_no_transaction() -> None:
    class Completing(Executor[None]):
        name = "completing"

        async def execute(self, job: Job[None]) -> None:
            await job.complete_in(object())

    backend = InMemoryBackend()
    job_id = await run_once(backend, Completing())

    (error,) = (await record_of(backend, job_id)).errors
    assert "InMemoryBackend shares no transaction with your connection; leave the call out" in error.details
    assert await perform(Completing) is None


async def test_only_a_job_that_runs_can_be_completed() -> None:
    runs: list[Job[None]] = []

    class Kept(Executor[None]):
        name = "kept"

        async def execute(self, job: Job[None]) -> None:
            runs.append(job)

    backend = InMemoryBackend()
    await run_once(backend, Kept())
    (found,) = await Kept.query_jobs(Where.status_equals(JobStatus.COMPLETE), backend=backend)

    for job in (found, copy.deepcopy(runs[0]), pickle.loads(pickle.dumps(runs[0]))):  # noqa: S301 - our own
        with pytest.raises(JobStateError, match="complete_in: job 1 does not run here"):
            await job.complete_in(object())
        with pytest.raises(JobStateError, match="complete_in: job 1 does not run here"):
            job.complete_in_sync(object())


class Answering(Executor[None, None, int]):
    """Counts one and completes its job with a result, in one transaction; returns another."""

    name = "answering"
    max_attempts = 1

    def __init__(self, counter: AppCounter, result: Any) -> None:
        self.counter = counter
        self.result = result

    async def execute(self, job: Job[None]) -> int:
        async with self.counter.transaction() as connection:
            await job.complete_in(connection, result=self.result)
        return 8


async def test_the_result_is_committed_with_the_writes_and_the_returned_value_is_ignored(
    backend: Backend, counter: AppCounter
) -> None:
    handle = await Answering.builder().enqueue(backend=backend)

    await drain(Answering(counter, 7), backend=backend)

    await assert_result(handle, 7)
    assert counter.count() == 1


async def test_a_result_of_another_type_is_refused_before_anything_is_written(
    backend: Backend, counter: AppCounter
) -> None:
    handle = await Answering.builder().enqueue(backend=backend)

    await drain(Answering(counter, "seven"), backend=backend)

    record = await record_of(backend, handle.id)
    assert (record.status, [error.type_name for error in record.errors]) == (JobStatus.DISCARDED, ["EncodeError"])
    assert (record.result, counter.count()) == (None, 0)
