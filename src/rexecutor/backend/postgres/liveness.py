"""Detects connections that no longer respond, and ends them. Limits the time that each operation may take."""

import asyncio
import contextlib
import os
import select
import socket
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from psycopg.waiting import wait
from typing_extensions import override

from rexecutor.background import in_fresh_context

AnyConnection: TypeAlias = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]
T = TypeVar("T")

OPERATION_SECONDS = 30.0
"""Seconds that an operation on a connection may take. After that, its reply is assumed never to come."""
MIN_BYTES_PER_SECOND: Final = 1_000_000
"""The slowest upload that is assumed, so that large batches get more time."""
CHECK_SECONDS: Final = 0.5
"""Interval, in seconds, at which operations under way are checked. An operation may overrun its limit by this much."""
SETUP_SECONDS: Final = 5.0
"""Time limit, in seconds, for each statement that sets up a new connection."""

SESSION_SETTINGS: Final = (
    "SELECT set_config('default_transaction_isolation', 'read committed', false),"
    " set_config('datestyle', 'ISO', false),"
    " set_config('timezone', 'UTC', false),"
    " set_config('idle_in_transaction_session_timeout', '10s', false),"
    " set_config('lock_timeout', '25s', false)"
)
"""Sets up a session: its transactions are READ COMMITTED, and times come in a form that the driver reads, in UTC.

- In UTC the driver need not convert times.
- The server ends a session that is idle within a transaction for 10 s, because its locks block others.
- The server ends a wait for a lock after 25 s, before the client gives up.

It is not for the session of a pooler, which the application uses too.
"""
PLAN_SETTINGS: Final = (
    "SELECT set_config('plan_cache_mode', 'force_generic_plan', false),"
    " set_config('enable_seqscan', 'off', false),"
    " set_config('enable_hashjoin', 'off', false),"
    " set_config('enable_mergejoin', 'off', false),"
    " set_config('jit', 'off', false)"
)
"""Sets up a session in which the same few statements are executed all the time: each of them is planned only once.

The tables may be empty at that moment. So the planner is kept from plans that read a whole table, which would be right
only for small tables.
"""
_SERVER_PROCESS: Final = "SELECT pg_backend_pid()"
_LOST: Final = {
    "25006",  # read_only_sql_transaction: after a failover this is the old primary, or it is a replica
    "25P03",  # idle_in_transaction_session_timeout
    "25P04",  # transaction_timeout
    "57P01",  # admin_shutdown
    "57P02",  # crash_shutdown
    "57P03",  # cannot_connect_now
    "57P04",  # database_dropped
    "57P05",  # idle_session_timeout
}


def seconds_for(size: int = 0) -> float:
    """Return the time limit, in seconds, for an operation that sends `size` bytes."""
    return OPERATION_SECONDS + size / MIN_BYTES_PER_SECOND


def is_lost(error: psycopg.Error) -> bool:
    """Return whether the error means that its connection can do no more work and must be replaced."""
    state = error.sqlstate or ""
    return state in _LOST or state.startswith("08")  # connection_exception


def is_stale(connection: AnyConnection) -> bool:
    """Return whether an idle connection has data to read: most likely, the server has ended it. Does not block."""
    try:
        return bool(_readable(connection.fileno()))
    except (OSError, ValueError, psycopg.Error):  # the connection is closed
        return True


