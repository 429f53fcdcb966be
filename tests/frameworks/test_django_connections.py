"""Enqueues, reads, changes and completions on Django's connections, within `atomic()` and outside."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from asgiref.sync import sync_to_async
from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.test import SimpleTestCase
from django.utils.connection import ConnectionProxy

from rexecutor import (
    Backend,
    BackendError,
    ConfigurationError,
    Executor,
    InvalidJobError,
    Job,
    JobNotFoundError,
    JobStatus,
    PostgresBackend,
    Replace,
    SchemaError,
    SQLiteBackend,
    UniquenessCriteria,
    Where,
    enqueue_many_sync,
)
from rexecutor.backend.app_transaction import SyncTransaction
from rexecutor.backend.messages import Demand, Node
from rexecutor.model.job import JobRecord
from rexecutor.model.where import Everything
from tests.backend.proxies import made_of
from tests.backends import made_backend
from tests.frameworks.django_settings import ALIAS, connected, local_zone, postgres, sqlite
from tests.postgres import run_postgres, server_url

LATER = datetime(2031, 7, 1, 12, tzinfo=UTC)
BERLIN = "Europe/Berlin"
ANY = Everything()


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None: ...


class Once(Executor[str]):
    name = "once"
    uniqueness_criteria = UniquenessCriteria.by_executor().on_conflict(Replace.data())

    async def execute(self, job: Job[str]) -> None: ...


class ApplicationError(Exception): ...


@pytest.fixture(params=["postgres", "sqlite"])
async def backend(request: pytest.FixtureRequest, tmp_path: Path) -> Backend:
    return await with_tables(request.param, tmp_path)


@pytest.fixture
async def on_postgres(tmp_path: Path) -> PostgresBackend:
    return await with_tables("postgres", tmp_path)


@pytest.fixture
async def on_sqlite(tmp_path: Path) -> SQLiteBackend:
    return await with_tables("sqlite", tmp_path)


async def with_tables(name: str, folder: Path) -> Any:
    """Return a backend that has its tables and is not open, as in a process of Django's."""
    async with made_backend(name, folder) as made:
        return made


def database_of(backend: Backend, **settings: Any) -> dict[str, Any]:
    return sqlite(backend.path, **settings) if isinstance(backend, SQLiteBackend) else postgres(**settings)


@pytest.fixture
def connection(backend: Backend) -> Generator[BaseDatabaseWrapper]:
    with connected(database_of(backend)) as made:
        yield made


def stored(backend: Backend) -> list[str]:
    """Return the data of the jobs that others see."""
    return [job.data for job in Letter.query_jobs_sync(ANY, backend=backend)]


def enqueue(backend: Any, connection: object, data: str = "a") -> None:
    Letter.enqueue_sync(data, connection=connection, backend=backend)


