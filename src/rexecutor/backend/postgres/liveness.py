"""Whether a connection still answers, and what ends one that does not."""

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
from typing_extensions import override

from rexecutor.background import apart

AnyConnection: TypeAlias = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]
T = TypeVar("T")

OPERATION_SECONDS = 30.0
"""Seconds that an operation on a connection may take. After that its answer is taken never to come."""
MIN_BYTES_PER_SECOND: Final = 1_000_000
"""The slowest upload that is assumed: large batches get more time."""
LOOK_SECONDS: Final = 0.5
"""Seconds between two looks at what is under way. An operation may overrun its limit by this much."""
GREETING_SECONDS: Final = 5.0
"""Seconds that a new connection's first statement may take."""

CONFIGURED: Final = (
    "SELECT set_config('default_transaction_isolation', 'read committed', false),"
    " set_config('datestyle', 'ISO', false),"
    " set_config('idle_in_transaction_session_timeout', '10s', false),"
    " set_config('lock_timeout', '25s', false)"
)
"""Sets up a session: statements see what others have committed, and the driver can read times.

The server ends a session that stands still within a transaction, which locks what others need, and a wait for a lock
before the client gives up. Not for a pooler's session, which the application uses as well.
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
    """Return how many seconds an operation may take that sends `size` bytes."""
    return OPERATION_SECONDS + size / MIN_BYTES_PER_SECOND


def is_lost(error: psycopg.Error) -> bool:
    """Whether the connection that raised the error can do no work any more, so that another one is needed."""
    state = error.sqlstate or ""
    return state in _LOST or state.startswith("08")  # connection_exception


def is_stale(connection: AnyConnection) -> bool:
    """Whether an idle connection has something to read: most likely its server has ended it. Does not wait."""
    try:
        return bool(_readable(connection.fileno()))
    except (OSError, ValueError, psycopg.Error):  # it is closed
        return True


def _readable(descriptor: int) -> object:
    if not hasattr(select, "poll"):  # on Windows, where select() takes any descriptor
        return select.select([descriptor], (), (), 0)[0]
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return poll.poll(0)


def cut(connection: AnyConnection) -> None:
    """Shut the connection's socket, from any thread. Whoever waits for an answer gets an error at once."""
    with contextlib.suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as duplicate:
        duplicate.shutdown(socket.SHUT_RDWR)


class Cutter:
    """Cuts connections whose work takes too long. One timer looks at all that is under way in its event loop."""

    def __init__(self) -> None:
        self._under_way: set[_Work] = set()
        self._timer: asyncio.TimerHandle | None = None

    def cut_after(self, seconds: float, connection: psycopg.AsyncConnection[Any]) -> "_Work":
        """Return a context that cuts the connection if its block takes longer, or is cancelled and does not end.

        So an answer that will never come becomes an error, and a caller's own timeout holds. On a cancel, psycopg
        cancels the statement at the server and waits for its reply; that wait lasts about a second at most here.

        Raises:
            OperationalError: The block took longer, and an operation on the connection has failed.
        """
        return _Work(self, seconds, connection)

    def begin(self, work: "_Work") -> None:
        """Look at the work from now on."""
        self._under_way.add(work)
        if self._timer is None:
            self._timer = apart(asyncio.get_running_loop().call_later, LOOK_SECONDS, self._look)

    def end(self, work: "_Work") -> None:
        """Look at the work no more."""
        self._under_way.discard(work)

    def _look(self) -> None:
        for work in self._under_way:
            work.look()
        self._timer = asyncio.get_running_loop().call_later(LOOK_SECONDS, self._look) if self._under_way else None


class _Work:
    """A block of the current task that uses a connection."""

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

    def look(self) -> None:
        """Cut the connection if the time is up, or if the task was cancelled at the last look already."""
        self._is_late = asyncio.get_running_loop().time() >= self._ends
        if self._is_late or self._is_cancelled:
            cut(self._connection)
        self._is_cancelled = cancels(self._task) > self._cancels


def cancels(task: asyncio.Task[Any] | None) -> int:
    """Return how often the task was cancelled."""
    return 0 if task is None else task.cancelling()


class ImpatientConnection(psycopg.AsyncConnection[Any]):
    """A connection that waits only half a second for a statement to be cancelled at the server.

    psycopg cancels it when the task is cancelled that waits for the answer, on a connection made for that; its 5 s for
    that would be added to the caller's own timeout when no connection of the server answers.
    """

    @override
    async def cancel_safe(self, *, timeout: float = LOOK_SECONDS) -> None:
        """Ask the server to cancel the statement under way."""
        await super().cancel_safe(timeout=min(timeout, LOOK_SECONDS))


class BoundedConnection(psycopg.Connection[TupleRow]):
    """A synchronous connection that waits at most `patience` seconds for each answer."""

    patience: float | None = None
    """Seconds that an answer may take, after which the connection is closed. None for `OPERATION_SECONDS`."""

    @override
    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for the answer as psycopg does, but not for ever."""
        seconds = timeout or self.patience or seconds_for()
        try:
            return super().wait(gen, interval, seconds)
        except psycopg.OperationalError as error:
            if self.pgconn.transaction_status != TransactionStatus.ACTIVE:
                raise
            self.pgconn.finish()  # the answer may still come, as if to the next question
            raise _no_answer(seconds) from error


def _no_answer(seconds: float) -> psycopg.OperationalError:
    return psycopg.OperationalError(
        f"no answer within {seconds:.0f} s, so the connection was closed; whether it was done is not known"
    )


async def is_behind_pooler(connection: psycopg.AsyncConnection[Any]) -> bool:
    """Return whether a pooler such as PgBouncer is in between: the server's process is not the one that greeted."""
    with Cutter().cut_after(GREETING_SECONDS, connection):
        cursor = await connection.execute(_SERVER_PROCESS)
        row = await cursor.fetchone()
    return row is not None and row[0] != connection.info.backend_pid


async def configure(connection: psycopg.AsyncConnection[Any]) -> None:
    """Set up a new session of the server."""
    with Cutter().cut_after(GREETING_SECONDS, connection):
        await connection.execute(CONFIGURED)


def connect_blocking(conninfo: str, *, patience: float = GREETING_SECONDS) -> BoundedConnection:
    """Connect, and set the session up unless it is a pooler's. Prepares no statements, which poolers lose.

    Args:
        conninfo: Where to.
        patience: Seconds that each answer may take meanwhile.
    """
    connection = BoundedConnection.connect(conninfo, autocommit=True, prepare_threshold=None)
    try:
        connection.patience = patience
        row = connection.execute(_SERVER_PROCESS).fetchone()
        if row is not None and row[0] == connection.info.backend_pid:
            connection.execute(CONFIGURED)
    except BaseException:
        connection.close()
        raise
    connection.patience = None
    return connection
