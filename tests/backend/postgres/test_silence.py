"""Connections that stay open but never reply again: each operation ends in time and holds up nobody else."""

import asyncio
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
from psycopg.pq import TransactionStatus
from psycopg_pool import AsyncConnectionPool

from rexecutor import Backend, Executor, Job, PostgresBackend, UniquenessCriteria, Where
from rexecutor.backend.messages import Demand
from rexecutor.backend.postgres import batching
from rexecutor.backend.postgres.batching import EnqueueBatcher
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.liveness import SESSION_SETTINGS, ImpatientConnection
from rexecutor.backend.postgres.rows import Batch
from rexecutor.errors import BackendError
from rexecutor.model.job import Enqueued
from rexecutor.model.outcomes import CancelAsked, Complete, Settlement
from rexecutor.model.pruning import OlderThan, PruneSpec
from rexecutor.model.status import JobStatus
from rexecutor.testing.suite.store import new_job
from tests.faults.proxy import Loss, Proxy
from tests.postgres import Migrated, run_postgres, server_url
from tests.support import soon, until

BOUND = 0.5
"""Seconds in place of 30."""


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


@pytest.fixture
async def far(proxy: Proxy, near: Migrated) -> AsyncIterator[PostgresBackend]:
    """A backend whose connections may fall silent; each that it has now is used once."""
    async with PostgresBackend(proxy.url, schema=near.schema, max_connections=3, listens=False) as backend:
        await backend.enqueue([new_job()])
        await backend.claim(Demand({"nothing": 1}, 1), "nobody")
        await backend.settle([Settlement(1, 1, Complete())])
        yield backend


def now() -> float:
    return asyncio.get_running_loop().time()


async def server_process(connection: Connection) -> int:
    return connection.info.backend_pid


async def sleep(connection: Connection) -> None:
    await connection.execute("SELECT pg_sleep(60)")


async def until_asleep(process: int) -> None:
    asleep = f"SELECT wait_event FROM pg_stat_activity WHERE pid = {process}"
    await until(lambda: run_postgres(asleep) == [("PgSleep",)])


async def one_bounded(backend: Backend, operation: Callable[[Backend], Awaitable[object]]) -> None:
    with pytest.raises(BackendError, match=r"no answer within .* s, so the connection was closed"):
        await soon(operation(backend), 10)


