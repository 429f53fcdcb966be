"""A `Rexecutor` without executors, schedules and pruners opens its backend, and is no node."""

import asyncio
import sqlite3
import threading
from collections import Counter
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

from rexecutor import (
    Backend,
    ConfigurationError,
    Executor,
    GlobalBackendError,
    InMemoryBackend,
    Job,
    JobStatus,
    PostgresBackend,
    PrunerConfig,
    Rexecutor,
    RexecutorError,
    SchemaError,
    SQLiteBackend,
)
from rexecutor.telemetry.events import NodeStarted, NothingToRun
from tests.backends import BACKENDS, made_backend
from tests.postgres import postgres_backend, run_postgres, schema_of, server_url
from tests.support import Events, soon, until, until_no_threads_of_ours
from tests.test_affinity import as_in_a_child, in_another_loop

SECOND = timedelta(seconds=1)


class Noop(Executor[None]):
    name = "noop"

    async def execute(self, job: Job[None]) -> None: ...


def nodes_of(backend: Backend) -> int:
    """Return how many nodes the store knows."""
    if isinstance(backend, InMemoryBackend):
        return len(backend._leases)
    if isinstance(backend, PostgresBackend):
        return int(run_postgres(f"SELECT count(*) FROM {backend.schema}.nodes")[0][0])
    assert isinstance(backend, SQLiteBackend)
    with closing(sqlite3.connect(backend.path)) as connection:
        return int(connection.execute("SELECT count(*) FROM rexecutor_nodes").fetchone()[0])


def threads_of_ours() -> Counter[str]:
    """Return how many threads of the library run, by name."""
    return Counter(one.name for one in threading.enumerate() if one.name.startswith("rexecutor"))


def connections_named(name: str) -> int:
    """Return how many connections of this name the server has."""
    rows = run_postgres(f"SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'")
    return int(rows[0][0])


@pytest.mark.parametrize("store", BACKENDS)
async def test_it_opens_its_backend_and_has_no_lease_and_no_threads(store: str, tmp_path: Path, events: Events) -> None:
    backend = made_backend(store, tmp_path)
    other = backend if store == "memory" else made_backend(store, tmp_path)
    async with backend:
        threads, tasks = threads_of_ours(), len(asyncio.all_tasks())
    await until_no_threads_of_ours()

    async with Rexecutor(backend) as rexecutor:
        assert rexecutor.is_running
        assert backend.is_open
        assert (threads_of_ours(), len(asyncio.all_tasks())) == (threads, tasks)
        async with Rexecutor(other, executors=[Noop]):
            handle = await Noop.builder().enqueue(backend=backend)
            assert (await soon(handle.wait())).status is JobStatus.COMPLETE
            assert nodes_of(other) == 1
        assert nodes_of(other) == 0

    assert not rexecutor.is_running
    assert backend.is_open == (store == "memory")
    started = [type(event) for event in events if isinstance(event, NothingToRun | NodeStarted)]
    assert started == [NothingToRun, NodeStarted]
    await until_no_threads_of_ours()


async def test_on_postgres_it_has_the_connection_of_the_pool_alone(tmp_path: Path) -> None:
    name = schema_of(tmp_path)
    async with postgres_backend(tmp_path, listens=False) as migrated:
        backend = PostgresBackend(make_conninfo(server_url(), application_name=name), schema=migrated.schema)

        async with Rexecutor(backend):
            await Noop.builder().enqueue(backend=backend)
            assert connections_named(name) == 1
        async with Rexecutor(backend, executors=[Noop]):
            # The pool's, the heartbeat's, the listener's, and one each for claims and settlements.
            await until(lambda: connections_named(name) == 5)

    assert connections_named(name) == 0


