"""An error of the driver is told as ours, and is its cause."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing, suppress
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from rexecutor import BackendError, JobHandle, SQLiteBackend
from rexecutor.backend.sqlite.forks import TrackedConnection
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.testing import FakeClock
from tests.backend.mail import NODE, Mail, claimed
from tests.backends import run_sql
from tests.faults.connections import connecting_as


@pytest.fixture
async def sqlite(tmp_path: Path, clock: FakeClock) -> AsyncIterator[SQLiteBackend]:
    async with SQLiteBackend(tmp_path / "jobs.db", clock=clock) as made:
        yield made


CALLS: dict[str, Callable[[SQLiteBackend, JobHandle[str, None]], Awaitable[object]]] = {
    "enqueue": lambda backend, _: Mail.builder().with_data("x").enqueue(backend=backend),
    "fetch": lambda _, handle: handle.fetch(),
    "cancel": lambda _, handle: handle.cancel("not wanted"),
    "rerun": lambda _, handle: handle.rerun(),
    "claim": lambda backend, _: claimed(backend),
    "settle": lambda backend, handle: backend.settle([Settlement(handle.id, 1, Complete())]),
    "give back": lambda backend, _: backend.release_claims(NODE.id, ()),
    "count": lambda backend, _: backend.count(),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS.keys())
async def test_the_drivers_exception_is_the_cause_of_ours(
    sqlite: SQLiteBackend, call: Callable[[SQLiteBackend, JobHandle[str, None]], Awaitable[object]]
) -> None:
    handle = await Mail.builder().with_data("x").enqueue(backend=sqlite)
    await run_sql(sqlite, "DROP TABLE rexecutor_stored_jobs")

    with pytest.raises(BackendError, match=r"jobs\.db: no such table: .*rexecutor_stored_jobs") as caught:
        await call(sqlite, handle)

    assert isinstance(caught.value.__cause__, sqlite3.OperationalError)


async def test_what_a_constraint_refuses_is_told_as_what_it_is(sqlite: SQLiteBackend) -> None:
    with pytest.raises(BackendError, match="NOT NULL constraint failed") as caught:
        await run_sql(sqlite, "INSERT INTO rexecutor_stored_jobs (id) VALUES (1)")

    assert isinstance(caught.value.__cause__, sqlite3.IntegrityError)


async def test_whichever_statement_of_an_open_fails_the_error_is_ours_and_the_next_open_succeeds(
    tmp_path: Path,
) -> None:
    opening, number = Failing(), 0
    with connecting_as(opening.connection):
        for number in count(1):
            opening.fail(number)
            backend = SQLiteBackend(tmp_path / "jobs.db")
            with suppress(BackendError):  # whatever else is raised fails this test
                await backend.open()
            await backend.open()
            await backend.close()
            if not opening.has_failed:
                break

    assert number > 15


async def test_whichever_statement_of_a_heartbeat_fails_the_error_is_ours(sqlite: SQLiteBackend) -> None:
    beating, number = Failing(), 0
    with connecting_as(beating.connection):
        for number in count(1):
            beating.fail(number)
            with closing(sqlite.heartbeat_connection()) as heartbeat:
                with suppress(BackendError):
                    heartbeat.send(NODE)
                if not beating.has_failed:
                    break
                heartbeat.send(NODE)

    assert number > 10


class Failing:
    """Makes one statement fail on connections that are opened as `connection`."""

    def __init__(self) -> None:
        self._number = self._seen = 0
        failing = self

        class Connection(TrackedConnection):
            def execute(self, *arguments: Any) -> sqlite3.Cursor:
                failing.count()
                return super().execute(*arguments)

        self.connection = Connection

    @property
    def has_failed(self) -> bool:
        return self._seen >= self._number

    def fail(self, number: int) -> None:
        """Make the statement with this number fail, counted from now."""
        self._number, self._seen = number, 0

    def count(self) -> None:
        self._seen += 1
        if self._seen == self._number:
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR
            raise error
