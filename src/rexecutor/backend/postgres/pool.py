"""The backend's connection pool, which is its own or the application's."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, nullcontext
from functools import partial
from typing import Any, Final, TypeAlias, TypeVar
from weakref import WeakSet

import psycopg
from psycopg.errors import DeadlockDetected
from psycopg_pool import AsyncConnectionPool, PoolClosed, PoolTimeout
from typing_extensions import override

from rexecutor.affinity import Affinity, in_another_loop
from rexecutor.backend.postgres.connection import (
    Connection,
    check_version,
    checked_conninfo,
    translated,
)
from rexecutor.backend.postgres.liveness import (
    SETUP_SECONDS,
    Cutter,
    ImpatientConnection,
    cancels,
    configure,
    is_behind_pooler,
    is_lost,
    is_stale,
    seconds_for,
)
from rexecutor.backend.postgres.statements import MOST_DEADLOCKS
from rexecutor.background import start_task
from rexecutor.clock import random_between
from rexecutor.errors import BackendClosedError, BackendError, ConfigurationError
from rexecutor.model.checks import checked_int

Pool: TypeAlias = AsyncConnectionPool[Any]
T = TypeVar("T")

POOL_WAIT_SECONDS: Final = 30.0
"""Seconds that an operation waits for a connection of the pool."""
RECONNECT_SECONDS: Final = 2.0
"""Seconds that the pool tries to reach the server, with growing pauses, before it starts over."""
POOL_NAME: Final = "rexecutor"
RENEW_SECONDS: Final = 1.0
"""Minimum interval, in seconds, between replacing all connections while the server refuses to work on them."""
IDLE_SECONDS: Final = 60.0
"""Seconds that a connection beyond the first may be idle before the pool closes it."""
DUTY_CONNECTIONS: Final = 2
"""Maximum size of the pool of a duty.

One connection is enough for a node. The second is for a connection that no longer responds, and for several nodes.
"""
_OWN: Final = ("autocommit", "context", "cursor_factory", "prepare_threshold", "row_factory")
"""Settings of a pool's connections that belong to psycopg, not to libpq."""


class PooledConnection(ImpatientConnection):
    """A connection of the backend's own pool, as opposed to the application's."""


class _Pool(AsyncConnectionPool[PooledConnection]):
    """A pool whose worker tasks end when its event loop does."""

    @classmethod
    @override
    async def worker(cls, q: Any) -> None:
        """Run the pool's background tasks until cancelled.

        psycopg's worker treats its cancellation as a failure of the task it is running, and goes on. It would never
        end.
        """
        ending: Any = _EndingQueue(q)
        await super().worker(ending)

    @property
    def is_abandoned(self) -> bool:
        """Whether its tasks were cancelled, as at the end of the event loop. It still lends the connections it has."""
        scheduler: object = getattr(self, "_sched_runner", None)
        return isinstance(scheduler, asyncio.Task) and scheduler.done()


class _EndingQueue:
    """Wraps a queue, and gives no more items to a task that was cancelled."""

    def __init__(self, queue: asyncio.Queue[Any]) -> None:
        self._queue = queue

    async def get(self) -> Any:
        """Return the next item; raises a `CancelledError` if the task was cancelled while it worked on the last."""
        if cancels(asyncio.current_task()):
            raise asyncio.CancelledError
        return await self._queue.get()


