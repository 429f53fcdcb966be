"""The backend's connection pool: its own, or the application's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakSet

import psycopg
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout
from typing_extensions import override

from rexecutor.affinity import Home, in_another_loop
from rexecutor.backend.postgres.connection import (
    Connection,
    check_version,
    checked_conninfo,
    translated,
)
from rexecutor.backend.postgres.liveness import (
    GREETING_SECONDS,
    Cutter,
    ImpatientConnection,
    cancels,
    configure,
    is_behind_pooler,
    is_lost,
    is_stale,
    seconds_for,
)
from rexecutor.background import start_task
from rexecutor.clock import random_between
from rexecutor.errors import BackendClosedError, BackendError, ConfigurationError

Pool: TypeAlias = AsyncConnectionPool[Any]
T = TypeVar("T")

POOL_SECONDS: Final = 30.0
"""How long an operation waits for a connection of the pool."""
RECONNECT_SECONDS: Final = 2.0
"""How long the pool tries to reach the server, with growing pauses, before it begins anew."""
NAME: Final = "rexecutor"
RENEW_SECONDS: Final = 1.0
"""How long the pool's connections are kept, though the server refuses to work on them, before they are made anew."""
IDLE_SECONDS: Final = 60.0
"""How long a connection beyond the first may be idle."""
_OWN: Final = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")
"""Settings of a pool's connections that are psycopg's, not the server's."""


class PooledConnection(ImpatientConnection):
    """Marks connections of the backend's own pool."""


class _Pool(AsyncConnectionPool[PooledConnection]):
    """A pool whose workers end when its event loop does."""

    @classmethod
    @override
    async def worker(cls, q: Any) -> None:
        """Run what is in the queue.

        psycopg's worker takes a cancel for a failure of what it runs just then, and goes on: its loop would never end.
        """
        ending: Any = _EndingQueue(q)
        await super().worker(ending)


class _EndingQueue:
    """A queue that gives nothing to a task that was cancelled."""

    def __init__(self, queue: asyncio.Queue[Any]) -> None:
        self._queue = queue

    async def get(self) -> Any:
        """Return the next item; raises a `CancelledError` if the task was cancelled while it worked on the last."""
        if cancels(asyncio.current_task()):
            raise asyncio.CancelledError
        return await self._queue.get()


