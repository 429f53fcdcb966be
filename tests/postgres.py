"""The PostgreSQL server of a test run: one for all its processes, started by the first test that needs it."""

import contextlib
import fcntl
import hashlib
import os
import shutil
import signal
import tempfile
import time
from pathlib import Path
from typing import Any, LiteralString, cast

import psycopg

from demo.postgres_server import PostgresServer
from rexecutor import PostgresBackend
from rexecutor.clock import Clock
from tests.support import until

GIVEN = "REXECUTOR_TEST_PG_URL"
"""The environment's name for a server to be used instead: the URL of a role that may make schemas."""
VERSION = "REXECUTOR_TEST_PG_VERSION"
"""The environment's name for the version to start: 16 or 18 of the wheel, or one that is installed."""
FOLDER = "REXECUTOR_TEST_PG_FOLDER"
"""The environment's name for where the processes of one run find the server that one of them has started."""

SETTINGS = ("fsync=off", "synchronous_commit=off", "full_page_writes=off", "max_connections=300", "shared_buffers=64MB")

_STARTED: list[PostgresServer] = []
"""Kept for as long as this process lives; `clean_up` ends the server, perhaps in another process."""


class Migrated(PostgresBackend):
    """Makes its schema when opened, as the other backends do."""

    async def open(self) -> None:
        was_open = self.is_open
        await super().open()
        if not was_open:
            await self.migrate()


def prepare() -> None:
    """Make the place where the run's processes meet. Called in the first of them."""
    os.environ[FOLDER] = tempfile.mkdtemp(prefix="rexecutor-tests-")


def server_url() -> str:
    """Return the URL of the run's server. Start the server if it does not run yet."""
    if GIVEN in os.environ:
        return os.environ[GIVEN]
    folder = Path(os.environ[FOLDER])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        known = folder / "server"
        if not known.exists():
            server = PostgresServer(os.environ.get(VERSION, "18"), SETTINGS)
            server.start()
            _STARTED.append(server)
            known.write_text(f"{server.pid}\n{server.folder}\n{server.url}")
        return known.read_text().splitlines()[2]


def clean_up() -> None:
    """End the server, if there is one. Called in the run's first process, after all others have ended."""
    folder = Path(os.environ.pop(FOLDER))
    known = folder / "server"
    if known.exists():
        pid, server, _ = known.read_text().splitlines()
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGQUIT)
            while _STARTED or Path(f"/proc/{pid}").exists():
                if _STARTED:
                    _STARTED.pop().remove()
                time.sleep(0.02)  # noqa: TID251 - a server lives in real time
        shutil.rmtree(server, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


def schema_of(store: Path) -> str:
    """Return the name of the schema that stands for the folder."""
    return "t" + hashlib.blake2b(str(store).encode(), digest_size=8).hexdigest()


def postgres_backend(store: Path, clock: Clock | None = None, *, listens: bool = True) -> Migrated:
    """Return a backend on a schema of the folder's own, not open yet."""
    return Migrated(server_url(), schema=schema_of(store), clock=clock, max_connections=5, listens=listens)


async def start_listening(backend: PostgresBackend) -> None:
    """Have the backend listen for notifications, which it does from its first wait."""
    await backend.wait_ready((), backend.clock.now(), since=backend.change_count)


async def until_it_listens(backend: PostgresBackend) -> None:
    """Have the backend, which has heard of no change yet, listen, and wait until it is connected."""
    await start_listening(backend)
    await until(lambda: backend.change_count > 0)


def run_postgres(*commands: str, url: str | None = None) -> list[tuple[Any, ...]]:
    """Execute the commands at the run's server, each for itself, and return the rows of the last."""
    rows: list[tuple[Any, ...]] = []
    with psycopg.connect(url or server_url(), autocommit=True) as connection:
        for command in commands:
            cursor = connection.execute(cast("LiteralString", command))
            rows = cursor.fetchall() if cursor.description is not None else []
    return rows