def _readable(descriptor: int) -> object:
    if not hasattr(select, "poll"):  # on Windows, where select() takes any descriptor
        return select.select([descriptor], (), (), 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll(0)


def cut(connection: AnyConnection) -> None:
    """Shut down the connection's socket, from any thread. A pending wait for its reply fails at once."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class Cutter:
    """Cuts connections whose work takes too long. One timer checks all work in an event loop."""

    def __init__(self) -> None:
        self._under_way: set[_Work] = set()
        self._timer: asyncio.TimerHandle | None = None

    def cut_after(self, seconds: float, connection: psycopg.AsyncConnection[Any]) -> "_Work":
        """Return a context that cuts the connection if its block takes longer, or is cancelled and does not end.

        So a reply that never comes becomes an error, and the caller's own timeout holds. When the task is cancelled,
        psycopg cancels the statement at the server and waits for the reply; here this takes about a second at most.

        Raises:
            OperationalError: The block took longer, and an operation on the connection failed.
        """
        return _Work(self, seconds, connection)

    def begin(self, work: "_Work") -> None:
        """Check the work from now on."""
        self._under_way.add(work)
        if self._timer is None:
            self._timer = in_fresh_context(asyncio.get_running_loop().call_later, CHECK_SECONDS, self._check)

    def end(self, work: "_Work") -> None:
        """Stop checking the work."""
        self._under_way.discard(work)

    def _check(self) -> None:
        for work in self._under_way:
            work.check()
        self._timer = asyncio.get_running_loop().call_later(CHECK_SECONDS, self._check) if self._under_way else None


class _Work:
    """A context in which the current task uses a connection for a limited time."""

    __slots__ = ("_cancels", "_connection", "_cutter", "_ends", "_is_cancelled", "_is_late", "_seconds", "_task")

    def __init__(self, cutter: Cutter, seconds: float, connection: psycopg.AsyncConnection[Any]) -> None:
        self._cutter = cutter
        self._connection = connection
        self._seconds = seconds
        self._ends = asyncio.get_running_loop().time() + seconds
        self._task = asyncio.current_task()
        self._cancels = cancels(self._task)
        self._is_cancelled = self._is_late = False

    def __enter__(self) -> None:
        self._cutter.begin(self)

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        self._cutter.end(self)
        if self._is_late and isinstance(error, psycopg.Error):
            raise _no_answer(self._seconds) from error

    def check(self) -> None:
        """Cut the connection if the time is up, or if the task was cancelled before the previous check."""
        self._is_late = asyncio.get_running_loop().time() >= self._ends
        if self._is_late or self._is_cancelled:
            cut(self._connection)
        self._is_cancelled = cancels(self._task) > self._cancels


def cancels(task: asyncio.Task[Any] | None) -> int:
    """Return the number of pending cancellation requests of the task; 0 for None."""
    return 0 if task is None else task.cancelling()


class ImpatientConnection(psycopg.AsyncConnection[Any]):
    """A connection that waits only half a second for a statement to be cancelled at the server.

    When the task that waits for a reply is cancelled, psycopg opens a new connection to cancel the statement. It allows
    5 s for that. If the server does not respond, these would be added to the caller's own timeout.
    """

    @override
    async def cancel_safe(self, *, timeout: float = CHECK_SECONDS) -> None:
        """Ask the server to cancel the statement under way."""
        await super().cancel_safe(timeout=min(timeout, CHECK_SECONDS))


class BoundedConnection(psycopg.Connection[TupleRow]):
    """A synchronous connection that waits at most `patience` seconds for each reply."""

    patience: float | None = None
    """Seconds that a reply may take before the connection is closed. None for `OPERATION_SECONDS`."""
    is_pooled: bool = False
    """Whether there is a pooler such as PgBouncer, which may give the server's session to others."""

    @override
    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the reply as psycopg does, but for a limited time."""
        seconds = (self.patience or seconds_for()) if timeout is None else timeout
        try:
            return wait(gen, self.pgconn.socket, interval=interval, timeout=seconds)
        except BaseException as error:  # an interruption such as KeyboardInterrupt may come at any moment
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            # A late reply would be taken for that of the next statement. psycopg cancels an interrupted statement at
            # the server instead, which takes up to 10 s if that does not respond.
            self.pgconn.finish()
            if isinstance(error, psycopg.OperationalError):
                raise _no_answer(seconds) from error
            raise


def _no_answer(seconds: float) -> psycopg.OperationalError:
    return psycopg.OperationalError(
        f"no answer within {seconds:.0f} s, so the connection was closed; whether it was done is not known"
    )


async def is_behind_pooler(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Return whether there is a pooler such as PgBouncer.

    Behind one, the process that executes statements is not the one that was announced at the connection's start.
    """
    with Cutter().cut_after(SETUP_SECONDS, connection):
        cursor = await connection.execute(_SERVER_PROCESS)
        row = await cursor.fetchone()
    return row is not None and row[0] != connection.info.backend_pid


async def configure(connection: psycopg.AsyncConnection[Any], *, plans_once: bool = False) -> None:
    """Set up a new session with `SESSION_SETTINGS`, and perhaps with `PLAN_SETTINGS`; not behind a pooler."""
    with Cutter().cut_after(SETUP_SECONDS, connection):
        await connection.execute(SESSION_SETTINGS, prepare=False)
        if plans_once:
            await connection.execute(PLAN_SETTINGS, prepare=False)


def connect_blocking(conninfo: str, *, patience: float = SETUP_SECONDS) -> BoundedConnection:
    """Connect, and set up the session unless it belongs to a pooler. Prepares no statements: poolers lose them.

    Args:
        conninfo: Connection string of the server.
        patience: Seconds that each reply may take until the session is set up.
    """
    connection = BoundedConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
    try:
        connection.patience = patience
        row = connection.execute(_SERVER_PROCESS).fetchone()
        connection.is_pooled = row is None or row[0] != connection.info.backend_pid
        if not connection.is_pooled:
            connection.execute(SESSION_SETTINGS)
    except BaseException:
        connection.close()
        raise
    connection.patience = None
    return connection
