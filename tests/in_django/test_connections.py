"""The connections of threads that run jobs: none is used once the server has ended it, and none is left behind.

In the quick tier too, which leaves out what has "postgres" in its name: so no test here has.
"""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeAlias

import django
import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction

from rexecutor import InMemoryBackend, JobFailedError, JobStatus, Rexecutor, job, job_handle
from rexecutor.django import closes_connections
from tests.in_django.databases import jobs_in
from tests.in_django.running import NEEDS_6, backend_of
from tests.postgres import run_postgres
from tests.support import soon, until

Settings: TypeAlias = dict[str, Any]

AS_LONG_AS_IT_WORKS = {"CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}
"""Django's settings for connections that are kept, and checked before their use."""


@pytest.fixture
def settings(postgres_database: str) -> Iterator[Settings]:
    """Django's settings of a database of the test's own, which may be changed."""
    params: Settings = connections.settings[postgres_database]
    before = dict(params)
    yield params
    params.clear()
    params.update(before)


@job(blocking=True, max_attempts=1)
def server_process() -> int:
    return _server_process()


@job(max_attempts=1)
async def server_process_async() -> int:
    return await sync_to_async(_server_process)()


JOBS = pytest.mark.parametrize("what", [server_process, server_process_async], ids=["thread", "loop"])


@JOBS
@pytest.mark.parametrize("given", [{}, AS_LONG_AS_IT_WORKS], ids=["closed", "kept"])
def test_a_job_gets_another_connection_once_the_server_has_ended_the_last(
    settings: Settings, given: Settings, what: Any
) -> None:
    settings |= given

    first, second = asyncio.run(_run_and_end(what, [closes_connections]))

    assert first != second


@JOBS
def test_a_connection_is_kept_for_as_long_as_django_is_told(settings: Settings, what: Any) -> None:
    settings |= AS_LONG_AS_IT_WORKS

    first, second = asyncio.run(_run_and_end(what, [closes_connections], ends=lambda _: None))

    assert first == second


def test_without_the_middleware_a_thread_never_gets_another_connection(settings: Settings) -> None:
    settings |= AS_LONG_AS_IT_WORKS

    with pytest.raises(JobFailedError, match="OperationalError"):
        asyncio.run(_run_and_end(server_process, []))


@JOBS
def test_a_thread_that_ends_closes_its_connections(settings: Settings, what: Any) -> None:
    settings |= AS_LONG_AS_IT_WORKS if what is server_process else {}

    asyncio.run(_run_and_end(what, [closes_connections]))

    asyncio.run(until(lambda: _connections_to(settings["NAME"]) == 0))


@pytest.mark.skipif(django.VERSION < (6,), reason=NEEDS_6)
@pytest.mark.parametrize("name", ["server_process", "server_process_async"])
@pytest.mark.parametrize("given", [{}, AS_LONG_AS_IT_WORKS], ids=["closed", "kept"])
def test_a_task_gets_another_connection_once_the_server_has_ended_the_last(
    settings: Settings, given: Settings, name: str
) -> None:
    from rexecutor.django.executors import executors_of
    from tests.in_django.shop import tasks

    settings |= given

    async def run() -> list[int]:
        found: list[int] = []
        async with Rexecutor(backend_of(), executors=executors_of("default"), max_threads=1) as rexecutor:
            for _ in range(2):
                result = await getattr(tasks, name).aenqueue("postgres")
                await soon(job_handle(int(result.id), rexecutor.backend).wait())
                await result.arefresh()
                found.append(result.return_value)
                _end(result.return_value)
                await sync_to_async(connections.close_all)()
        return found

    with jobs_in("postgres"):
        first, second = asyncio.run(run())

    assert first != second


def test_a_block_that_a_job_leaves_open_fails_it_and_spares_the_next(settings: Settings) -> None:
    @job(blocking=True, max_attempts=1)
    def leave_open() -> None:
        _left_open()

    async def run() -> tuple[JobStatus, int]:
        executors = [leave_open, server_process]
        node = Rexecutor(InMemoryBackend(), executors=executors, around_execute=[closes_connections], max_threads=1)
        async with node as rexecutor:
            left = await leave_open.options(backend=rexecutor.backend).enqueue()
            status = (await soon(left.wait())).status
            return status, await soon((await server_process.options(backend=rexecutor.backend).enqueue()).result())

    status, process = asyncio.run(run())

    assert status is JobStatus.DISCARDED
    assert process


@pytest.mark.skipif(django.VERSION < (6,), reason=NEEDS_6)
def test_a_block_that_a_task_leaves_open_fails_it_and_spares_the_next(settings: Settings) -> None:
    from django.tasks import task_backends

    from rexecutor.django.executors import executors_of
    from tests.in_django.shop import tasks

    async def run() -> list[Any]:
        results: list[Any] = []
        async with Rexecutor(backend_of(), executors=executors_of("default"), max_threads=1) as rexecutor:
            for given in (tasks.leave_open, tasks.server_process):
                result = await given.aenqueue("postgres")
                await soon(job_handle(int(result.id), rexecutor.backend).wait())
                results.append(await task_backends["default"].aget_result(result.id))
                await sync_to_async(connections.close_all)()
        return results

    with jobs_in("postgres"):
        left, after = asyncio.run(run())

    assert "within an atomic() block on 'postgres', which is rolled back" in left.errors[0].traceback
    assert after.return_value


async def _run_and_end(
    what: Any, middleware: Sequence[Any], ends: Callable[[int], None] | None = None
) -> tuple[int, int]:
    """Run the job twice in one node, in one thread. In between, end the connection that the first one had."""
    async with Rexecutor(InMemoryBackend(), executors=[what], around_execute=middleware, max_threads=1) as rexecutor:

        async def once() -> int:
            return await soon((await what.options(backend=rexecutor.backend).enqueue()).result())

        first = await once()
        (ends or _end)(first)
        return first, await once()


def _end(process: int) -> None:
    """End a connection at the server, as its restart does."""
    run_postgres(f"SELECT pg_terminate_backend({process}, 5000)")


def _connections_to(database: str) -> int:
    return run_postgres(f"SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}'")[0][0]


def _left_open() -> None:
    transaction.atomic(using="postgres").__enter__()


def _server_process() -> int:
    """Return the id of the server's process for this thread's connection."""
    with connections["postgres"].cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        found: int = cursor.fetchone()[0]
        return found