class Connections:
    """Runs work on pooled connections: its own, in autocommit, or the application's, with the settings they have."""

    def __init__(self, source: str | Pool, schema: str, limit: int) -> None:
        """Check the settings, which `PostgresBackend` describes; `limit` is its `max_connections`."""
        checked_int("PostgresBackend: max_connections", limit, 1)
        self._given = source if isinstance(source, AsyncConnectionPool) else None
        self.conninfo: Final = checked_conninfo(source) if isinstance(source, str) else _conninfo_of(source)
        """Connection string for connections outside the pool."""
        self._schema = schema
        self._limit = limit
        self._pool: Pool | None = None
        self._duties: dict[str, Pool] = {}
        """Pools of the duties that have connections of their own, by the duty's name; opened at their first use."""
        self._duty_turn = asyncio.Lock()
        self._is_pooled = False
        self._is_ours = True
        self._affinity: Affinity | None = None
        self._is_checked = False
        self._made: WeakSet[Connection] = WeakSet()
        self._knocks: set[asyncio.Task[None]] = set()
        self._cutter = Cutter()
        self._renewed = -RENEW_SECONDS
        """Time, on the loop's clock, at which all connections were last replaced."""

    @property
    def is_open(self) -> bool:
        """Whether there is a pool and its event loop has not ended."""
        return self._pool is not None and self._affinity is not None and not self._affinity.has_ended

    async def open(self) -> None:
        """Connect once, because the pool does not say why its attempts fail. Then open the pool."""
        with translated(self._schema):
            connection = await psycopg.AsyncConnection.connect(self.conninfo, autocommit=True)
            async with connection:
                self._is_pooled = await is_behind_pooler(connection)
            pool: Pool = self._given or self._make_pool()
            self._is_ours = pool.closed
            if self._is_ours:
                logging.getLogger("psycopg.pool").addFilter(_is_worth_a_line)  # only once, however often it is added
                await _opened(pool)
        self._affinity = Affinity()
        self._cutter = Cutter()
        self._is_checked = False
        self._duties, self._duty_turn = {}, asyncio.Lock()
        self._pool = pool

    def _make_pool(self, *, plans_once: bool = False) -> Pool:
        """Return a pool of the backend's own, not open yet.

        With `plans_once` it is the pool of a duty: its sessions plan each statement only once, unless there is a
        pooler, whose sessions keep no plans.
        """
        if self._is_pooled:
            settings: dict[str, Any] = {"prepare_threshold": None}
        else:
            settings = {"prepare_threshold": 0} if plans_once else {}
        return _Pool(
            self.conninfo,
            connection_class=PooledConnection,
            kwargs={"autocommit": True, **settings},
            configure=partial(self._begin, plans_once=plans_once),
            min_size=1,  # the pool uses its connections in turn: the fewer, the warmer each stays
            max_size=DUTY_CONNECTIONS if plans_once else self._limit,
            max_idle=IDLE_SECONDS,
            reconnect_timeout=RECONNECT_SECONDS,
            reconnect_failed=self._knock_later,
            timeout=POOL_WAIT_SECONDS,
            open=False,
            name=POOL_NAME,
        )

    async def _open_duty(self, duty: str) -> Pool:
        """Open the pool of a duty at its first use, and return it.

        At the end of the event loop, return the backend's pool instead: nothing would end the tasks of a new one.
        """
        if isinstance(self._pool, _Pool) and self._pool.is_abandoned:
            return self._pool
        async with self._duty_turn:
            if duty not in self._duties:
                pool = self._make_pool(plans_once=True)
                await _opened(pool)
                if not self.is_open:
                    await pool.close()
                    self.check_open()
                self._duties[duty] = pool
        return self._duties[duty]

    async def close(self) -> None:
        """Drop the pool, and close it if it was opened here."""
        if self._is_other_process:
            return  # dropping it might close connections that the parent process uses
        is_running = self.is_open
        pool, self._pool, self._affinity = self._pool, None, None
        duties, self._duties = self._duties, {}
        if pool is not None and is_running:  # otherwise its tasks have ended with its loop
            for knock in self._knocks:
                knock.cancel()
            for one in (*duties.values(), pool) if self._is_ours else duties.values():
                await _closed(one)

    def close_sync(self) -> bool:
        """Close the connections of a pool whose event loop has ended; return whether there was such a pool.

        Raises:
            BackendClosedError: The event loop has not ended.
        """
        if self._is_other_process or self._pool is None:
            return False
        if self.is_open:
            raise BackendClosedError("PostgreSQL: it is open in an event loop; `await backend.close()` there")
        self._pool, self._affinity, self._duties = None, None, {}
        for connection in self._made:
            connection.pgconn.finish()  # without its loop, no more of closing it can be done
        return True

    async def _begin(self, connection: Connection, *, plans_once: bool) -> None:
        """Remember a new connection of a pool of the backend's own, and set up its session unless a pooler owns it."""
        self._made.add(connection)
        if not self._is_pooled:
            await configure(connection, plans_once=plans_once)

    async def _knock_later(self, pool: Pool) -> None:
        """Request a connection soon.

        After a failure, the pool stops connecting until someone requests a connection, even if others are waiting.
        """
        knock = start_task(self._knock(pool))
        self._knocks.add(knock)
        knock.add_done_callback(self._knocks.discard)

    async def _knock(self, pool: Pool) -> None:
        await asyncio.sleep(random_between(0.5, 1.0))  # noqa: TID251 - network time, not a Clock's
        with contextlib.suppress(PoolTimeout, PoolClosed):
            async with pool.connection(timeout=RECONNECT_SECONDS):
                pass

    def check_open(self) -> None:
        """Raise a `BackendClosedError` unless this process may use the pool."""
        if self._is_other_process:
            raise BackendClosedError("PostgreSQL: opened before a fork; open another backend in the child")
        if not self.is_open:
            raise BackendClosedError(
                "PostgreSQL: not open; use `async with`, or start a Rexecutor with it;"
                " methods such as `enqueue_sync` need no open backend"
            )

    def must_close(self) -> bool:
        """Return whether this process has the pool open.

        Raises:
            BackendClosedError: Another event loop has it open.
        """
        if not self.is_open or self._is_other_process:
            return False
        self.check_place()
        return True

    @property
    def _is_other_process(self) -> bool:
        return self._affinity is not None and self._affinity.is_other_process

    @property
    def is_usable_here(self) -> bool:
        """Whether this process and this event loop may use the pool."""
        place = self._affinity
        return self.is_open and place is not None and not (place.is_other_process or place.is_other_loop)

    def check_place(self) -> None:
        """Raise a `BackendClosedError` unless this process and this event loop may use the pool."""
        self.check_open()
        if self._affinity is not None and self._affinity.is_other_loop:
            raise in_another_loop("PostgreSQL")

    def forget_check(self) -> None:
        """Have the next use check the schema's version again."""
        self._is_checked = False

    async def run(
        self,
        work: Callable[[Connection], Awaitable[T]],
        *,
        is_checked: bool = True,
        seconds: float | None = None,
        duty: str | None = None,
    ) -> T:
        """Do the work on a connection of the pool, and commit it.

        With autocommit, as in the backend's own pool, each statement commits by itself unless the work begins a
        transaction. Without it, all statements commit together at the end.

        The connection is cut if the work takes longer than `seconds`, or if the caller is cancelled and the statement
        does not end.

        Args:
            work: Uses the connection, for statements and transactions only.
            is_checked: Whether to check the schema's version at the first use.
            seconds: Maximum time for the work once it has a connection; None for `OPERATION_SECONDS`.
            duty: Name of a duty whose statements have connections of their own, which plan each of them only once.

        Raises:
            BackendClosedError: The pool is not open, or belongs to another process or event loop.
            BackendError: The pool gave no connection within its timeout, the work failed, or it took too long.
        """
        self.check_place()
        asked, task = asyncio.get_running_loop().time(), asyncio.current_task()
        cancelled = cancels(task)
        pool = self._pool
        assert pool is not None  # noqa: S101 - `check_place` has checked that
        with translated(self._schema):
            try:
                if duty is not None:
                    pool = self._duties.get(duty) or await self._open_duty(duty)
                while True:
                    async with self._lent(pool) as connection:
                        # The pool swallows a cancellation that comes at the same moment as a connection.
                        if cancels(task) > cancelled:
                            raise asyncio.CancelledError
                        # The pool does not check what it lends, because that costs a round trip. So a connection that
                        # the server has ended is found here, at the cost of a poll of its socket. Only now is it safe
                        # to try again: nothing was sent yet. Later failures may come after a commit.
                        if asked > self._renewed and is_stale(connection):
                            await self._renew(connection)
                            continue
                        try:
                            with self._cutter.cut_after(seconds or seconds_for(), connection):
                                async with nullcontext() if connection.autocommit else connection:  # its commit too
                                    if is_checked and not self._is_checked:
                                        await check_version(connection, self._schema)
                                        self._is_checked = True
                                    return await work(connection)
                        except psycopg.Error as error:
                            if connection.closed or is_lost(error):
                                await self._renew_once(connection, asked)
                            raise
            except (PoolTimeout, TimeoutError) as error:
                raise BackendError(
                    f"PostgreSQL: no connection within {pool.timeout:.0f} s: the server cannot be reached, or"
                    f" all {pool.max_size} connections are in use (`max_connections=`)"
                ) from error
            except PoolClosed as error:
                raise BackendClosedError(
                    "PostgreSQL: the pool is closed; it must be open while the backend is in use"
                ) from error

    async def transaction(self, work: Callable[[Connection], Awaitable[T]], *, seconds: float | None = None) -> T:
        """Do the work within a transaction; see `run`.

        If a deadlock ends the transaction, the work is done again in another one, at most `MOST_DEADLOCKS` times.
        """

        async def transact(connection: Connection) -> T:
            for _ in range(MOST_DEADLOCKS):
                with contextlib.suppress(DeadlockDetected):
                    async with connection.transaction():
                        return await work(connection)
            async with connection.transaction():
                return await work(connection)

        return await self.run(transact, seconds=seconds)

    def _lent(self, pool: Pool) -> AbstractAsyncContextManager[Connection]:
        """Return a context that lends a connection of the pool; the wait for it is limited."""
        # The application's pool may check connections before it lends them, and wait for each reply without limit.
        return pool.connection() if pool is not self._given else _lent_within(pool.timeout + SETUP_SECONDS, pool)

    async def _renew_once(self, connection: Connection, asked: float) -> None:
        """Renew the connections, unless that was done after the operation began, or less than a second before.

        While the server refuses to write, for example, every operation fails, but only one a second renews them.
        """
        if asked > self._renewed + (0.0 if connection.closed else RENEW_SECONDS):
            await self._renew(connection)

    async def _renew(self, connection: Connection) -> None:
        """Close the connection, and have the pools replace all others, in use or not.

        What ended one connection has most likely ended them all, and each would cost another failure.
        """
        self._renewed = asyncio.get_running_loop().time()
        await connection.close()
        for pool in (self._pool, *self._duties.values()):
            if pool is not None and not pool.closed:
                await pool.drain()