class Connections:
    """A pool in autocommit; or the application's, whose connections are used as they are."""

    def __init__(self, source: str | Pool, schema: str, most: int) -> None:
        """Keep the settings; see `PostgresBackend`."""
        if type(most) is not int or most < 1:
            raise ConfigurationError(f"PostgresBackend: max_connections={most!r}; a whole number, 1 or more, expected")
        self._given = source if isinstance(source, AsyncConnectionPool) else None
        self.conninfo: Final = checked_conninfo(source) if isinstance(source, str) else _conninfo_of(source)
        """What connections of one's own are made with."""
        self._schema = schema
        self._most = self._given.max_size if self._given is not None else most
        self._pool: Pool | None = None
        self._is_ours = True
        self._home: Home | None = None
        self._is_checked = False
        self._made: WeakSet[Connection] = WeakSet()
        self._knocks: set[asyncio.Task[None]] = set()
        self._cutter = Cutter()
        self._renewed = -RENEW_SECONDS
        """When, by the loop's time, all connections were last made anew."""

    @property
    def is_open(self) -> bool:
        """Whether there is a pool, whose loop is not closed."""
        return self._pool is not None and self._home is not None and not self._home.has_ended

    async def open(self) -> None:
        """Connect once, for what the pool's own attempts do not say: why they fail. Then open the pool."""
        with translated(self._schema):
            connection = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
            async with connection:
                is_pooled = await is_behind_pooler(connection)
            pool: Pool = self._given or _Pool(
                self.conninfo,
                connection_class=PooledConnection,
                kwargs={"autocommit": True, **({"prepare_threshold": None} if is_pooled else {})},
                configure=partial(self._begin, is_pooled=is_pooled),
                min_size=1,  # they are used in turn: fewer stay warm
                max_size=self._most,
                max_idle=IDLE_SECONDS,
                reconnect_timeout=RECONNECT_SECONDS,
                reconnect_failed=self._knock_later,
                timeout=POOL_SECONDS,
                open=False,
                name=NAME,
            )
            self._is_ours = pool.closed
            if self._is_ours:
                try:
                    # Otherwise the first request makes a second connection.
                    await start_task(pool.open(wait=True))
                except BaseException:
                    await pool.close()
                    raise
        self._home = Home()
        self._cutter = Cutter()
        self._is_checked = False
        self._pool = pool

    async def close(self) -> None:
        """Let go of the pool, and close it where it was opened here."""
        if self._is_inherited:
            return  # even to forget it here might tell the server of the end of what the parent uses
        is_running = self.is_open
        pool, self._pool, self._home = self._pool, None, None
        if pool is not None and is_running:  # else its tasks have ended with its loop
            for knock in self._knocks:
                knock.cancel()
            if self._is_ours:
                await pool.close()

    def close_sync(self) -> bool:
        """Close the connections of a pool whose event loop has ended; return whether there was one.

        Raises:
            BackendClosedError: Its event loop goes on.
        """
        if self._is_inherited or self._pool is None:
            return False
        if self.is_open:
            raise BackendClosedError("PostgreSQL: it is open in an event loop; `await backend.close()` there")
        self._pool, self._home = None, None
        for connection in self._made:
            connection.pgconn.finish()  # all that is left of closing it without its loop
        return True

    async def _begin(self, connection: Connection, *, is_pooled: bool) -> None:
        """Take note of a new connection of our pool, and set what its statements rely on."""
        self._made.add(connection)
        if not is_pooled:
            await configure(connection)

    async def _knock_later(self, pool: Pool) -> None:
        """Ask for a connection soon. After a failure the pool stops trying until someone asks, even if others wait."""
        knock = start_task(self._knock(pool))
        self._knocks.add(knock)
        knock.add_done_callback(self._knocks.discard)

    async def _knock(self, pool: Pool) -> None:
        await asyncio.sleep(random_between(0.5, 1.0))  # noqa: TID251 - of the network's time
        with contextlib.suppress(PoolTimeout, PoolClosed):
            async with pool.connection(timeout=RECONNECT_SECONDS):
                pass

    def check_open(self) -> None:
        """Raise a `BackendClosedError` unless this process may use the pool."""
        if self._is_inherited:
            raise BackendClosedError("PostgreSQL: opened before a fork; open a backend of the child's own")
        if not self.is_open:
            raise BackendClosedError("PostgreSQL: not open; use `async with`, or start a Rexecutor with it")

    def must_close(self) -> bool:
        """Return whether this process has the pool open.

        Raises:
            BackendClosedError: Another event loop has it open.
        """
        if not self.is_open or self._is_inherited:
            return False
        self.check_place()
        return True

    @property
    def _is_inherited(self) -> bool:
        return self._home is not None and self._home.is_inherited

    def check_place(self) -> None:
        """Raise a `BackendClosedError` unless this process and this event loop may use the pool."""
        self.check_open()
        if self._home is not None and self._home.is_elsewhere:
            raise in_another_loop("PostgreSQL")

    def forget_check(self) -> None:
        """Look at the schema's version again before the next use."""
        self._is_checked = False

    async def run(
        self, work: Callable[[Connection], Awaitable[T]], *, is_checked: bool = True, seconds: float | None = None
    ) -> T:
        """Do the work on a connection of the pool; each statement commits, unless the work begins a transaction.

        All that the backend asks of its pool is bounded here: when the work takes longer than `seconds`, or the caller
        is cancelled and the statement does not end, the connection is cut.

        Args:
            work: What to do with the connection; statements and transactions only.
            is_checked: Whether the schema's version is checked, at the first use.
            seconds: How long the work may take once it has a connection; None for `OPERATION_SECONDS`.

        Raises:
            BackendClosedError: The pool is not open, or belongs to another process or event loop.
            BackendError: There was no connection within 30 s, the work failed, or it took too long.
        """
        self.check_place()
        pool, asked, task = self._pool, asyncio.get_running_loop().time(), asyncio.current_task()
        cancelled = cancels(task)
        assert pool is not None  # noqa: S101 - that was just checked
        with translated(self._schema):
            try:
                while True:
                    async with self._lent(pool) as connection:
                        if cancels(task) > cancelled:  # the pool hides it when a connection comes at the same moment
                            raise asyncio.CancelledError
                        if asked > self._renewed and is_stale(connection):
                            await self._renew(pool, connection)
                            continue  # nothing was asked of it yet
                        try:
                            with self._cutter.cut_after(seconds or seconds_for(), connection):
                                async with nullcontext() if connection.autocommit else connection:  # its commit too
                                    if is_checked and not self._is_checked:
                                        await check_version(connection, self._schema)
                                        self._is_checked = True
                                    return await work(connection)
                        except psycopg.Error as error:
                            if connection.closed or is_lost(error):
                                await self._renew_once(pool, connection, asked)
                            raise
            except (PoolTimeout, TimeoutError) as error:
                raise BackendError(
                    f"PostgreSQL: no connection within {pool.timeout:.0f} s: the server cannot be reached, or"
                    f" all {self._most} connections are in use (`max_connections=`)"
                ) from error
            except PoolClosed as error:
                raise BackendClosedError("PostgreSQL: its pool is closed; open it before, close it after") from error

    async def transaction(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Do the work within a transaction; see `run`."""

        async def transact(connection: Connection) -> T:
            async with connection.transaction():
                return await work(connection)

        return await self.run(transact, seconds=seconds)

    def _lent(self, pool: Pool) -> AbstractAsyncContextManager[Connection]:
        """Return a context for a connection of the pool, which is waited for `POOL_SECONDS` or as long as it says."""
        # A pool of the application's may check its connections first, and wait for each answer for ever.
        return pool.connection() if self._given is None else _lent_within(pool.timeout + GREETING_SECONDS, pool)

    async def _renew_once(self, pool: Pool, connection: Connection, asked: float) -> None:
        """Renew the pool, unless it was renewed since the operation began, or a moment before.

        As long as the server refuses to write, say, each operation fails, and one a second makes connections anew.
        """
        if asked > self._renewed + (0.0 if connection.closed else RENEW_SECONDS):
            await self._renew(pool, connection)

    async def _renew(self, pool: Pool, connection: Connection) -> None:
        """Close the connection, and have the pool replace all others that were made before, in use or not.

        What has ended one has most likely ended them all, and each would cost another failure.
        """
        self._renewed = asyncio.get_running_loop().time()
        await connection.close()
        if not pool.closed:
            await pool.drain()


@asynccontextmanager
async def _lent_within(seconds: float, pool: Pool) -> AsyncGenerator[Connection]:
    async with AsyncExitStack() as lent:
        async with asyncio.timeout(seconds):  # noqa: TID251 - of the network's time
            connection = await lent.enter_async_context(pool.connection())
        yield connection


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Whether psycopg's pool logs of something else than our own pool's lost connections: these our duties tell of."""
    about = record.args if isinstance(record.args, tuple) else ()
    is_ours = NAME in about or any(isinstance(one, PooledConnection) for one in about)
    return record.levelno != logging.WARNING or not is_ours


logging.getLogger("psycopg.pool").addFilter(_is_worth_a_line)


def _conninfo_of(pool: object) -> str:
    """Answer what the application's pool connects with."""
    if not isinstance(pool, AsyncConnectionPool):
        raise ConfigurationError(
            f"PostgresBackend: {type(pool).__name__} given; a URL or a psycopg_pool.AsyncConnectionPool expected"
        )
    conninfo: str | Callable[[], object] = pool.conninfo
    settings: dict[str, Any] | Callable[[], object] = pool.kwargs or {}
    if callable(conninfo) or callable(settings):
        raise ConfigurationError(
            "PostgresBackend: the pool's conninfo or kwargs is a function; give a URL, or a pool made with plain values"
        )
    return checked_conninfo(conninfo, {key: value for key, value in settings.items() if key not in _OWN})
