"""The pool's connections, when the server ends them."""

import asyncio
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo
from tests.faults.proxy import Proxy
from tests.postgres import Migrated, postgres_backend, run_postgres, schema_of, server_url
from tests.support import soon

from rexecutor import BackendError
from rexecutor.backend.exchange import Demand, Node
from rexecutor.backend.postgres import PostgresBackend
from rexecutor.testing.suite.store import new_job

CONNECTIONS = 5


async def use_all(backend: PostgresBackend) -> None:
    """Have the pool make all the connections that it may have."""
    together = asyncio.Barrier(CONNECTIONS)

    async def use() -> None:
        async with backend._connections.connection():
            await together.wait()

    await soon(asyncio.gather(*(use() for _ in range(CONNECTIONS))))


async def test_a_database_without_an_encoding_holds_any_text(tmp_path: Path) -> None:
    name = schema_of(tmp_path)
    run_postgres(f"CREATE DATABASE {name} ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0")
    try:
        async with Migrated(make_conninfo(server_url(), dbname=name), listens=False) as backend:
            with closing(backend.heart()) as heart:
                heart.beat(Node("node", "here", timedelta(minutes=1)))
            await backend.enqueue([new_job(data='"Zürich, 日本"')])

            (job,) = (await backend.claim(Demand({"alpha": 1}, 1), "node")).jobs
    finally:
        run_postgres(f"DROP DATABASE {name} WITH (FORCE)")

    assert (job.executor, job.data) == ("alpha", '"Zürich, 日本"')


async def test_an_end_of_all_connections_costs_one_failure(tmp_path: Path) -> None:
    async with postgres_backend(tmp_path) as migrated:
        with Proxy(server_url()) as proxy:
            backend = PostgresBackend(proxy.url, schema=migrated.schema, max_connections=CONNECTIONS, listens=False)
            async with backend:
                await use_all(backend)
                proxy.cut()

                with pytest.raises(BackendError):
                    await backend.count()
                found = [await backend.count() for _ in range(2 * CONNECTIONS)]

    assert found == [[]] * len(found)