class TestATransaction:
    def test_what_is_committed_is_there(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        with transaction.atomic(ALIAS):
            connection.cursor().execute("CREATE TEMPORARY TABLE orders (id integer)")
            handle = Letter.enqueue_sync("ä % %s", tags=["a"], connection=connection, backend=backend)
            enqueue_many_sync([Letter.new("b"), Once.new("c")], connection=connection, backend=backend)
            assert stored(backend) == []

        assert handle.fetch_sync().tags == ("a",)
        assert stored(backend) == ["ä % %s", "b"]

    def test_an_enqueue_may_be_its_first_statement(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        with transaction.atomic(ALIAS):
            enqueue(backend, connection)
            assert stored(backend) == []

        assert stored(backend) == ["a"]

    def test_what_is_rolled_back_never_was(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        with suppress(ApplicationError), transaction.atomic(ALIAS):
            enqueue(backend, connection)
            raise ApplicationError

        assert stored(backend) == []

    def test_a_savepoint_that_is_rolled_back_takes_its_jobs_with_it(
        self, backend: Backend, connection: BaseDatabaseWrapper
    ) -> None:
        with transaction.atomic(ALIAS):
            enqueue(backend, connection, "kept")
            with suppress(ApplicationError), transaction.atomic(ALIAS):
                enqueue(backend, connection, "undone")
                raise ApplicationError
            with transaction.atomic(ALIAS):
                enqueue(backend, connection, "kept too")

        assert stored(backend) == ["kept", "kept too"]

    def test_outside_one_an_enqueue_is_committed_at_once(
        self, backend: Backend, connection: BaseDatabaseWrapper
    ) -> None:
        enqueue_many_sync([Letter.new("a"), Once.new("c")], connection=connection, backend=backend)

        assert stored(backend) == ["a"]
        assert connection.get_autocommit()
        with transaction.atomic(ALIAS):
            enqueue(backend, connection, "b")

        assert stored(backend) == ["a", "b"]

    def test_without_autocommit_the_application_commits(
        self, backend: Backend, connection: BaseDatabaseWrapper
    ) -> None:
        connection.set_autocommit(False)
        enqueue(backend, connection, "undone")
        connection.rollback()
        enqueue(backend, connection)
        assert stored(backend) == []

        connection.commit()

        assert stored(backend) == ["a"]
        connection.set_autocommit(True)

    def test_what_runs_on_commit_may_enqueue(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        with transaction.atomic(ALIAS):
            transaction.on_commit(lambda: enqueue(backend, connection), using=ALIAS)
            assert stored(backend) == []

        assert stored(backend) == ["a"]

    def test_jobs_are_read_and_changed_in_it(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        there = Letter.enqueue_sync("there", schedule_at=LATER, backend=backend)
        with suppress(ApplicationError), transaction.atomic(ALIAS):
            enqueue(backend, connection)
            found = Letter.query_jobs_sync(ANY, connection=connection, backend=backend)
            assert [job.data for job in found] == ["there", "a"]
            assert found[0].scheduled_at == LATER
            Letter.cancel_job_sync(there.id, "not now", connection=connection, backend=backend)
            counts = Letter.count_jobs_sync(connection=connection, backend=backend)
            assert (counts[JobStatus.CANCELLED], counts[JobStatus.SCHEDULED]) == (1, 1)
            raise ApplicationError

        assert there.fetch_sync().status is JobStatus.SCHEDULED
        Letter.cancel_job_sync(there.id, "now", connection=connection, backend=backend)
        assert there.fetch_sync().status is JobStatus.CANCELLED

    async def test_a_job_is_completed_in_it(self, tmp_path: Path) -> None:
        for name in ("postgres", "sqlite"):
            backend = await with_tables(name, tmp_path)
            record = await claimed(backend)
            await sync_to_async(self.complete)(backend, record)

    def complete(self, backend: Backend, record: JobRecord) -> None:
        with connected(database_of(backend)) as connection:
            with suppress(ApplicationError), transaction.atomic(ALIAS):
                assert backend.completion().complete_sync(record, connection)
                raise ApplicationError
            with transaction.atomic(ALIAS):
                assert backend.completion().complete_sync(record, connection)
        [job] = Letter.query_jobs_sync(ANY, backend=backend)
        assert job.status is JobStatus.COMPLETE


async def claimed(backend: Backend) -> JobRecord:
    async with backend:
        await Letter.enqueue("a", backend=backend)
        lease = backend.heartbeat_connection()
        await asyncio.to_thread(lease.send, Node("n", "n", timedelta(seconds=30)))
        [record] = (await backend.claim(Demand({"letter": 1}, 1), "n")).jobs
        await asyncio.to_thread(lease.close)
    return record


class TestAnErrorWithinIt:
    def test_the_applications_block_is_rolled_back_though_it_catches_the_error(self, on_postgres: Any) -> None:
        """Otherwise PostgreSQL would answer Django's COMMIT by a ROLLBACK, and hooks of `on_commit` would run."""
        elsewhere = PostgresBackend(server_url(), schema="there_is_none")
        hooks: list[str] = []
        with connected(postgres()) as connection:
            with transaction.atomic(ALIAS):
                enqueue(on_postgres, connection)
                transaction.on_commit(lambda: hooks.append("committed"), using=ALIAS)
                with pytest.raises(SchemaError, match=r"there_is_none.*run `manage.py migrate"):
                    enqueue(elsewhere, connection)
                assert connection.needs_rollback
                with pytest.raises(ConfigurationError, match="Django: an error has occurred in the atomic block"):
                    enqueue(on_postgres, connection)
                with pytest.raises(transaction.TransactionManagementError):
                    connection.cursor().execute("SELECT 1")

            assert hooks == []
            assert stored(on_postgres) == []
            enqueue(on_postgres, connection, "b")  # the connection goes on

        assert stored(on_postgres) == ["b"]

    def test_in_a_savepoint_it_costs_no_more_than_that(self, on_postgres: Any) -> None:
        elsewhere = PostgresBackend(server_url(), schema="there_is_none")
        with connected(postgres()) as connection, transaction.atomic(ALIAS):
            enqueue(on_postgres, connection)
            with suppress(SchemaError), transaction.atomic(ALIAS):
                enqueue(elsewhere, connection)
            enqueue(on_postgres, connection, "b")

        assert stored(on_postgres) == ["a", "b"]

    def test_what_is_refused_before_anything_is_sent_does_not_break_it(
        self, backend: Backend, connection: BaseDatabaseWrapper
    ) -> None:
        with transaction.atomic(ALIAS):
            enqueue(backend, connection)
            with pytest.raises(InvalidJobError):
                Letter.enqueue_sync("b", priority=-1, connection=connection, backend=backend)
            with pytest.raises(JobNotFoundError):
                Letter.cancel_job_sync(77, "no", connection=connection, backend=backend)
            other = SQLiteBackend("other.db") if isinstance(backend, PostgresBackend) else nowhere()
            with pytest.raises(ConfigurationError, match="not to"):
                enqueue(other, connection)

        assert stored(backend) == ["a"]

    def test_sqlite_undoes_what_has_failed_and_the_block_goes_on(self, on_sqlite: SQLiteBackend) -> None:
        forbid(on_sqlite, "ABORT")
        with connected(sqlite(on_sqlite.path)) as connection, transaction.atomic(ALIAS):
            enqueue(on_sqlite, connection)
            with pytest.raises(BackendError, match="forbidden"):
                enqueue_many_sync([Letter.new("b"), Letter.new("bad")], connection=connection, backend=on_sqlite)
            enqueue(on_sqlite, connection, "c")

        assert stored(on_sqlite) == ["a", "c"]

    def test_unless_sqlite_has_rolled_back_the_whole_transaction(self, on_sqlite: SQLiteBackend) -> None:
        forbid(on_sqlite, "ROLLBACK")
        with connected(sqlite(on_sqlite.path)) as connection:
            with transaction.atomic(ALIAS):
                enqueue(on_sqlite, connection)
                with pytest.raises(BackendError, match="forbidden"):
                    enqueue(on_sqlite, connection, "bad")
                with pytest.raises(ConfigurationError, match="an error has occurred in the atomic block"):
                    enqueue(on_sqlite, connection, "c")

            assert stored(on_sqlite) == []
            enqueue(on_sqlite, connection, "d")

        assert stored(on_sqlite) == ["d"]


def forbid(backend: SQLiteBackend, action: str) -> None:
    """Let an insert of bad data fail."""
    with sqlite3.connect(backend.path) as connection:
        connection.execute(
            f"""CREATE TRIGGER forbids BEFORE INSERT ON rexecutor_stored_jobs WHEN NEW.data = '"bad"'
            BEGIN SELECT RAISE({action}, 'forbidden'); END"""
        )
    connection.close()


def nowhere() -> PostgresBackend:
    return PostgresBackend("postgresql://nobody@nowhere/none")


SETTINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "utc": ({}, {}),
    "a zone of its own": ({"TIME_ZONE": BERLIN}, {}),
    "without zones": ({}, {"USE_TZ": False, "TIME_ZONE": BERLIN}),
    "bound at the server": ({"OPTIONS": {"server_side_binding": True}}, {"USE_TZ": False, "TIME_ZONE": "UTC"}),
    "pool": ({"OPTIONS": {"pool": {"min_size": 1, "max_size": 1}}}, {}),
    "strict": ({"OPTIONS": {"isolation_level": psycopg.IsolationLevel.SERIALIZABLE}}, {}),
}


class TestSettings:
    @pytest.mark.parametrize("settings", SETTINGS)
    def test_of_postgresql_change_nothing_in_what_is_stored_and_read(self, on_postgres: Any, settings: str) -> None:
        database, overridden = SETTINGS[settings]
        with connected(postgres(**database), **overridden) as connection, local_zone("Asia/Tokyo"):
            self.check(on_postgres, connection)

    @pytest.mark.parametrize("zones", [True, False])
    def test_of_sqlite_do_not_either(self, on_sqlite: SQLiteBackend, zones: Any) -> None:
        database = sqlite(on_sqlite.path, OPTIONS={"transaction_mode": "IMMEDIATE"})
        with connected(database, USE_TZ=zones, TIME_ZONE=BERLIN) as connection, local_zone("Asia/Tokyo"):
            self.check(on_sqlite, connection)

    def check(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        with transaction.atomic(ALIAS):
            metadata: Any = {"b": [1, None]}
            fields = Fields.enqueue_sync(
                {"ä": 1.5},
                metadata=metadata,
                tags=["x", "y"],
                schedule_at=LATER,
                connection=connection,
                backend=backend,
            )
            Once.enqueue_sync("first", connection=connection, backend=backend)
            once = Once.enqueue_sync("second", connection=connection, backend=backend)
            [inside] = Fields.query_jobs_sync(Where.scheduled_at_equals(LATER), connection=connection, backend=backend)
        outside = fields.fetch_sync()

        assert inside == outside
        assert (inside.data, inside.metadata, inside.tags) == ({"ä": 1.5}, metadata, ("x", "y"))
        assert (inside.scheduled_at, inside.scheduled_at.tzinfo) == (LATER, UTC)
        assert abs(datetime.now(UTC) - inside.inserted_at) < timedelta(minutes=5)  # noqa: TID251 - the store's time
        assert once.disposition == "replaced"


class Fields(Executor[dict[str, float], Any]):
    name = "fields"

    async def execute(self, job: Job[dict[str, float], Any]) -> None: ...


class TestWhichConnection:
    def test_the_proxy_is_of_the_thread_that_enqueues(self, on_postgres: Any) -> None:
        proxy = cast("BaseDatabaseWrapper", ConnectionProxy(connections, ALIAS))
        bound = on_postgres.bound_to(proxy)
        with connected(postgres()), transaction.atomic(ALIAS):
            Letter.enqueue_sync("mine", backend=bound)

            def enqueue_there() -> None:
                with connected(postgres()):
                    Letter.enqueue_sync("theirs", backend=bound)

            in_a_thread(enqueue_there)
            assert stored(on_postgres) == ["theirs"]

        assert sorted(stored(on_postgres)) == ["mine", "theirs"]

    def test_one_of_another_thread_is_refused(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        def enqueue_there() -> None:
            with pytest.raises(ConfigurationError, match=r"'jobs' belongs to another thread.*nothing was sent"):
                enqueue(backend, connection)
            connection.inc_thread_sharing()
            enqueue(backend, connection, "b")

        in_a_thread(enqueue_there)

        assert stored(backend) == ["b"]

    def test_it_is_asked_anew_each_time(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        bound: SyncTransaction = cast("Any", backend).bound_to(connection)
        assert connection.connection is None
        Letter.enqueue_sync("a", backend=bound)
        connection.close()
        Letter.enqueue_sync("b", backend=bound)

        assert stored(backend) == ["a", "b"]

    def test_that_of_another_store_is_refused(
        self, backend: Backend, connection: BaseDatabaseWrapper, tmp_path: Path
    ) -> None:
        other = nowhere() if isinstance(backend, SQLiteBackend) else SQLiteBackend(tmp_path / "x.db")
        kinds = "SQLite, not to PostgreSQL" if isinstance(backend, SQLiteBackend) else "PostgreSQL, not to SQLite"
        with pytest.raises(ConfigurationError, match=f"Django's connection 'jobs' is to {kinds}; give `django.db.conn"):
            enqueue(other, connection)
        for vendor in ("mysql", "oracle"):
            cast("Any", connection).vendor = vendor
            with pytest.raises(ConfigurationError, match=f"is to {vendor}, not to"):
                enqueue(backend, connection)

    def test_that_of_another_file_is_refused(self, on_sqlite: SQLiteBackend, tmp_path: Path) -> None:
        refused = pytest.raises(ConfigurationError, match=r"the connection is to .*other\.db, not to .*jobs\.db$")
        with connected(sqlite(tmp_path / "other.db")) as connection, refused:
            enqueue(on_sqlite, connection)

    @pytest.mark.parametrize("name", [":memory:", "file:memorydb_jobs?mode=memory&cache=shared"])
    def test_that_of_a_test_database_in_memory_is_refused_with_advice(
        self, on_sqlite: SQLiteBackend, name: str
    ) -> None:
        with connected(sqlite(name)) as connection:
            with pytest.raises(
                ConfigurationError, match=r"is to memory, not to .*; .*in Django's tests `TEST = {'NAME'"
            ):
                enqueue(on_sqlite, connection)
            connection.connection.close()  # Django never closes one in memory

    def test_psycopg2_is_refused(self, on_postgres: Any) -> None:
        with connected(postgres()) as connection:
            connection.ensure_connection()
            used, connection.connection = connection.connection, made_of("psycopg2.extensions.connection")
            try:
                with pytest.raises(ConfigurationError, match=r"psycopg2 for 'jobs'; install psycopg \(version 3\)"):
                    enqueue(on_postgres, connection)
            finally:
                connection.connection = used

    @pytest.mark.parametrize("name", ["django.core.cache.Cache", "builtins.object"])
    def test_the_proxy_of_a_cache_is_refused(self, backend: Backend, name: str) -> None:
        proxy = ConnectionProxy(cast("Any", {ALIAS: object()}), ALIAS)
        with pytest.raises(
            ConfigurationError, match=r"ConnectionProxy is not a connection to a database; give `django"
        ):
            enqueue(backend, proxy)

    def test_none_and_cursors_are_refused_with_advice(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        with pytest.raises(ConfigurationError, match=r"give `django\.db\.connection` itself"):
            cast("Any", backend).bound_to(None)
        with pytest.raises(ConfigurationError, match=r"CursorWrapper .*; give `django\.db\.connection` or"):
            cast("Any", backend).bound_to(connection.cursor())

    def test_what_a_test_of_django_forbids_is_not_sent(self, backend: Backend, connection: BaseDatabaseWrapper) -> None:
        class Case(SimpleTestCase): ...

        enqueue(backend, connection)
        before = connections.settings
        connections.settings = {ALIAS: connection.settings_dict}
        Case.setUpClass()
        try:
            with pytest.raises(AssertionError, match="not allowed in SimpleTestCase"):
                enqueue(backend, connection, "b")
        finally:
            Case.doClassCleanups()
            connections.settings = before

        assert stored(backend) == ["a"]


def in_a_thread(work: Callable[[], None]) -> None:
    """Run it in a thread of its own, and raise what it raises."""
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    for error in errors:
        raise error


class TestALostConnection:
    def test_a_database_that_is_gone_is_a_failure_of_the_store(self, on_postgres: Any) -> None:
        database = postgres(HOST="127.0.0.1", PORT="1", OPTIONS={"connect_timeout": 2})
        failed = pytest.raises(BackendError, match=r"bound_to: Django: .*connection failed")
        with connected(database) as connection, failed:
            enqueue(on_postgres, connection)

    def test_settings_that_are_wrong_are_misuse(self, on_postgres: Any) -> None:
        refused = pytest.raises(ConfigurationError, match=r"Django: settings.DATABASES is improperly .*; nothing was")
        with connected(postgres(NAME="")) as connection, refused:
            enqueue(on_postgres, connection)
        with pytest.raises(ConfigurationError, match="Django: The connection 'unknown' doesn't exist; nothing was"):
            enqueue(on_postgres, ConnectionProxy(connections, "unknown"))

    def test_django_opens_another_at_the_next_request(self, on_postgres: Any) -> None:
        with connected(postgres(CONN_MAX_AGE=None)) as connection:
            enqueue(on_postgres, connection)
            end_session(connection)
            with pytest.raises(BackendError, match=r"terminating connection|server closed|closed"):
                enqueue(on_postgres, connection, "lost")
            connection.close_if_unusable_or_obsolete()  # what Django does between two requests
            enqueue(on_postgres, connection, "b")

        assert stored(on_postgres) == ["a", "b"]

    def test_one_that_is_checked_is_not_noticed(self, on_postgres: Any) -> None:
        with connected(postgres(CONN_MAX_AGE=None, CONN_HEALTH_CHECKS=True)) as connection:
            enqueue(on_postgres, connection)
            connection.close_if_unusable_or_obsolete()
            end_session(connection)
            enqueue(on_postgres, connection, "b")

        assert stored(on_postgres) == ["a", "b"]

    def test_within_a_block_nothing_is_committed(self, on_postgres: Any) -> None:
        with connected(postgres(CONN_MAX_AGE=None)) as connection:
            with transaction.atomic(ALIAS):
                enqueue(on_postgres, connection)
                end_session(connection)
                with pytest.raises(BackendError):
                    enqueue(on_postgres, connection, "lost")
                assert connection.needs_rollback
            enqueue(on_postgres, connection, "b")

        assert stored(on_postgres) == ["b"]

    def test_one_that_was_closed_within_a_block_is_not_opened_again(
        self, backend: Backend, connection: BaseDatabaseWrapper
    ) -> None:
        with transaction.atomic(ALIAS):
            enqueue(backend, connection)
            connection.close()
            with pytest.raises(ConfigurationError, match=r"error has occurred in the atomic block.*nothing was sent"):
                enqueue(backend, connection, "b")

        assert stored(backend) == []


def end_session(connection: BaseDatabaseWrapper) -> None:
    """Let the server end the connection, and wait until it has."""
    pid = connection.connection.info.backend_pid
    run_postgres(f"SELECT pg_terminate_backend({pid}, 20000)")


class TestAnEventLoop:
    async def test_awaiting_an_enqueue_names_what_to_do(self, on_postgres: Any, on_sqlite: SQLiteBackend) -> None:
        wrapper = await sync_to_async(unused)(postgres())
        with pytest.raises(
            ConfigurationError,
            match=r"call enqueue_sync or enqueue_many_sync, in a coroutine through .*sync_to_async`$",
        ):
            await Letter.enqueue("a", connection=wrapper, backend=on_postgres)
        with pytest.raises(
            ConfigurationError, match=r"call complete_in_sync, in a coroutine through .*sync_to_async`$"
        ):
            await on_postgres.completion().complete(cast("Any", None), wrapper)

    async def test_so_does_a_synchronous_call_within_it(self, tmp_path: Path) -> None:
        backend = await with_tables("sqlite", tmp_path)
        wrapper = await sync_to_async(unused)(sqlite(backend.path))
        advice = r"where an event loop runs; await `sync_to_async\(…\)`"
        with pytest.raises(ConfigurationError, match=advice):
            Letter.enqueue_sync("a", connection=wrapper, backend=backend)
        with pytest.raises(ConfigurationError, match=advice):
            await Letter.enqueue("a", connection=wrapper, backend=backend)

    async def test_the_advice_works(self, tmp_path: Path) -> None:
        backend = await with_tables("postgres", tmp_path)

        def view() -> None:
            with connected(postgres()) as connection, transaction.atomic(ALIAS):
                enqueue(backend, connection)

        await sync_to_async(view)()

        assert await sync_to_async(stored)(backend) == ["a"]


def unused(database: dict[str, Any]) -> BaseDatabaseWrapper:
    with connected(database) as connection:
        connection.inc_thread_sharing()
        return connection