async def _opened(pool: Pool) -> None:
    try:
        # Without waiting, the first operation would make a second connection.
        await start_task(pool.open(wait=True))
    except BaseException:
        await pool.close()
        raise


async def _closed(pool: Pool) -> None:
    """Close the pool, even if its tasks were cancelled, as at the end of the event loop.

    psycopg's pool takes that for a cancellation of `close`, and leaves its connections open.
    """
    task = asyncio.current_task()
    cancelled = cancels(task)
    idle: list[Connection] = list(getattr(pool, "_pool", ()))
    try:
        await pool.close()
    except asyncio.CancelledError:
        if cancels(task) > cancelled:
            raise
        for connection in idle:
            await connection.close()


@asynccontextmanager
async def _lent_within(seconds: float, pool: Pool) -> AsyncGenerator[Connection]:
    async with AsyncExitStack() as lent:
        async with asyncio.timeout(seconds):  # noqa: TID251 - network time, not a Clock's
            connection = await lent.enter_async_context(pool.connection())
        yield connection


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drop psycopg's warnings about connections that the backend's own pool lost: the node's duties report these.

    A logging filter. Records of other levels, and of the application's pools, are kept.
    """
    about = record.args if isinstance(record.args, tuple) else ()
    is_of_own_pool = POOL_NAME in about or any(isinstance(one, PooledConnection) for one in about)
    return record.levelno != logging.WARNING or not is_of_own_pool


def _conninfo_of(pool: object) -> str:
    """Return the connection string of the application's pool."""
    if not isinstance(pool, AsyncConnectionPool):
        raise ConfigurationError(
            f"PostgresBackend: url must be a str or a psycopg_pool.AsyncConnectionPool, not {type(pool).__name__}"
        )
    conninfo: str | Callable[[], object] = pool.conninfo
    settings: dict[str, Any] | Callable[[], object] = pool.kwargs or {}
    if callable(conninfo) or callable(settings):
        raise ConfigurationError(
            "PostgresBackend: the pool's conninfo and kwargs must not be functions; give a URL or a pool with values"
        )
    return checked_conninfo(conninfo, {key: value for key, value in settings.items() if key not in _OWN})