@pytest.mark.parametrize(
    "rexecutor",
    [
        Rexecutor(InMemoryBackend()).with_executor(Noop),
        Rexecutor(InMemoryBackend()).with_cron_executor(Noop, "0 9 * * *"),
        Rexecutor(InMemoryBackend()).with_job_pruner(PrunerConfig("0 9 * * *")),
    ],
)
async def test_with_anything_to_run_it_is_a_node(rexecutor: Rexecutor) -> None:
    async with rexecutor:
        await until(lambda: nodes_of(rexecutor.backend) == 1)


async def test_what_it_starts_with_is_decided_at_each_start() -> None:
    backend = InMemoryBackend()
    rexecutor = Rexecutor(backend)
    async with rexecutor:
        pass

    async with rexecutor.with_executor(Noop):
        handle = await Noop.builder().enqueue(backend=backend)
        assert (await soon(handle.wait())).status is JobStatus.COMPLETE


async def test_its_backend_is_the_global_one_until_it_stops() -> None:
    async with Rexecutor(InMemoryBackend()).set_global_backend() as rexecutor:
        handle = await Noop.builder().enqueue()
        assert handle.backend is rexecutor.backend

    with pytest.raises(GlobalBackendError):
        await Noop.builder().enqueue()


async def test_it_starts_once_and_stops_once(tmp_path: Path) -> None:
    rexecutor = Rexecutor(SQLiteBackend(tmp_path / "jobs.db"))
    await rexecutor.start()
    with pytest.raises(RexecutorError, match="start: this Rexecutor is already running"):
        await rexecutor.start()
    with pytest.raises(RexecutorError, match="with_executor: this Rexecutor is already running; call this before"):
        rexecutor.with_executor(Noop)

    await asyncio.gather(rexecutor.graceful_shutdown(), rexecutor.graceful_shutdown())
    await rexecutor.graceful_shutdown()

    assert not rexecutor.backend.is_open
    async with rexecutor:
        assert rexecutor.backend.is_open


async def test_several_share_a_backend_with_a_node(tmp_path: Path) -> None:
    backend = SQLiteBackend(tmp_path / "jobs.db")
    web, worker = Rexecutor(backend), Rexecutor(backend, executors=[Noop])
    await worker.start()
    await web.start()

    await worker.graceful_shutdown()
    assert backend.is_open
    await web.graceful_shutdown()

    assert not backend.is_open


async def test_a_backend_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    rexecutor = Rexecutor(SQLiteBackend(tmp_path / "no" / "jobs.db")).set_global_backend()

    with pytest.raises(ConfigurationError, match="no"):
        await rexecutor.start()

    assert not rexecutor.is_running
    Rexecutor(InMemoryBackend()).set_global_backend()._unset_global_backend()


async def test_a_schema_that_is_missing_fails_the_start(tmp_path: Path) -> None:
    backend = PostgresBackend(server_url(), schema=schema_of(tmp_path))

    with pytest.raises(SchemaError, match="migrate"):
        await Rexecutor(backend).start()

    assert not backend.is_open


async def test_another_process_or_loop_may_not_stop_it(tmp_path: Path) -> None:
    async with Rexecutor(SQLiteBackend(tmp_path / "jobs.db")) as rexecutor:
        with as_in_a_child(), pytest.raises(RexecutorError, match="started in another process"):
            await rexecutor.graceful_shutdown()
        for act in (rexecutor.graceful_shutdown, rexecutor.run_until_signal):
            with pytest.raises(RexecutorError, match="started in another event loop"):
                await in_another_loop(act)

        assert rexecutor.is_running


@pytest.mark.parametrize("store", BACKENDS)
def test_what_a_closed_loop_has_left_behind_is_stopped_and_started_again(store: str, tmp_path: Path) -> None:
    rexecutor = Rexecutor(made_backend(store, tmp_path))

    async def run() -> None:
        async with rexecutor:
            await Noop.builder().enqueue(backend=rexecutor.backend)
        await until_no_threads_of_ours()

    asyncio.run(rexecutor.start())
    assert not rexecutor.is_running
    asyncio.run(run())
    asyncio.run(rexecutor.start())
    asyncio.run(rexecutor.graceful_shutdown())
    asyncio.run(run())
