"""Counts what PostgreSQL is sent, as libpq's own trace shows it, and what it writes, by its statistics."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Collection, Coroutine, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import IO, Any, Final, LiteralString, cast
from unittest.mock import patch

import psycopg
import pytest
from psycopg.pq import Trace
from typing_extensions import override

from rexecutor.backend.postgres import batching
from rexecutor.backend.postgres.notifier import Notifier
from rexecutor.testing import FakeClock
from tests.costs.ground import Costs, Ground, Written
from tests.postgres import Migrated, postgres_backend, server_url

Connection = psycopg.Connection[Any] | psycopg.AsyncConnection[Any]

_ROWS: Final = """
SELECT relname, n_tup_ins, n_tup_upd, n_tup_hot_upd, n_tup_del FROM pg_stat_all_tables WHERE schemaname = '{}'
"""
_TABLES: Final = ("stored_jobs", "queue", "running", "ended", "nodes", "scopes")
_OLDEST: Final = 150_000
_REPORT: Final = "SELECT pg_stat_force_next_flush()"


class PostgresGround(Ground):
    """A schema of its own."""

    def __init__(self, backend: Migrated, clock: FakeClock, wires: "Wires", beside: psycopg.Connection[Any]) -> None:
        """Make it of an open backend.

        Args:
            backend: The schema's.
            clock: The backend's.
            wires: The backend's connections.
            beside: A connection in autocommit that is not counted.
        """
        super().__init__(backend, clock)
        self.schema: Final = backend.schema
        self._wires = wires
        self._beside = beside
        self._before: Mapping[str, tuple[int, ...]] = {}

    @override
    async def clear(self) -> None:
        self.execute(f"TRUNCATE {', '.join(f'{self.schema}.{name}' for name in _TABLES)} RESTART IDENTITY")

    @override
    async def taken(self) -> Costs:
        calls = self._wires.taken()
        rows = self.execute(_ROWS.format(self.schema)).fetchall()
        before, self._before = self._before, {row[0]: row[1:] for row in rows}
        written = {
            table: Written(*(now - then for now, then in zip(counts, before.get(table, (0, 0, 0, 0)), strict=True)))
            for table, counts in self._before.items()
        }
        return Costs(calls, written)

    def execute(self, command: str) -> psycopg.Cursor[Any]:
        """Execute a command that is not counted."""
        return self._beside.execute(cast("LiteralString", command))

    @override
    async def together(self, calls: Sequence[Coroutine[Any, Any, object]]) -> None:
        await asyncio.gather(*calls)


class Wires:
    """The connections that are opened while it is active; what they send and receive is traced into files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._wires: list[tuple[Connection, IO[bytes], IO[str]]] = []

    @contextmanager
    def active(self) -> Generator[None]:
        """Trace all connections that are opened meanwhile."""
        try:
            with (
                patch.object(psycopg.Connection, "__init__", self._tracing(psycopg.Connection.__init__)),
                patch.object(psycopg.AsyncConnection, "__init__", self._tracing(psycopg.AsyncConnection.__init__)),
            ):
                yield
        finally:
            for _, written, read in self._wires:
                written.close()
                read.close()

    def _tracing(self, make: Callable[..., None]) -> Callable[..., None]:
        def trace(connection: Connection, *arguments: Any, **settings: Any) -> None:
            make(connection, *arguments, **settings)
            path = self._folder / f"connection {len(self._wires)}"
            written, read = path.open("wb"), path.open(errors="replace")
            connection.pgconn.trace(written.fileno())
            connection.pgconn.set_trace_flags(Trace.SUPPRESS_TIMESTAMPS)
            self._wires.append((connection, written, read))

        return trace

    def taken(self) -> Mapping[str, int]:
        """Return what has passed since the last call; by then the server has it in its statistics, too."""
        calls = Counter({"statements": 0, "trips": 0, "commits": 0})
        for connection, _, read in self._wires:
            if not connection.closed:
                connection.pgconn.exec_(_REPORT.encode())  # libpq writes into the trace only when it sends something
            calls.update(_counted(read))
        return calls


def _counted(trace: IO[str]) -> Counter[str]:
    """Count in a connection's trace: a line for each message, with its direction, length, name and content.

    A transaction is committed if the server is ready for the next one, something was executed, and there was no error
    and no ROLLBACK. A statement alone is a transaction. To prepare one takes a round trip and executes nothing.
    """
    calls = Counter[str]()
    executes = fails = False
    for line in trace:
        match line.rstrip("\n").split("\t"):
            case ["F", _, "Query", text] if _REPORT in text:
                pass
            case ["F", _, "Query" | "Execute" as kind, *_]:
                calls["statements"] += 1
                calls["trips"] += kind == "Query"
                executes = True
            case ["F", _, "Sync"]:
                calls["trips"] += 1
            case ["B", _, "CommandComplete", ' "ROLLBACK"'] | ["B", _, "ErrorResponse", *_]:
                fails = True
            case ["B", _, "ReadyForQuery", " I"]:
                calls["commits"] += executes and not fails
                executes = fails = False
            case _:
                pass
    return calls


class Silent(Notifier):
    """Notifies nobody."""

    @override
    def ring(self, executors: Collection[str]) -> None:
        """Do nothing."""

    @override
    def begin(self, executor: str) -> bool:
        """Return False: the statement need not notify."""
        return False


@asynccontextmanager
async def postgres_ground(folder: Path, clock: FakeClock) -> AsyncGenerator[PostgresGround]:
    """Open a schema of the folder's own, and hold still what would change the numbers from run to run.

    - One connection inserts, so that each row has its place.
    - No vacuum runs, and an old transaction stays open. Otherwise PostgreSQL would remove old versions of rows, and
      when it does depends on all that the server does. So fewer updates are HOT than in truth.
    - Nothing is notified. At most 60 notifications a second are sent, however many jobs there are.
    - No statement is prepared except on the connections of claims and settlements, which prepare each at once.
    """
    wires = Wires(folder)
    with psycopg.connect(server_url()) as old, psycopg.connect(server_url(), autocommit=True) as beside:
        if old.info.server_version < _OLDEST:
            pytest.skip("this PostgreSQL cannot be asked to bring its statistics up to date")
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT 1")
        backend = postgres_backend(folder, clock, listens=False)
        backend._connections._limit = 1
        with wires.active(), patch.object(batching, "LATE_SECONDS", 1_000):
            async with backend:
                backend._notifier = Silent(backend._notify)
                for connection in backend._connections._made:
                    connection.prepare_threshold = None
                ground = PostgresGround(backend, clock, wires, beside)
                for table in _TABLES:
                    ground.execute(f"ALTER TABLE {backend.schema}.{table} SET (autovacuum_enabled = false)")
                yield ground
                ground.store.close()
