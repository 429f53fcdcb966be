"""Lets one statement of a program fail, the Nth, whichever of its connections executes it."""

import sqlite3
import threading
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pkgutil import resolve_name
from typing import Any, Final, TypeAlias
from unittest.mock import patch

import psycopg

from rexecutor.backend.postgres.liveness import cut
from rexecutor.backend.sqlite.forks import TrackedConnection
from tests.faults.connections import connecting_as

SQLITE_KINDS: Final = ("busy", "error before", "error after", "rolled back")
POSTGRES_KINDS: Final = ("cut before", "cut after", "serialization", "deadlock", "timeout")
"""How a statement fails: before or after it was executed, or, for real, by an error that the server raises."""

_CODES: Final = {"serialization": "40001", "deadlock": "40P01", "timeout": "57014"}
"""What the server itself raises in the place of the statement, so that its transaction has failed for real."""

EXECUTING: Final = (
    "psycopg._cursor_base:BaseCursor._execute_gen",
    "psycopg._connection_base:BaseConnection._exec_command",
)
"""Through which psycopg executes statements, and its own such as COMMIT, of connections of both kinds."""
_Execution: TypeAlias = Generator[Any, Any, Any]


class Fault:
    """Which statement fails: counts them, in all threads."""

    def __init__(self, number: int, kind: str) -> None:
        """Let the statement of that number fail, from 1."""
        self.kind: Final = kind
        self.number: Final = number
        self.text = ""
        """How the statement begins that failed."""
        self._lock = threading.Lock()
        self._is_armed = False
        self.seen = 0
        """How many statements there were."""

    @property
    def has_fired(self) -> bool:
        """Whether there were as many statements as that."""
        return self.seen >= self.number

    @contextmanager
    def armed(self) -> Generator[None]:
        """Count statements meanwhile."""
        self._is_armed = True
        try:
            yield
        finally:
            self._is_armed = False

    def is_next(self, text: object) -> bool:
        """Count a statement, and return whether it must fail."""
        with self._lock:
            self.seen += self._is_armed
            is_it = self._is_armed and self.seen == self.number
            if is_it:
                commands = (line for line in str(text).splitlines() if not line.startswith("--"))
                self.text = " ".join(" ".join(commands).split())[:40]
            return is_it


@contextmanager
def in_sqlite(fault: Fault) -> Generator[None]:
    """Let it fail on connections that are opened meanwhile."""

    class Failing(TrackedConnection):
        def execute(self, *arguments: Any) -> sqlite3.Cursor:
            return _execute_sqlite(fault, self, super().execute, *arguments)

        def executemany(self, *arguments: Any) -> sqlite3.Cursor:
            return _execute_sqlite(fault, self, super().executemany, *arguments)

    with connecting_as(Failing):
        yield


def _execute_sqlite(
    fault: Fault, connection: sqlite3.Connection, execute: Callable[..., sqlite3.Cursor], *arguments: Any
) -> sqlite3.Cursor:
    if not fault.is_next(arguments[0]):
        return execute(*arguments)
    if fault.kind == "error after":
        execute(*arguments)
    if fault.kind == "rolled back" and connection.in_transaction:  # as SQLite does if the disk is full
        sqlite3.Connection.execute(connection, "ROLLBACK")
    busy = fault.kind == "busy"
    error = sqlite3.OperationalError("database is locked" if busy else "disk I/O error")
    error.sqlite_errorcode = sqlite3.SQLITE_BUSY if busy else sqlite3.SQLITE_IOERR
    raise error


@contextmanager
def in_postgres(fault: Fault) -> Generator[None]:
    """Let it fail on psycopg's connections, asynchronous or not; BEGIN and COMMIT are statements too."""
    with ExitStack() as patches:
        for place in EXECUTING:
            patches.enter_context(patch(place.replace(":", "."), _failing(fault, resolve_name(place))))
        yield


def _failing(fault: Fault, execute: Callable[..., _Execution]) -> Callable[..., _Execution]:
    def fail(owner: Any, text: Any, *arguments: Any, **options: Any) -> _Execution:
        if not fault.is_next(text):
            return (yield from execute(owner, text, *arguments, **options))
        connection = getattr(owner, "connection", owner)
        if fault.kind in _CODES:
            try:
                return (yield from execute(owner, _raising(_CODES[fault.kind]), *arguments, **options))
            except psycopg.Error:
                if text == b"COMMIT":  # the transaction is over, whatever came of it
                    yield from execute(owner, b"ROLLBACK")
                raise
        if fault.kind == "cut before":
            cut(connection)
            return (yield from execute(owner, text, *arguments, **options))
        yield from execute(owner, text, *arguments, **options)
        cut(connection)
        raise psycopg.OperationalError("the connection was cut before the answer came")

    return fail


def _raising(code: str) -> bytes:
    return f"DO $$ BEGIN RAISE EXCEPTION 'told to fail' USING ERRCODE = '{code}'; END $$".encode()
