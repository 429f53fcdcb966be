"""Whether a connection still answers, and what ends one that does not."""

import asyncio
import contextlib
import os
import select
import socket
from collections.abc import Generator, Iterable
from contextlib import contextmanager
from typing import Any, Final, TypeAlias, TypeVar

import psycopg
from psycopg.abc import PQGen
from psycopg.pq import TransactionStatus
from psycopg.rows import TupleRow
from typing_extensions import override

AnyConnection: TypeAlias = psycopg.AsyncConnection[Any] | psycopg.Connection[Any]
T = TypeVar("T")

OPERATION_SECONDS = 30.0
"""Seconds that an operation on a connection may take. After that its answer is taken never to come."""
LEAST_BYTES: Final = 1_000_000
"""Bytes a second that an enqueue may count on: large batches may take longer."""
CANCEL_SECONDS: Final = 0.5
"""Seconds that the server has to cancel the statement of a task that is cancelled."""
GREETING_SECONDS: Final = 5.0
"""Seconds that a new connection's first statement may take."""

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
    return OPERATION_SECONDS + size / LEAST_BYTES


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


@contextmanager
def cut_after(seconds: float, connection: psycopg.AsyncConnection[Any]) -> Generator[None]:
    """Cut the connection if the block takes longer: an answer that will never come becomes an error.

    Raises:
        OperationalError: It took longer, and an operation on the connection has failed.
    """
    is_cut = False

    def end() -> None:
        nonlocal is_cut
        is_cut = True
        cut(connection)

    timer = asyncio.get_running_loop().call_later(seconds, end)
    try:
        yield
    except psycopg.Error as error:
        if is_cut:
            raise _no_answer(seconds) from error
        raise
    finally:
        timer.cancel()


async def cancel(task: asyncio.Task[Any], connections: Iterable[AnyConnection]) -> None:
    """Cancel a task that uses the connections, and wait for its end. Cut them if the server keeps it waiting."""
    task.cancel()
    await asyncio.wait((task,), timeout=CANCEL_SECONDS)
    if not task.done():
        for connection in connections:
            cut(connection)
        await asyncio.wait((task,), timeout=CANCEL_SECONDS)


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
    """Whether a pooler such as PgBouncer lies between: another process of the server answers than greeted."""
    with cut_after(GREETING_SECONDS, connection):
        cursor = await connection.execute("SELECT pg_backend_pid()")
        row = await cursor.fetchone()
    return row is not None and row[0] != connection.info.backend_pid
