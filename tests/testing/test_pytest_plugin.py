"""The fixtures, from wherever a test may look, and what the plugin costs who does not use them."""

import asyncio
import contextvars
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy.orm import Session

from rexecutor import (
    ConfigurationError,
    GlobalBackendError,
    InMemoryBackend,
    JobStatus,
    PostgresBackend,
    Rexecutor,
    SQLiteBackend,
    Where,
    override_global_backend,
)
from rexecutor.backend.base import Backend
from rexecutor.backend.current import current_backend
from rexecutor.clock import SystemClock
from rexecutor.testing import Drained, FakeClock, assert_enqueued, assert_enqueued_sync, drain, refute_enqueued
from tests.testing.executors import EmailJob, remind

APPLICATION = """
import asyncio
from rexecutor import Executor, InMemoryBackend, Job
from rexecutor.testing import assert_enqueued

class EmailJob(Executor[str]):
    name = "email_job"

    async def execute(self, job: Job[str]) -> None: ...

async def remind() -> None:
    await EmailJob.builder().with_data("bob").enqueue()
"""

SYNCHRONOUS = (
    APPLICATION
    + """
def test_a_reminder(rexecutor_backend: InMemoryBackend) -> None:
    asyncio.run(remind())
    asyncio.run(assert_enqueued(1, for_executor=EmailJob, with_data="bob"))

def test_a_failure(rexecutor_backend: InMemoryBackend) -> None:
    asyncio.run(assert_enqueued(1, for_executor=EmailJob, with_data="bob"))
"""
)

ASYNCHRONOUS = (
    APPLICATION
    + """
import pytest

@pytest.mark.asyncio
async def test_a_reminder(rexecutor_backend: InMemoryBackend) -> None:
    await remind()
    await assert_enqueued(1, for_executor=EmailJob, with_data="bob")
"""
)

FIXTURES = (
    APPLICATION
    + """
import asyncio
import threading
from concurrent.futures import Future
from contextlib import contextmanager

import pytest
import pytest_asyncio
from rexecutor import override_global_backend
from rexecutor.backend.current import current_backend
from rexecutor.testing import refute_enqueued

def in_a_thread(look):
    found = Future()
    thread = threading.Thread(target=lambda: found.set_result(look()))
    thread.start()
    thread.join(20)
    return found.result(0)

@contextmanager
def portal():
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    yield lambda work: asyncio.run_coroutine_threadsafe(work, loop).result(20)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(20)
    loop.close()

@pytest.fixture(scope="{wide}")
def client():  # a test client, whose application runs in an event loop of another thread
    with portal() as call:
        yield call

{wide_fixture}(scope="{wide}")
{wide_def} wide(client):
    with override_global_backend(InMemoryBackend().paused()) as backend:
        yield backend

{narrow_fixture}
{narrow_def} narrow(wide):
    with override_global_backend(InMemoryBackend().paused()) as backend:
        yield backend

def check(backend, client):
    assert current_backend() is backend
    assert in_a_thread(current_backend) is backend
    client(remind())
    asyncio.run(remind())
    in_a_thread(lambda: asyncio.run(remind()))

def test_a_wide_one(wide, client):
    check(wide, client)
    asyncio.run(assert_enqueued(3, for_executor=EmailJob, with_data="bob", backend=wide))

@pytest.mark.asyncio(loop_scope="{wide}")
async def test_a_wide_one_asynchronously(wide, client):
    await asyncio.to_thread(check, wide, client)
    await remind()
    await assert_enqueued(7, for_executor=EmailJob, with_data="bob")

def test_a_narrow_one(narrow, client):
    check(narrow, client)
    asyncio.run(assert_enqueued(3, backend=narrow))

@pytest.mark.asyncio(loop_scope="{wide}")
async def test_a_narrow_one_asynchronously(narrow, client):
    await asyncio.to_thread(check, narrow, client)
    await remind()
    await assert_enqueued(4)

def test_the_plugins_own(wide, rexecutor_backend, client):
    check(rexecutor_backend, client)
    asyncio.run(assert_enqueued(3, backend=rexecutor_backend))

@pytest.mark.asyncio(loop_scope="{wide}")
async def test_the_plugins_own_asynchronously(wide, rexecutor_backend, client):
    await asyncio.to_thread(check, rexecutor_backend, client)
    await remind()
    await assert_enqueued(4)
    await assert_enqueued(7, backend=wide)

@pytest.mark.asyncio(loop_scope="{wide}")
async def test_an_override_in_the_test(narrow, client):
    with override_global_backend(InMemoryBackend().paused()) as backend:
        await asyncio.to_thread(check, backend, client)
        await remind()
        await assert_enqueued(4)
    await refute_enqueued()

def test_the_wide_one_again(wide, client):
    check(wide, client)
    asyncio.run(assert_enqueued(10, backend=wide))
"""
)

