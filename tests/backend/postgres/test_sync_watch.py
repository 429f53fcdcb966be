"""A thread that waits for a job's end hears of it by LISTEN, and does without where that does not work."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import make_conninfo

from rexecutor import JobStatus, PostgresBackend, Where
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.testing.suite.store import new_job
from tests.faults.proxy import Proxy
from tests.postgres import Migrated, run_postgres, server_url
from tests.support import soon, until

HOUR = timedelta(hours=1)


def connections(name: str) -> int:
    return len(run_postgres(f"SELECT 1 FROM pg_stat_activity WHERE application_name = '{name}'"))


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(4) as made:
        yield made


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A watch listens from the beginning."""
    monkeypatch.setattr("rexecutor.backend.postgres.sync_watch.LISTEN_AFTER_SECONDS", 0.0)


@pytest.fixture
def no_polling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks do not find anything by themselves: the first pause already is long."""
    monkeypatch.setattr("rexecutor.backend.sync_waits.LOOK_SECONDS", 60.0)
    monkeypatch.setattr("rexecutor.backend.sync_waits.FIRST_PAUSE_SECONDS", 60.0)


@pytest.fixture
async def node(near: Migrated) -> AsyncIterator[PostgresBackend]:
    """A backend of another process, that listens."""
    async with PostgresBackend(server_url(), schema=near.schema) as backend:
        backend._listen()
        await until(lambda: backend._hearing.listener is not None and backend._hearing.listener.is_hearing)
        yield backend


async def executing(node: PostgresBackend) -> JobRecord:
    heartbeats = node.heartbeat_connection()
    heartbeats.send(Node("n", "n", HOUR))
    heartbeats.close()
    await node.enqueue([new_job()])
    claim = await node.claim(Demand({"alpha": 1}, 1), "n")
    return claim.jobs[0]


async def complete(node: PostgresBackend, job: JobRecord) -> None:
    assert list(await node.settle([Settlement(job.id, job.claims, Complete())])) == []


def waiting(pool: ThreadPoolExecutor, backend: PostgresBackend, job: JobRecord, timeout: timedelta) -> Future[Any]:
    def wait() -> list[JobStatus | None]:
        found: dict[int, JobRecord | None] = {}
        left = backend.sync_waits.wait([job.id], found.update, timeout=timeout)
        return [*(one and one.status for one in found.values()), *left.values()]

    return pool.submit(wait)


@pytest.mark.usefixtures("no_polling")
async def test_an_end_that_another_process_settles_is_heard_of(
    node: PostgresBackend, near: Migrated, pool: ThreadPoolExecutor, tmp_path: Path
) -> None:
    backend = PostgresBackend(make_conninfo(server_url(), application_name=tmp_path.name), schema=near.schema)
    job = await executing(node)
    wait = waiting(pool, backend, job, HOUR)
    await until(lambda: node._hearing.is_awaited)

    await complete(node, job)

    assert await soon(asyncio.wrap_future(wait), 10) == [JobStatus.COMPLETE]
    await until(lambda: connections(tmp_path.name) == 1)  # that of the looks, and none that listens
    backend.close_sync()


@pytest.mark.usefixtures("no_polling")
async def test_an_end_before_others_have_heard_of_the_wait_is_found(
    node: PostgresBackend, near: Migrated, pool: ThreadPoolExecutor
) -> None:
    backend = PostgresBackend(server_url(), schema=near.schema, listens=True)
    job = await executing(node)
    looks = 0
    check = backend.check_ended_sync

    def check_ended_sync(*arguments: Any, **settings: Any) -> Any:
        nonlocal looks
        found = check(*arguments, **settings)
        looks += 1
        if looks == 2:  # the leader has looked, and does not listen yet
            asyncio.run_coroutine_threadsafe(complete(node, job), loop).result(10)
        return found

    loop = asyncio.get_running_loop()
    vars(backend)["check_ended_sync"] = check_ended_sync
    wait = waiting(pool, backend, job, HOUR)

    assert await soon(asyncio.wrap_future(wait), 10) == [JobStatus.COMPLETE]
    backend.close_sync()


@pytest.mark.usefixtures("no_polling")
async def test_an_end_in_the_same_process_is_heard_of(node: PostgresBackend, pool: ThreadPoolExecutor) -> None:
    job = await executing(node)
    wait = waiting(pool, node, job, HOUR)
    await until(lambda: node._hearing.is_awaited)

    await complete(node, job)

    assert await soon(asyncio.wrap_future(wait), 10) == [JobStatus.COMPLETE]


@pytest.mark.usefixtures("no_polling")
async def test_a_cancel_of_a_waiting_job_is_heard_of(
    node: PostgresBackend, near: Migrated, pool: ThreadPoolExecutor
) -> None:
    backend, other = (PostgresBackend(server_url(), schema=near.schema) for _ in range(2))
    [answer] = backend.enqueue_sync([new_job()])
    [job] = await near.query(Where.id_equals(answer.id))
    wait = waiting(pool, backend, job, HOUR)
    await until(lambda: node._hearing.is_awaited)

    await asyncio.to_thread(other.cancel_sync, job.id, "enough")

    assert await soon(asyncio.wrap_future(wait), 10) == [JobStatus.CANCELLED]
    backend.close_sync()
    other.close_sync()


@pytest.mark.parametrize("fault", ["a pooler", "silence", "a cut", "no more connections"])
async def test_where_nothing_is_heard_looks_go_on(
    node: PostgresBackend, near: Migrated, proxy: Proxy, pool: ThreadPoolExecutor, fault: str
) -> None:
    proxy.is_pooler = fault == "a pooler"
    backend = PostgresBackend(proxy.url, schema=near.schema)
    job = await executing(node)
    backend.count_sync()  # has a connection for looks
    proxy.refuses = fault == "no more connections"
    wait = waiting(pool, backend, job, HOUR)
    await until(lambda: backend.sync_waits.threads == 1)
    if fault in {"silence", "a cut"}:
        await until(lambda: node._hearing.is_awaited)
        if fault == "a cut":
            run_postgres(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE '%pg_notify%unnest%'"
                " AND pid <> pg_backend_pid() AND state = 'idle'"
            )
        else:
            proxy.silences = lambda sent: "answer" if b"pg_notify" in sent else None

    await complete(near, job)

    assert await soon(asyncio.wrap_future(wait), 10) == [JobStatus.COMPLETE]
    proxy.refuses = False
    backend.close_sync()


async def test_a_timeout_holds_while_it_listens(
    node: PostgresBackend, near: Migrated, pool: ThreadPoolExecutor
) -> None:
    backend = PostgresBackend(server_url(), schema=near.schema)
    job = await executing(node)

    wait = waiting(pool, backend, job, timedelta(seconds=0.5))

    assert await soon(asyncio.wrap_future(wait), 5) == [JobStatus.EXECUTING]
    backend.close_sync()
