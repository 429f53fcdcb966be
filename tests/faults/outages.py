"""A PostgreSQL server that crashes, in three ways, and is there again."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import psycopg

from demo.postgres_server import PostgresServer

SECONDS: Final = 30.0
"""How long anything may take here."""


def kill_postmaster(server: PostgresServer) -> None:
    """Kill the server's first process, and start it again when the others have seen that and are gone."""
    others = _children_of(server.pid)
    server.stop(signal.SIGKILL)
    _wait(lambda: not any(map(_is_alive, others)))
    server.start()


def kill_backend(server: PostgresServer) -> None:
    """Kill the process of one connection; the server ends all others for that, and recovers by itself."""
    with psycopg.connect(server.url, autocommit=True) as connection:
        rows = connection.execute(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'rexecutor' ORDER BY random() LIMIT 1"
        ).fetchall()
        os.kill(rows[0][0], signal.SIGKILL)
        _wait(lambda: not _answers(connection))
    _wait(lambda: _takes_connections(server.url))


def stop_at_once(server: PostgresServer) -> None:
    """Stop it without a checkpoint, and start it."""
    server.stop(signal.SIGQUIT)
    server.start()


WAYS: Final = (kill_postmaster, kill_backend, stop_at_once)


def _answers(connection: psycopg.Connection) -> bool:
    try:
        connection.execute("SELECT 1")
    except psycopg.OperationalError:
        return False
    return True


def _takes_connections(url: str) -> bool:
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _children_of(pid: int) -> list[int]:
    found = (Path(f"/proc/{pid}/task/{pid}/children")).read_text()
    return [int(word) for word in found.split()]


def _is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError("the server did not do what it should")
        time.sleep(0.01)