ENDED = """
import pytest
from rexecutor import GlobalBackendError
from rexecutor.backend.current import current_backend

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish():
    try:
        current_backend()
    except GlobalBackendError:
        print("none is left")
"""

LOADED = """
import sys

def test_nothing_else_is_loaded() -> None:
    loaded = [name for name in sys.modules if name.startswith(("psycopg", "hypothesis", "rexecutor.testing.suite"))]
    assert not loaded
"""


def run(folder: Path, test: str, *arguments: str) -> str:
    """Run one file of tests in a process and a folder of its own, and return what pytest says."""
    (folder / "test_application.py").write_text(test, encoding="utf-8")
    loop = "asyncio_default_fixture_loop_scope=function"
    options = ["-W", "error", "-o", loop, "-p", "no:cacheprovider", "-p", "no:randomly"]
    command = [sys.executable, "-m", "pytest", *options, *arguments]
    result = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=100)
    return result.stdout + result.stderr


async def test_what_is_enqueued_goes_to_the_fixture(rexecutor_backend: InMemoryBackend) -> None:
    await remind()

    await assert_enqueued(1, for_executor=EmailJob)
    await assert_enqueued(1, for_executor=EmailJob, backend=rexecutor_backend)
    assert isinstance(rexecutor_backend.clock, SystemClock)


async def test_each_test_has_a_store_of_its_own(rexecutor_backend: InMemoryBackend) -> None:
    assert await rexecutor_backend.count() == []


async def test_it_is_paused_and_can_be_drained(rexecutor_backend: InMemoryBackend) -> None:
    await EmailJob.builder().with_data("bob").enqueue()

    assert rexecutor_backend._paused
    assert await drain(EmailJob) == Drained(complete=1)


async def test_with_the_clock_the_backend_is_on_it(
    rexecutor_backend: InMemoryBackend, rexecutor_clock: FakeClock
) -> None:
    assert rexecutor_backend.clock is rexecutor_clock


def test_it_is_seen_in_synchronous_tests(rexecutor_backend: InMemoryBackend) -> None:
    assert current_backend() is rexecutor_backend


def test_it_is_seen_in_other_threads_and_contexts(rexecutor_backend: InMemoryBackend) -> None:
    seen: list[Backend] = []
    thread = threading.Thread(target=lambda: seen.append(current_backend()))
    thread.start()
    thread.join()

    assert seen == [rexecutor_backend]
    assert contextvars.Context().run(current_backend) is rexecutor_backend


def test_an_override_within_the_test_goes_before_it(rexecutor_backend: InMemoryBackend) -> None:
    other = InMemoryBackend()

    with override_global_backend(other):
        assert current_backend() is other

    assert current_backend() is rexecutor_backend


def test_an_application_may_set_its_global_backend_all_the_same(rexecutor_backend: InMemoryBackend) -> None:
    application = Rexecutor(InMemoryBackend()).set_global_backend()
    try:
        assert current_backend() is rexecutor_backend
    finally:
        application._unset_global_backend()


