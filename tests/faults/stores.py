"""The store that the processes of a fault test share, by a text that fits on a command line."""

import asyncio
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from demo.postgres_server import PostgresServer
from rexecutor import Backend, Limits, PostgresBackend, SQLiteBackend

KINDS: Final = ("sqlite", "postgres")
SETTINGS: Final = ("max_connections=300", "shared_buffers=256MB")

_SERVERS: Final[dict[str, PostgresServer]] = {}
"""Those of `temporary_store` that run, by their URLs."""


def backend_at(store: str, connections: int = 10, limits: Limits | None = None) -> Backend:
    """Return a backend on the store, not open yet. The store is a file, or `postgresql://…#schema`."""
    if not store.startswith("postgresql:"):
        return SQLiteBackend(Path(store), limits=limits)
    url, _, schema = store.partition("#")
    return PostgresBackend(url, schema=schema, max_connections=connections, limits=limits)


def server_of(store: str) -> PostgresServer:
    """Return the server that a temporary store has for itself, for a scenario to stop and start."""
    return _SERVERS[store.partition("#")[0]]


async def prepare(store: str) -> None:
    """Make its tables."""
    async with backend_at(store) as backend:
        await backend.migrate()


@contextmanager
def temporary_store(kind: str) -> Generator[tuple[str, Path]]:
    """Yield a new store and a folder, both gone afterwards. PostgreSQL is a durable server of its own."""
    with tempfile.TemporaryDirectory(prefix="rexecutor-faults-") as folder:
        if kind == "sqlite":
            yield str(Path(folder) / "jobs.db"), Path(folder)
            return
        with PostgresServer(settings=SETTINGS) as server:
            store = f"{server.url}#rexecutor"
            asyncio.run(prepare(store))
            _SERVERS[server.url] = server
            try:
                yield store, Path(folder)
            finally:
                del _SERVERS[server.url]
