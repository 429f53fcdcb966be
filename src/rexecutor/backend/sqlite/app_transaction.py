"""Enqueues, queries, changes and completions on the application's own connection."""

import sqlite3
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Final, TypeVar

import rexecutor.backend.sqlite.operations as store
from rexecutor.backend.app_transaction import SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.django_connection import (
    advised_to_migrate,
    django_driver_connection,
    is_django,
    report_to_django,
)
from rexecutor.backend.messages import PAGE, Count, NewPause, Pause
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.sqlite.connection import check_version, transaction, translated
from rexecutor.backend.sqlite.dialect import add_functions
from rexecutor.backend.sqlite.forks import refuse_after_fork
from rexecutor.backend.sqlite.writer import lenient_text
from rexecutor.backend.unwrapping import (
    class_names,
    driver_connection,
    is_async_sqlalchemy,
    is_sqlalchemy,
    refusal,
    unwrapped,
)
from rexecutor.clock import Clock
from rexecutor.errors import ConfigurationError
from rexecutor.model.job import Enqueued, JobId, JobRecord, Limits, NewJob
from rexecutor.model.outcomes import CancelAsked, Complete, Rerun, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

T = TypeVar("T")

_WANTED: Final = "a sqlite3.Connection, a Session or Connection of SQLAlchemy on one, or Django's"
_WANTED_OF_ASYNC: Final = (
    "a sqlite3.Connection, or a synchronous Session or Connection of SQLAlchemy (on an engine of sqlite://, perhaps in"
    " a thread); with aiosqlite, enqueue after the commit, without connection="
)
_TAKE_LOCK: Final = "UPDATE rexecutor_schema SET version = version WHERE false"
"""Takes the write lock and changes nothing. Before it Python begins a transaction, if it begins them by itself."""


class SqliteTransaction(SyncTransaction, Transaction):
    """The application's own connection to the backend's file."""

    def __init__(self, backend: Backend, path: Path, connection: object) -> None:
        """Check the connection; see `SQLiteBackend.bound_to`."""
        super().__init__(backend)
        self._path = path
        self._connection: object = unwrapped(connection)
        # The connection behind one of these may be another by the time of the enqueue.
        if not is_sqlalchemy(self._connection) and not is_django(self._connection):
            self._connection = _sqlite3_connection("bound_to", path, self._connection)

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs as `enqueue_sync` does; blocks the loop."""
        return self.enqueue_sync(jobs)

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs, all or none, even if the transaction continues after an error."""
        with self.within() as connection:
            return store.enqueue(connection, jobs, self.backend.clock.now())

    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs as `query_sync` does; blocks the loop."""
        return self.query_sync(where, limit=limit, after=after, newest=newest)

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        """Return jobs, including uncommitted ones of this transaction; takes no lock."""
        return self._read(store.SCRIPTS.query(where, limit, after, self.backend.clock.now(), newest=newest))

    async def count(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs as `count_sync` does; blocks the loop."""
        return self.count_sync(where)

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        """Count the jobs, including uncommitted ones of this transaction; takes no lock."""
        return self._read(store.SCRIPTS.count(where, self.backend.clock.now()))

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job as `apply_sync` does; blocks the loop."""
        return self.apply_sync(job_id, change, executor=executor)

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job."""
        limits = self.backend.limits
        return self._change(lambda now: store.SCRIPTS.apply(job_id, change, executor, now, limits)).status

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields as `update_sync` does; blocks the loop."""
        return self.update_sync(job_id, new, version=version)

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields."""
        return self._change(lambda now: store.SCRIPTS.update(job_id, new, version, now))

    def put_pause_sync(self, pause: NewPause) -> Pause:
        """Store a pause."""
        return self._change(lambda now: store.SCRIPTS.put_pause(pause, now))

    def end_pause_sync(self, executor: str) -> bool:
        """Delete a pause."""
        return self._change(lambda now: store.SCRIPTS.end_pause(executor, now))

    def _read(self, script: Script[T]) -> T:
        with self._used() as connection, translated(self._path), _as_ours(connection):
            check_version(connection, self._path)
            add_functions(connection)
            return store.run(connection, script)

    def _change(self, script: Callable[[datetime], Script[T]]) -> T:
        with self.within() as connection:
            return store.run(connection, script(self.backend.clock.now()))

    @contextmanager
    def within(self) -> Generator[sqlite3.Connection]:
        """Take the file's write lock, and do all that the block does in the transaction, or nothing of it."""
        with self._used() as used, _within(used, self._path) as connection:
            add_functions(connection)
            yield connection

    def _used(self) -> AbstractContextManager[sqlite3.Connection]:
        if isinstance(self._connection, sqlite3.Connection):
            return nullcontext(self._connection)
        return _used("bound_to", self._path, self._connection)