class TestAStoreThatIsNamed:
    """No job of a test with the fixture reaches a store, unless the test says so by an override."""

    @pytest.fixture
    def store(self, tmp_path: Path) -> SQLiteBackend:
        """The application's own, which it opens."""
        return SQLiteBackend(tmp_path / "jobs.db")

    async def test_jobs_for_it_are_recorded_in_the_fixture(
        self, rexecutor_backend: InMemoryBackend, store: SQLiteBackend
    ) -> None:
        async with store:
            handle = await EmailJob.builder().with_data("a").enqueue(backend=store)
            EmailJob.builder().with_data("b").enqueue_sync(backend=store)
            await asyncio.to_thread(EmailJob.builder().with_data("c").enqueue_sync, backend=store)

            assert handle.backend is rexecutor_backend
            assert [job.data for job in await assert_enqueued(3, for_executor=EmailJob)] == ["a", "b", "c"]
            assert await store.count() == []

    async def test_jobs_of_a_transaction_are_recorded_in_the_fixture(
        self, rexecutor_backend: InMemoryBackend, store: SQLiteBackend
    ) -> None:
        async with store:
            with closing(sqlite3.connect(store.path)) as connection:
                bound = store.bound_to(connection)
                await EmailJob.builder().with_data("a").enqueue(backend=bound)
                EmailJob.builder().with_data("b").enqueue_sync(backend=bound)
                connection.commit()

                await assert_enqueued(2, backend=bound)
                assert_enqueued_sync(2, backend=bound)

            assert await store.count() == []
            assert [one.jobs for one in await rexecutor_backend.count()] == [2]

    async def test_what_is_asked_of_it_and_changed_in_it_is_the_fixtures(
        self, rexecutor_backend: InMemoryBackend, store: SQLiteBackend
    ) -> None:
        handle = await EmailJob.builder().with_data("a").enqueue(backend=store)

        assert len(await EmailJob.query_jobs(Where.id_equals(handle.id), backend=store)) == 1
        assert await drain(EmailJob, backend=store) == Drained(complete=1)
        await EmailJob.rerun_job(handle.id, backend=store)
        await EmailJob.cancel_job(handle.id, "no longer needed", backend=store)
        assert (await handle.fetch()).status is JobStatus.CANCELLED
        assert not store.path.exists()

    async def test_a_backend_in_memory_is_used_itself(self, rexecutor_backend: InMemoryBackend) -> None:
        other = InMemoryBackend().paused()

        await EmailJob.builder().with_data("a").enqueue(backend=other)

        await assert_enqueued(1, backend=other)
        await refute_enqueued(backend=rexecutor_backend)

    async def test_within_an_override_by_another_one_in_memory_jobs_are_recorded_in_that(
        self, rexecutor_backend: InMemoryBackend, store: SQLiteBackend
    ) -> None:
        with override_global_backend(InMemoryBackend()) as other:
            await EmailJob.builder().with_data("a").enqueue(backend=store)

            await assert_enqueued(1, backend=other)
        await refute_enqueued()

    async def test_within_an_override_by_a_store_jobs_go_where_they_say(
        self, rexecutor_backend: InMemoryBackend, store: SQLiteBackend, tmp_path: Path
    ) -> None:
        async with store, SQLiteBackend(tmp_path / "other.db") as other:
            with override_global_backend(other), closing(sqlite3.connect(store.path)) as connection:
                await EmailJob.builder().with_data("a").enqueue()
                await EmailJob.builder().with_data("b").enqueue(backend=store)
                EmailJob.builder().with_data("c").enqueue_sync(backend=store.bound_to(connection))
                connection.commit()

                assert [job.data for job in await assert_enqueued(1, backend=other)] == ["a"]
                assert [job.data for job in await assert_enqueued(2, backend=store)] == ["b", "c"]
            await refute_enqueued()

    async def test_what_is_no_backend_is_refused_as_ever(self, rexecutor_backend: InMemoryBackend) -> None:
        wrong: Any = "jobs.db"

        with pytest.raises(ConfigurationError, match="must be a Backend"):
            await EmailJob.builder().with_data("a").enqueue(backend=wrong)

    async def test_a_connection_of_the_wrong_kind_is_refused_as_ever(self, rexecutor_backend: InMemoryBackend) -> None:
        with Session() as session:
            bound: Any = PostgresBackend("postgresql://nobody@nowhere/none").bound_to(session)

            with pytest.raises(ConfigurationError, match="the connection is synchronous"):
                await EmailJob.builder().with_data("a").enqueue(backend=bound)


