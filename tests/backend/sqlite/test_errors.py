"""An error of the driver is told as ours, and is its cause."""

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from rexecutor import BackendError, JobHandle, SQLiteBackend
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.testing import FakeClock
from tests.backend.mail import NODE, Mail, claimed
from tests.backends import run_sql


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
