"""A failover from one PostgreSQL server to its replica that closes no connection and loses no commit."""

import subprocess
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, LiteralString

import psycopg

from demo.postgres_server import PostgresServer
from tests.faults.outages import _wait
from tests.faults.stores import SETTINGS


@contextmanager
def replica_of(server: PostgresServer) -> Generator[PostgresServer]:
    """Start a streaming replica of the server."""
    made = PostgresServer(settings=SETTINGS)
    try:
        subprocess.run(
            (
                *(str(made._programs / "pg_basebackup"), "-h", str(server.folder), "-U", "postgres"),
                *("-D", str(made.folder / "data"), "-R", "-X", "stream", "-c", "fast", "--no-sync"),
            ),
            check=True,
            capture_output=True,
            user=made._user,
            cwd=made.folder,
        )
        made.start()
        yield made
    finally:
        made.remove()


def fail_over(old: PostgresServer, new: PostgresServer, lead_to: Callable[[str], None], *, name_first: bool) -> float:
    """Make the old one read-only, and the replica the primary when it has all commits; give it the name.

    The name leads to the replica before it is the primary if `name_first`. Returns when both were done, in the
    machine's monotonic seconds.
    """
    with psycopg.connect(old.url, autocommit=True) as control:
        control.execute("ALTER SYSTEM SET default_transaction_read_only = on")
        control.execute("SELECT pg_reload_conf()")
        _wait(lambda: _one(control, "SHOW default_transaction_read_only") == "on")
        time.sleep(0.05)  # the other sessions were sent the same signal
        begun = _one(control, "SELECT clock_timestamp()")
        older = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' AND xact_start < %s"
        _wait(lambda: _one(control, older, begun) == 0)
        end = _one(control, "SELECT pg_current_wal_lsn()::text")
    with psycopg.connect(new.url, autocommit=True) as control:
        _wait(lambda: _one(control, "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn", end))
        if name_first:
            lead_to(new.url)
        control.execute("SELECT pg_promote(true, 20)")
        if not name_first:
            lead_to(new.url)
        return time.monotonic()


def connections(server: PostgresServer) -> int:
    """Return how many connections of the library's the server has."""
    with psycopg.connect(server.url, autocommit=True) as control:
        return _one(control, "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'rexecutor'")


def _one(connection: psycopg.Connection, query: LiteralString, *parameters: object) -> Any:
    row = connection.execute(query, parameters or None).fetchone()
    assert row is not None
    return row[0]