async def test_jobs_of_a_connection_are_recorded_in_the_fixture(rexecutor_backend: InMemoryBackend) -> None:
    await EmailJob.enqueue("a", connection=object())
    EmailJob.enqueue_sync("b", connection=object())

    assert [job.data for job in await assert_enqueued(2, for_executor=EmailJob)] == ["a", "b"]


async def test_jobs_of_a_connection_are_recorded_in_a_backend_that_overrides_the_global_one() -> None:
    with override_global_backend(InMemoryBackend().paused()) as backend:
        await EmailJob.enqueue("a", connection=object())

        await assert_enqueued(1, for_executor=EmailJob, with_data="a")
        with pytest.raises(ConfigurationError, match="cannot store a job in your transaction"):
            await EmailJob.enqueue("b", connection=object(), backend=backend)


def test_undoing_other_patches_does_not_undo_it(
    rexecutor_backend: InMemoryBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()

    assert current_backend() is rexecutor_backend


def test_without_it_there_is_no_global_backend() -> None:
    with pytest.raises(GlobalBackendError):
        current_backend()


def test_a_synchronous_application_is_tested_with_it(tmp_path: Path) -> None:
    said = run(tmp_path, SYNCHRONOUS)

    assert "1 failed, 1 passed" in said
    assert "assert_enqueued: 1 job expected, 0 found" in said
    assert "raise AssertionError" not in said  # the helper's own lines are not shown


def test_an_asynchronous_application_is_tested_with_it(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, ASYNCHRONOUS)


@pytest.mark.parametrize("narrow", ["sync", "async"])
@pytest.mark.parametrize("wide", ["sync", "async"])
@pytest.mark.parametrize("scope", ["session", "module"])
def test_fixtures_of_every_scope_override_the_global_backend(
    tmp_path: Path, scope: str, wide: str, narrow: str
) -> None:
    fixtures = {"sync": "@pytest.fixture", "async": "@pytest_asyncio.fixture"}
    definitions = {"sync": "def", "async": "async def"}
    test = FIXTURES
    for name, text in {
        "wide": scope,
        "wide_fixture": fixtures[wide],
        "wide_def": definitions[wide],
        "narrow_fixture": fixtures[narrow] + (f'(loop_scope="{scope}")' if narrow == "async" else ""),
        "narrow_def": definitions[narrow],
    }.items():
        test = test.replace(f"{{{name}}}", text)
    if wide == "async":
        test = test.replace(
            f'fixture(scope="{scope}")\nasync', f'fixture(scope="{scope}", loop_scope="{scope}")\nasync'
        )
    (tmp_path / "conftest.py").write_text(ENDED, encoding="utf-8")

    said = run(tmp_path, test)

    assert "8 passed" in said, said
    assert "none is left" in said


def test_the_plugin_loads_no_extra_and_no_suite_until_they_are_used(tmp_path: Path) -> None:
    assert "1 passed" in run(tmp_path, LOADED)


def test_the_plugin_can_be_left_out(tmp_path: Path) -> None:
    assert "fixture 'rexecutor_backend' not found" in run(tmp_path, ASYNCHRONOUS, "-p", "no:rexecutor")
    assert "1 passed" in run(tmp_path, LOADED, "-p", "no:rexecutor")


def test_the_fixtures_are_listed_with_what_they_are(tmp_path: Path) -> None:
    said = run(tmp_path, LOADED, "--fixtures")

    assert "rexecutor_backend" in said
    assert "A paused `InMemoryBackend` of the test's own" in said