OPERATIONS: dict[str, Callable[[Backend], Awaitable[object]]] = {
    "enqueue": lambda backend: backend.enqueue([new_job()]),
    "unique enqueue": lambda backend: backend.enqueue([new_job(unique=UniquenessCriteria.by_executor())]),
    "many": lambda backend: backend.enqueue([new_job(), new_job()]),
    "query": lambda backend: backend.query(Where.everything()),
    "count": lambda backend: backend.count(),
    "cancel": lambda backend: backend.apply(1, CancelAsked("why"), executor=None),
    "cancel of many": lambda backend: backend.cancel_many([1, 2], "why"),
    "rerun of many": lambda backend: backend.rerun_many([1, 2]),
    "ids": lambda backend: backend.query_ids(Where.everything()),
    "update": lambda backend: backend.update(1, new_job(), version=0),
    "claim": lambda backend: backend.claim(Demand({"alpha": 1}, 1), "node"),
    "settle": lambda backend: backend.settle([Settlement(1, 1, Complete())]),
    "give back": lambda backend: backend.release_claims("node", ()),
    "tick": lambda backend: backend.tick([], up_since=None),
    "schedules": lambda backend: backend.schedules(),
    "prune": lambda backend: backend.prune(PruneSpec(JobStatus.COMPLETE, OlderThan(timedelta(1))), 1),
    "acquire_lock": lambda backend: backend.acquire_lock("prune", "node"),
    "release_lock": lambda backend: backend.release_lock("prune", "node"),
    "migrate": lambda backend: backend.migrate(),
}


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_an_answer_that_never_comes_is_an_error(
    operation: Callable[[Backend], Awaitable[object]],
    far: PostgresBackend,
    proxy: Proxy,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("rexecutor.backend.postgres.liveness.OPERATION_SECONDS", BOUND)
    monkeypatch.setattr("rexecutor.backend.postgres.backend.MIGRATION_SECONDS", BOUND)
    proxy.silence_all()

    await one_bounded(far, operation)

    assert len(await soon(far.enqueue([new_job()]))) == 1


@pytest.mark.parametrize("operation", OPERATIONS.values(), ids=OPERATIONS)
async def test_a_callers_timeout_holds(
    operation: Callable[[Backend], Awaitable[object]], far: PostgresBackend, proxy: Proxy
) -> None:
    proxy.silence_all()
    begun = now()

    with pytest.raises(TimeoutError):
        await soon(operation(far), BOUND)

    assert now() - begun < BOUND + 2
    await soon(operation(far))  # on another connection


async def test_a_query_is_cancelled_with_its_caller_and_its_connection_is_used_again(near: Migrated) -> None:
    async with PostgresBackend(server_url(), schema=near.schema, max_connections=1, listens=False) as backend:
        first = await backend._connections.run(server_process)
        sleeping = asyncio.ensure_future(backend._connections.run(sleep))
        await until_asleep(first)

        sleeping.cancel()
        await soon(asyncio.gather(sleeping, return_exceptions=True))

        assert await backend._connections.run(server_process) == first


async def test_enqueues_pass_one_whose_answer_never_comes(
    far: PostgresBackend, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "LATE_SECONDS", 0.1)
    proxy.silence_all()
    lost = asyncio.ensure_future(far.enqueue([new_job()]))
    await asyncio.to_thread(lambda: None)

    answers = await soon(asyncio.gather(*(far.enqueue([new_job()]) for _ in range(20))))

    assert not lost.done()
    assert len({answer.id for (answer,) in answers}) == 20
    lost.cancel()
    await soon(asyncio.gather(lost, return_exceptions=True))


async def test_a_combined_enqueue_keeps_its_callers_timeout(
    far: PostgresBackend, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batching, "LATE_SECONDS", 1_000)
    proxy.silence_all()
    lost = [asyncio.ensure_future(far.enqueue([new_job()])) for _ in range(3)]

    with pytest.raises(TimeoutError):
        await soon(far.enqueue([new_job()]), 0.2)

    for one in lost:
        one.cancel()
    await soon(asyncio.gather(*lost, return_exceptions=True))


class Silent:
    """Stores what it is given once it is told to, statement by statement."""

    def __init__(self, statements: int) -> None:
        self.answered = [asyncio.Event() for _ in range(statements)]
        self.stored: list[int] = []

    async def store(self, batch: Batch) -> Sequence[Enqueued]:
        jobs, number = batch.jobs, len(self.stored)
        self.stored.append(len(jobs))
        await self.answered[number].wait()
        return [Enqueued(1_000 * number + place, "inserted") for place in range(len(jobs))]


async def test_each_lost_answer_is_that_of_its_own_enqueues(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LATE_SECONDS", 0.01)
    server = Silent(3)
    together = EnqueueBatcher(server.store)
    asked = [asyncio.ensure_future(together.enqueue(Batch([new_job()] * count, 0))) for count in (1, 2)]
    await until(lambda: len(server.stored) == 2)  # the second goes beside the first, which is late
    asked.append(asyncio.ensure_future(together.enqueue(Batch([new_job()] * 3, 0))))
    await until(lambda: len(server.stored) == 3)

    for event in reversed(server.answered):
        event.set()
    answers = await soon(asyncio.gather(*asked))

    assert [[one.id for one in answer] for answer in answers] == [[0], [1000, 1001], [2000, 2001, 2002]]


async def test_enqueues_that_found_no_room_in_a_lost_statement_go_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batching, "LATE_SECONDS", 0.01)
    server = Silent(3)
    together = EnqueueBatcher(server.store)
    asked = [asyncio.ensure_future(together.enqueue(Batch([new_job()] * count, 0))) for count in (1, 600, 700)]

    await until(lambda: server.stored == [1, 600, 700])

    for event in server.answered:
        event.set()
    await soon(asyncio.gather(*asked))


async def test_waiting_ends_in_time(far: PostgresBackend, proxy: Proxy) -> None:
    handle = await Letter.builder().with_data("a").enqueue(backend=far)
    proxy.silence_all()
    begun = now()

    with pytest.raises(TimeoutError, match="the store did not respond"):
        await handle.wait(timedelta(seconds=0.1))

    assert now() - begun < 3


async def test_a_backend_is_closed_in_time(proxy: Proxy, near: Migrated) -> None:
    far = PostgresBackend(proxy.url, schema=near.schema)
    await far.open()
    await far.enqueue([new_job()])
    proxy.silence_all()
    lost = asyncio.ensure_future(far.enqueue([new_job()]))
    await asyncio.to_thread(lambda: None)

    await soon(far.close(), 10)

    lost.cancel()
    await soon(asyncio.gather(lost, return_exceptions=True))


def test_threads_that_enqueue_do_not_wait_for_a_lost_answer(proxy: Proxy, near: Migrated) -> None:
    backend = PostgresBackend(proxy.url, schema=near.schema)
    backend.enqueue_sync([new_job()])
    proxy.silence_all()

    with ThreadPoolExecutor(4) as threads:
        lost = threads.submit(backend.enqueue_sync, [new_job()])
        while backend._sync._idle:
            pass
        others = [threads.submit(backend.enqueue_sync, [new_job()]) for _ in range(10)]
        stored = [one.result(10) for one in others]
        was_lost = not lost.done()
        proxy.cut()

    assert len({answer.id for (answer,) in stored}) == 10
    assert was_lost
    assert isinstance(lost.exception(), BackendError)
    backend._sync.close()


SYNCHRONOUS: dict[str, Callable[[Backend], object]] = {
    "enqueue": lambda backend: backend.enqueue_sync([new_job()]),
    "query": lambda backend: backend.query_sync(Where.everything()),
    "count": lambda backend: backend.count_sync(),
    "cancel": lambda backend: backend.cancel_sync(1, "why"),
    "update": lambda backend: backend.update_sync(1, new_job(), version=0),
}


@pytest.mark.parametrize("operation", SYNCHRONOUS.values(), ids=SYNCHRONOUS)
def test_a_thread_waits_for_an_answer_for_a_limited_time(
    operation: Callable[[Backend], object], proxy: Proxy, near: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = PostgresBackend(proxy.url, schema=near.schema, max_connections=1)
    backend.enqueue_sync([new_job()])
    monkeypatch.setattr("rexecutor.backend.postgres.liveness.OPERATION_SECONDS", BOUND)
    proxy.silence_all()

    with pytest.raises(BackendError, match=r"no answer within .* s, so the connection was closed"):
        operation(backend)

    assert len(backend.enqueue_sync([new_job()])) == 1
    backend._sync.close()


@pytest.mark.parametrize("operation", SYNCHRONOUS.values(), ids=SYNCHRONOUS)
def test_an_interrupted_thread_waits_for_no_answer(
    operation: Callable[[Backend], object], proxy: Proxy, near: Migrated
) -> None:
    backend = PostgresBackend(proxy.url, schema=near.schema, max_connections=1)
    backend.enqueue_sync([new_job()])
    proxy.silence_all()
    assert threading.current_thread() is threading.main_thread()
    [connection] = backend._sync._idle

    def interrupt() -> None:
        while connection.info.transaction_status != TransactionStatus.ACTIVE:
            pass
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    with ThreadPoolExecutor(1) as threads:
        begun = time.monotonic()  # noqa: TID251 - how long it takes in real time
        interrupting = threads.submit(interrupt)
        with pytest.raises(KeyboardInterrupt):
            operation(backend)
        took = time.monotonic() - begun  # noqa: TID251
        interrupting.result()

    assert took < 2
    assert len(backend.enqueue_sync([new_job()])) == 1
    backend._sync.close()


def test_a_thread_waits_for_a_connection_for_a_limited_time(near: Migrated, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rexecutor.backend.postgres.sync.CONNECTION_WAIT_SECONDS", 0.1)
    backend = PostgresBackend(server_url(), schema=near.schema, max_connections=1)

    with (
        backend._sync._lent(),
        pytest.raises(BackendError, match="all 1 are in use"),
    ):
        backend.enqueue_sync([new_job()])

    assert len(backend.enqueue_sync([new_job()])) == 1
    backend._sync.close()


def test_a_lost_answer_locks_no_key_for_longer_than_the_server_waits(
    proxy: Proxy, near: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    shortened = SESSION_SETTINGS.replace("'10s'", "'200ms'")
    monkeypatch.setattr("rexecutor.backend.postgres.liveness.SESSION_SETTINGS", shortened)
    unique = new_job(unique=UniquenessCriteria.by_executor())
    backend = PostgresBackend(proxy.url, schema=near.schema)
    backend.enqueue_sync([new_job(executor="beta")])

    def is_unique(sent: bytes) -> Loss | None:
        return "answer" if b"scopes" in sent else None

    proxy.silences = is_unique
    with ThreadPoolExecutor(1) as threads:
        lost = threads.submit(backend.enqueue_sync, [unique])
        while not proxy._holes:
            pass
        proxy.silences = None

        assert len(backend.enqueue_sync([unique])) == 1

        proxy.cut()
    assert isinstance(lost.exception(), BackendError)
    backend._sync.close()


async def test_a_callers_timeout_holds_when_the_whole_server_is_silent(far: PostgresBackend, proxy: Proxy) -> None:
    proxy.is_silent = True
    begun = now()

    with pytest.raises(TimeoutError):
        await soon(far.enqueue([new_job()]), BOUND)

    assert now() - begun < BOUND + 3
    proxy.is_silent = False


@pytest.mark.parametrize("operation", ["enqueue", "count"])
async def test_a_commit_of_the_applications_connection_is_bounded(
    operation: str, proxy: Proxy, near: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecutor.backend.postgres.liveness.OPERATION_SECONDS", BOUND)

    async with (
        AsyncConnectionPool(proxy.url, min_size=1, open=False) as pool,  # psycopg's default: not autocommit
        PostgresBackend(pool, schema=near.schema, listens=False) as backend,
    ):
        await backend.enqueue([new_job()])
        proxy.silences = lambda sent: "answer" if b"COMMIT" in sent else None

        await one_bounded(backend, OPERATIONS[operation])

        proxy.silences = None
        assert len(await soon(backend.enqueue([new_job()]))) == 1


async def test_a_check_of_the_applications_pool_is_bounded(
    proxy: Proxy, near: Migrated, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rexecutor.backend.postgres.pool.SETUP_SECONDS", 0.1)

    async with (
        AsyncConnectionPool(
            proxy.url,
            connection_class=ImpatientConnection,
            check=AsyncConnectionPool.check_connection,
            min_size=1,
            timeout=0.2,
            kwargs={"autocommit": True},
            open=False,
        ) as pool,
        PostgresBackend(pool, schema=near.schema, listens=False) as backend,
    ):
        await backend.enqueue([new_job()])
        proxy.silence_all()

        with pytest.raises(BackendError, match="no connection within"):
            await soon(backend.enqueue([new_job()]), 15)


def test_a_loop_ends_though_a_backend_is_left_open_while_it_connects(proxy: Proxy, near: Migrated) -> None:
    backend = PostgresBackend(proxy.url, schema=near.schema, max_connections=3, listens=False)
    ended = threading.Event()

    async def leave() -> None:
        await backend.open()
        await backend.count()
        proxy.delay = 0.1
        counting = [asyncio.ensure_future(backend.count()) for _ in range(3)]  # the pool grows
        await asyncio.wait(counting, return_when=asyncio.FIRST_COMPLETED)
        for one in counting:
            one.cancel()

    def run() -> None:
        asyncio.run(leave())
        ended.set()

    threading.Thread(target=run, daemon=True).start()
    assert ended.wait(20)
    backend.close_sync()
