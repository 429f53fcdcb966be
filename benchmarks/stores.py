"""Starts the servers and gives each cell a fresh store."""

import contextlib
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Generator
from pathlib import Path
from typing import Final, Self

import psycopg

from benchmarks.process import cpu_seconds
from demo.postgres_server import NEWEST, PostgresServer

POSTGRES_SETTINGS: Final = (
    "fsync=on",
    "synchronous_commit=on",
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=30min",
    "max_connections=400",
)
REDIS_SETTINGS: Final = ("--save", "", "--appendonly", "no")
SQLITE_SETTINGS: Final = ("WAL and synchronous=FULL, where the system lets one choose",)
_DATABASE: Final = "bench"
_COUNTERS: Final = """
SELECT (SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()),
       pg_current_wal_insert_lsn() - '0/0'::pg_lsn,
       (SELECT coalesce(sum(n_dead_tup), 0) FROM pg_stat_user_tables),
       (SELECT coalesce(sum(n_tup_ins + n_tup_upd + n_tup_del), 0) FROM pg_stat_user_tables),
       (SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid())
"""


class NoServerError(Exception):
    """The server that a system needs is not installed here."""


class Store(ABC):
    """A kind of store; each cell gets a fresh one of it."""

    version = ""
    settings: tuple[str, ...] = ()

    @abstractmethod
    def fresh(self, template: str = "") -> str:
        """Return the URL of a fresh store: an empty one, or a copy of a template."""

    def keep(self, template: str) -> None:
        """Make the store as it is now a template for `fresh`."""
        raise NotImplementedError

    def has(self, template: str) -> bool:
        """Whether there is such a template."""
        del template
        return False

    def settle(self) -> None:  # noqa: B027 - only servers have something to do
        """Let no work of the preparation reach into the measurement."""

    def cpu_seconds(self) -> float:
        """Return the processor time that the server has used."""
        return 0.0

    def close(self) -> None:  # noqa: B027 - as above
        """Stop the server and delete its data."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class MemoryStore(Store):
    def fresh(self, template: str = "") -> str:
        assert not template
        return "memory"


class SQLiteStore(Store):
    version = sqlite3.sqlite_version
    settings = SQLITE_SETTINGS

    def __init__(self) -> None:
        self._folder: Final = Path(tempfile.mkdtemp(prefix="rexecutor-bench-"))
        self._path: Final = self._folder / "cell" / "jobs.db"

    def fresh(self, template: str = "") -> str:
        shutil.rmtree(self._path.parent, ignore_errors=True)
        if template:
            shutil.copytree(self._folder / template, self._path.parent)
        else:
            self._path.parent.mkdir()
        return str(self._path)

    def keep(self, template: str) -> None:
        shutil.copytree(self._path.parent, self._folder / template)

    def has(self, template: str) -> bool:
        return (self._folder / template).exists()

    def settle(self) -> None:
        os.sync()  # else the copy of a template is still being written

    def close(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


class PostgresStore(Store):
    settings = POSTGRES_SETTINGS

    def __init__(self) -> None:
        installed = sorted(
            path.name for path in Path("/usr/lib/postgresql").glob("*") if (path / "bin/initdb").exists()
        )
        self._server: Final = PostgresServer(installed[-1] if installed else NEWEST, self.settings)
        self._server.start()
        with self._connect("postgres") as connection:
            row = connection.execute("SHOW server_version").fetchone()
            assert row is not None
            self.version = str(row[0])

    @contextlib.contextmanager
    def _connect(self, database: str = _DATABASE) -> Generator[psycopg.Connection]:
        with psycopg.connect(self._server.url, dbname=database, autocommit=True) as connection:
            yield connection

    @property
    def url(self) -> str:
        return self._server.url.replace("/postgres?", f"/{_DATABASE}?")

    def fresh(self, template: str = "") -> str:
        source = f" TEMPLATE template_{template} STRATEGY file_copy" if template else ""
        with self._connect("postgres") as connection:
            connection.execute(f"DROP DATABASE IF EXISTS {_DATABASE} WITH (FORCE)".encode())
            connection.execute(f"CREATE DATABASE {_DATABASE}{source}".encode())
        return self.url

    def keep(self, template: str) -> None:
        self.settle()
        with self._connect("postgres") as connection:
            kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
            connection.execute(kill, (_DATABASE,))
            connection.execute(f"CREATE DATABASE template_{template} TEMPLATE {_DATABASE} STRATEGY file_copy".encode())

    def has(self, template: str) -> bool:
        with self._connect("postgres") as connection:
            there = "SELECT 1 FROM pg_database WHERE datname = %s"
            return connection.execute(there, (f"template_{template}",)).fetchone() is not None

    def settle(self) -> None:
        with self._connect() as connection:
            connection.execute("VACUUM ANALYZE")
            connection.execute("CHECKPOINT")

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._server.pid)

    def counters(self) -> dict[str, float]:
        """Return the commits, bytes of WAL, dead and written rows of the cell's database, and its connections."""
        with self._connect() as connection:
            row = connection.execute(_COUNTERS).fetchone()
            assert row is not None
            return dict(zip(("commits", "wal", "dead", "rows", "connections"), map(float, row), strict=True))

    @contextlib.contextmanager
    def pinned_horizon(self) -> Generator[None]:
        """Hold a snapshot, so that no row which dies meanwhile can be removed."""
        with self._connect() as connection:
            connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            connection.execute("SELECT count(*) FROM pg_class")
            yield
            connection.execute("ROLLBACK")

    def close(self) -> None:
        self._server.remove()


class RedisStore(Store):
    settings = ("no snapshots, no append-only file",)

    def __init__(self) -> None:
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        if program is None:
            raise NoServerError("no Redis server is installed")
        self._folder: Final = Path(tempfile.mkdtemp(prefix="rexecutor-bench-"))
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self._port: Final = int(free.getsockname()[1])
        command = [program, "--port", str(self._port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process: Final = subprocess.Popen([*command, *REDIS_SETTINGS], stdout=subprocess.DEVNULL)
        until = time.monotonic() + 10
        while True:
            with contextlib.suppress(OSError):
                self._command("PING")
                break
            assert time.monotonic() < until, "Redis did not start"
            time.sleep(0.02)
        info = self._command("INFO server").decode()
        self.version = next(line.partition(":")[2] for line in info.splitlines() if line.startswith("redis_version"))

    def _command(self, text: str) -> bytes:
        with socket.create_connection(("127.0.0.1", self._port), timeout=30) as connection:
            connection.sendall(text.encode() + b"\r\n")
            return connection.recv(2**16)

    def fresh(self, template: str = "") -> str:
        assert not template
        self._command("FLUSHALL")
        return f"redis://127.0.0.1:{self._port}/0"

    def cpu_seconds(self) -> float:
        return cpu_seconds(self._process.pid)

    def close(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(10)
        shutil.rmtree(self._folder, ignore_errors=True)


KINDS: Final[dict[str, type[Store]]] = {
    "memory": MemoryStore,
    "sqlite": SQLiteStore,
    "postgres": PostgresStore,
    "redis": RedisStore,
}
