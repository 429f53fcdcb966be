"""An application under ddtrace, which patches the drivers of the whole process: so it is a process of its own.

Prints the kind of each connection that it has used. Arguments: the URL of a server, a folder and a schema.
"""

import os
import sys

import ddtrace

ddtrace.patch(psycopg=True, sqlite3=True, sqlalchemy=True, asyncpg=True, django=True)  # as `ddtrace-run` does

import asyncio  # noqa: E402 - what is imported from here on is patched
import sqlite3  # noqa: E402
from collections.abc import Callable  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import Any, Final, cast  # noqa: E402

import asyncpg  # noqa: E402
import psycopg  # noqa: E402
import sqlalchemy  # noqa: E402
import wrapt  # noqa: E402
from django.db import transaction  # noqa: E402
from sqlalchemy.ext.asyncio import AsyncSession, create_async_engine  # noqa: E402
from sqlalchemy.orm import Session  # noqa: E402

from rexecutor import Backend, Executor, Job, PostgresBackend, Rexecutor, SQLiteBackend  # noqa: E402
from rexecutor.model.where import Everything  # noqa: E402
from tests.frameworks.django_settings import ALIAS, connected, postgres, sqlite  # noqa: E402

URL, FOLDER = sys.argv[1], Path(sys.argv[2])
POSTGRES: Final = PostgresBackend(URL, schema=sys.argv[3])
SQLITE: Final = SQLiteBackend(FOLDER / "jobs.db")


class Letter(Executor[str]):
    name = "letter"

    async def execute(self, job: Job[str]) -> None:
        async with await psycopg.AsyncConnection.connect(URL) as connection:
            await job.complete_in(connection)


def stored(backend: Backend) -> int:
    return len(Letter.query_jobs_sync(Everything(), backend=backend))


def used(name: str, driver: object) -> None:
    """Print that the connection was used, and what the application sees of it."""
    sys.stdout.write(f"{name} {type(driver).__name__}\n")


def check(backend: Backend, connection: Any, unit: Any) -> None:
    """Enqueue in transactions of the unit, which is what the application commits and rolls back."""
    before = stored(backend)
    Letter.enqueue_sync("a", connection=connection, backend=backend)
    assert stored(backend) == before
    unit.rollback()
    Letter.enqueue_sync("b", connection=connection, backend=backend)
    unit.commit()
    assert stored(backend) == before + 1


def drivers() -> None:
    for backend, made in (
        (POSTGRES, cast("Any", psycopg).connect(URL)),
        (SQLITE, sqlite3.connect(FOLDER / "jobs.db")),
    ):
        for connection in (made, wrapt.ObjectProxy(made)):
            check(backend, connection, made)
        used("driver", made)
        made.close()


def sessions() -> None:
    for backend, url in ((POSTGRES, alchemy("psycopg")), (SQLITE, f"sqlite:///{FOLDER / 'jobs.db'}")):
        engine = sqlalchemy.create_engine(url)
        with Session(engine) as session:
            check(backend, session, session)
            check(backend, wrapt.ObjectProxy(session), session)
            used("session", session.connection().connection.driver_connection)
        engine.dispose()


def alchemy(driver: str) -> Any:
    return sqlalchemy.make_url(URL).set(drivername=f"postgresql+{driver}")


def django() -> None:
    for backend, database in ((POSTGRES, postgres()), (SQLITE, sqlite(FOLDER / "jobs.db"))):
        with connected(database) as connection:
            for given in (connection, wrapt.ObjectProxy(connection)):
                before = stored(backend)
                with transaction.atomic(ALIAS):
                    Letter.enqueue_sync("a", connection=given, backend=backend)
                    assert stored(backend) == before
                assert stored(backend) == before + 1
            used("django", connection.connection)


async def awaited() -> None:
    async with await psycopg.AsyncConnection.connect(URL) as connection:
        await Letter.enqueue("a", connection=connection, backend=POSTGRES)
        used("awaited", connection)
    made = await cast("Any", asyncpg).connect(URL)
    async with made.transaction():
        await Letter.enqueue("a", connection=made, backend=POSTGRES)
    used("awaited", made)
    await made.close()
    for driver in ("psycopg", "asyncpg"):
        engine = create_async_engine(alchemy(driver))
        async with AsyncSession(engine) as session, session.begin():
            await Letter.enqueue("a", connection=session, backend=POSTGRES)
        await engine.dispose()


async def node() -> None:
    """Let a node, whose own connections are patched too, run all of them."""
    async with Rexecutor(POSTGRES, executors=[Letter]):
        handle = await Letter.enqueue("last", backend=POSTGRES)
        await handle.wait()
    used("node", POSTGRES)


async def prepare() -> None:
    async with POSTGRES, SQLITE:
        await POSTGRES.migrate()


def main() -> None:
    parts: list[Callable[[], Any]] = [drivers, sessions, django]
    asyncio.run(prepare())
    for part in parts:
        part()
    asyncio.run(awaited())
    asyncio.run(node())


main()
sys.stdout.flush()
os._exit(0)  # ddtrace would try for seconds to send what it has traced