class SqliteCompletion(Completion):
    """Completes a job of the file as a settlement does, fenced by its claim."""

    def __init__(self, path: Path, limits: Limits, clock: Clock) -> None:
        self._path: Final = path.resolve()
        self._limits = limits
        self._clock = clock

    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Complete the job in the connection's transaction; blocks the loop."""
        return self._complete("complete_in", record, connection, result)

    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Complete the job in the connection's transaction."""
        return self._complete("complete_in_sync", record, connection, result)

    def _complete(self, what: str, record: JobRecord, connection: object, result: str | None) -> bool:
        with _used(what, self._path, connection) as used, _within(used, self._path) as checked:
            settlement = Settlement(*record.claim_id, Complete(result))
            return not store.settle(checked, [settlement], self._clock.now(), self._limits)


@contextmanager
def _used(what: str, path: Path, connection: object) -> Generator[sqlite3.Connection]:
    """Find the `sqlite3` connection for one use. Django is told if the use ends its transaction with an error."""
    connection = unwrapped(connection)
    if not is_django(connection):
        yield _sqlite3_connection(what, path, connection)
        return
    used = _sqlite3_connection(what, path, django_driver_connection(what, connection, "sqlite"))
    had_begun = used.in_transaction
    try:
        with advised_to_migrate(connection):
            yield used
    except BaseException as error:
        # SQLite itself may have rolled back the whole transaction, for example because the disk is full.
        report_to_django(connection, error, is_lost=had_begun and not used.in_transaction)
        raise


def _sqlite3_connection(what: str, path: Path, connection: object) -> sqlite3.Connection:
    """Return the `sqlite3` connection behind proxies and SQLAlchemy; raise a `ConfigurationError` if there is none."""
    connection = unwrapped(connection)
    if is_sqlalchemy(connection):
        connection = driver_connection(what, connection)
    if not isinstance(connection, sqlite3.Connection):
        is_async = is_async_sqlalchemy(connection) or "aiosqlite.core.Connection" in class_names(connection)
        raise refusal(what, connection, str(path), _WANTED_OF_ASYNC if is_async else _WANTED)
    refuse_after_fork(path)
    with translated(path), _as_ours(connection):
        files = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
    if not files["main"]:
        raise ConfigurationError(
            f"{what}: the connection is to memory, not to {path}; no node can read a database in memory: give it a file"
            " (in Django's tests `TEST = {'NAME': …}`), or use a backend in memory"
        )
    if Path(files["main"]).resolve() != path.resolve():
        raise ConfigurationError(f"{what}: the connection is to {files['main']}, not to {path}")
    return connection


@contextmanager
def _within(connection: sqlite3.Connection, path: Path) -> Generator[sqlite3.Connection]:
    """Take the file's write lock and do all of the block or nothing.

    A connection that commits by itself, and is in no transaction, commits the block. Otherwise the block runs behind a
    savepoint in the connection's transaction, which Python begins if there is none.
    """
    with translated(path), _as_ours(connection):
        if _commits_by_itself(connection) and not connection.in_transaction:
            check_version(connection, path)
            with transaction(connection):
                yield connection
            return
        try:
            # This comes first: what is read before the lock is held may be out of date afterwards.
            connection.execute(_TAKE_LOCK)
        except sqlite3.OperationalError:
            check_version(connection, path)
            raise
        check_version(connection, path)
        connection.execute("SAVEPOINT rexecutor_change")
        try:
            yield connection
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK TO rexecutor_change")
                connection.execute("RELEASE rexecutor_change")
            raise
        connection.execute("RELEASE rexecutor_change")


@contextmanager
def _as_ours(connection: sqlite3.Connection) -> Generator[None]:
    """Read plain rows and texts within the block, whatever factories the application has set."""
    rows, texts = connection.row_factory, connection.text_factory
    connection.row_factory, connection.text_factory = None, lenient_text
    try:
        yield
    finally:
        connection.row_factory, connection.text_factory = rows, texts


def _commits_by_itself(connection: sqlite3.Connection) -> bool:
    autocommit: object = getattr(connection, "autocommit", None)  # since Python 3.12
    return autocommit is True or (autocommit is not False and connection.isolation_level is None)
