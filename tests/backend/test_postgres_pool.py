"""The pool's connections, when the server ends them."""

import asyncio
from pathlib import Path

import pytest
from tests.faults.proxy import Proxy
from tests.postgres import postgres_backend, server_url
from tests.support import soon

from rexecutor import BackendError
from rexecutor.backend.postgres import PostgresBackend

CONNECTIONS = 5


async def use_all(backend: PostgresBackend) -> None:
    """Have the pool make all the connections that it may have."""
    together = asyncio.Barrier(CONNECTIONS)

    async def use() -> None:
        async with backend._connections.connection():
            await together.wait()

    await soon(asyncio.gather(*(use() for _ in range(CONNECTIONS))))


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
