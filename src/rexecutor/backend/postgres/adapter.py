"""`PostgresBackend`: the port on PostgreSQL."""

import asyncio
import os
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Final, TypeAlias

from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rexecutor.backend.base import Backend, Heart
from rexecutor.backend.exchange import PAGE, Claim, Count, Demand, Ticked
from rexecutor.backend.hints import Hints
from rexecutor.backend.postgres.connection import (
    Connection,
    check_version,
    checked_conninfo,
    checked_schema,
    migrate,
    translated,
)
from rexecutor.backend.postgres.heart import PostgresHeart
from rexecutor.backend.postgres.listener import Listener
from rexecutor.backend.postgres.rows import STATUSES, read_row
from rexecutor.backend.postgres.statements import Statements
from rexecutor.backend.postgres.store import Operations, run, run_steps
from rexecutor.backend.sql.where import LARGEST_ID, SMALLEST_ID
from rexecutor.clock import Clock
from rexecutor.errors import BackendClosedError, BackendError
from rexecutor.job import ClaimId, Enqueued, JobId, JobRecord, Limits, NewJob, NodeId
from rexecutor.outcome import CancelAsked, Rerun, Settlement
from rexecutor.prune_spec import PruneSpec
from rexecutor.schedule import Schedule, StoredSchedule
from rexecutor.status import JobStatus
from rexecutor.where import Where

Pool: TypeAlias = AsyncConnectionPool[Connection]

POOL_SECONDS: Final = 30.0
"""How long an operation waits for a connection of the pool."""


class PostgresBackend(Backend):
    """Jobs in a PostgreSQL schema, for any number of nodes; version 14 or later.

    Times are the database's own. The schema is made and changed by `migrate()` or `rexecutor migrate` alone: a start
    against another version of it is a `SchemaError`.
    """

    def __init__(
        self,
        url: str,
        *,
        schema: str = "rexecutor",
        clock: Clock | None = None,
        limits: Limits | None = None,
        max_connections: int = 10,
        listens: bool = True,
    ) -> None:
        """Keep the settings; the server is reached when the backend is opened.

        Args:
            url: `postgresql://…`, or a connection string of libpq.
            schema: Where its tables are; a letter or `_`, then letters, digits and `_`.
            clock: For tests: takes the place of the database's time.
            limits: How large jobs may be.
            max_connections: How many connections its pool may have, 2 or more; a node uses two more.
            listens: Whether to be woken by LISTEN and NOTIFY; polling alone is right, and slower to start a job.

        Raises:
            ConfigurationError: A setting cannot work.
        """
        super().__init__(clock=clock, limits=limits)
        self.schema: Final = checked_schema(schema)
        self._conninfo = checked_conninfo(url)
        self._max_connections = max_connections
        self._statements = Statements(self.schema)
        self._operations = Operations(self._statements, self.limits)
        self._fake_clock = clock
        self._hints = Hints(self.clock)
        self._pool: Pool | None = None
        self._process = 0
        self._opening = asyncio.Lock()
        self._is_checked = False
        self._listener = Listener(self._conninfo, self.schema, self._hints.heard) if listens else None

    @property
    def is_open(self) -> bool:
        """Whether it may be used."""
        return self._pool is not None

    async def open(self) -> None:
        """Connect. Needs no schema: that is looked for at the first use."""
        async with self._opening:
            if self._pool is not None:
                return
            pool: Pool = AsyncConnectionPool(
                self._conninfo,
                kwargs={"autocommit": True},
                min_size=2,
                max_size=max(self._max_connections, 2),
                timeout=POOL_SECONDS,
                open=False,
                name="rexecutor",
            )
            await self._try_to_connect()
            await pool.open()
            self._process = os.getpid()
            self._is_checked = False
            self._pool = pool
            if self._listener is not None:
                self._listener.start()

    async def _try_to_connect(self) -> None:
        """Connect once outside the pool, whose own attempts say nothing of why they fail."""
        import psycopg

        with translated(self.schema):
            connection = await psycopg.AsyncConnection.connect(self._conninfo, autocommit=True)
            await connection.close()

    async def close(self) -> None:
        """Let go of the server. Harmless when closed."""
        async with self._opening:
            pool, self._pool = self._pool, None
            if pool is None or self._process != os.getpid():
                return
            if self._listener is not None:
                await self._listener.stop()
            await pool.close()

    async def migrate(self) -> None:
        """Bring the schema up to this version; atomic, and one after the other where several nodes do it."""
        async with self._connection(is_checked=False) as connection:
            await migrate(connection, self.schema)
        self._is_checked = False

    async def ready(self) -> None:
        """Raise a `SchemaError` unless the schema has this version."""
        async with self._connection():
            pass

    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        """Store the jobs."""
        if not jobs:
            return ()
        steps = self._statements.enqueue(jobs, self._now())
        if any(job.unique is not None for job in jobs):
            async with self._transaction() as connection:
                answers = await run_steps(connection, steps)
        else:
            async with self._connection() as connection:
                answers = await run_steps(connection, steps)
        await self._wake({job.executor for job in jobs})
        return answers

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Take due jobs."""
        async with self._connection() as connection:
            return await self._operations.claim(connection, demand, node_id, self._now())

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record outcomes."""
        async with self._connection() as connection:
            refused = await self._operations.settle(connection, settlements, self._now())
        self._hints.heard()
        return refused

    async def give_back(self, node_id: NodeId, held: Collection[ClaimId]) -> int:
        """Undo claims whose answer was lost."""
        async with self._transaction() as connection:
            freed = await self._operations.give_back(connection, node_id, held, self._now())
        await self._wake({record.executor for record in freed})
        return len(freed)

    @property
    def version(self) -> int:
        """How many changes this handle has heard of."""
        return self._hints.version

    async def wait_ready(self, executors: Collection[str], until: datetime, *, since: int) -> None:
        """Wait for a notification or a change of this handle's own."""
        await self._hints.wait(until, since=since)

    async def wait_ended(self, job_id: JobId, until: datetime, *, since: int) -> None:
        """Wait for a change of this handle's own, or until the moment."""
        await self._hints.wait(until, since=since)

    async def query(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        """Answer jobs in the order of their ids."""
        if after is not None and after > LARGEST_ID:
            return ()
        first = SMALLEST_ID if after is None else max(after, SMALLEST_ID)
        statement = self._statements.where("select_jobs", where, self._now(), after=first, limit=min(limit, LARGEST_ID))
        async with self._connection() as connection:
            return [read_row(row) for row in await run(connection, statement)]

    async def count(self) -> Sequence[Count]:
        """Count the jobs; reads the whole table."""
        async with self._connection() as connection:
            rows = await run(connection, self._statements.of("count_jobs"))
        return [Count(executor, STATUSES[status], jobs) for executor, status, jobs in rows]

    async def change(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        """Change one job."""
        async with self._transaction() as connection:
            record = await self._operations.change(connection, job_id, change, executor, self._now())
        await self._wake({record.executor} if isinstance(change, Rerun) else ())
        return record.status

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        """Change one job's fields."""
        async with self._transaction() as connection:
            record = await self._operations.update(connection, job_id, new, version, self._now())
        await self._wake({record.executor})
        return record

    async def tick(self, schedules: Sequence[Schedule], *, up_since: datetime | None) -> Ticked:
        """Take due ticks and enqueue their jobs."""
        async with self._transaction() as connection:
            ticked, jobs = await self._operations.tick(connection, schedules, up_since, self._now())
            if jobs:
                await run_steps(connection, self._statements.enqueue(jobs, self._now()))
        if jobs:
            await self._wake({job.executor for job in jobs})
        return ticked

    async def schedules(self) -> Sequence[StoredSchedule]:
        """Answer the known schedules."""
        async with self._connection() as connection:
            return await self._operations.schedules(connection)

    async def prune(self, spec: PruneSpec, most: int) -> int:
        """Delete ended jobs."""
        async with self._connection() as connection:
            return await self._operations.prune(connection, spec, most, self._now())

    async def hold(self, duty: str, node_id: NodeId) -> bool:
        """Make the node the one that does the duty."""
        statement = self._statements.of("hold_duty", duty=duty, node=node_id, now=self._now())
        async with self._connection() as connection:
            return bool((await connection.execute(statement.text, statement.parameters)).rowcount)

    async def release(self, duty: str, node_id: NodeId) -> None:
        """Let others do the duty."""
        async with self._connection() as connection:
            await run(connection, self._statements.of("release_duty", duty=duty, node=node_id))

    def heart(self) -> Heart:
        """Answer a heart with a connection of its own."""
        if self._pool is None:
            raise BackendClosedError("PostgreSQL: not open; use `async with`, or start a Rexecutor with it")
        return PostgresHeart(self._conninfo, self._statements, self._fake_clock, self.limits)

    def _now(self) -> datetime | None:
        return None if self._fake_clock is None else self._fake_clock.now()

    async def _wake(self, executors: Collection[str]) -> None:
        """Tell all who wait for jobs, on other nodes too; a hint, so that a failure does no harm."""
        self._hints.heard()
        if executors and self._listener is not None:
            try:
                async with self._connection() as connection:
                    await run(
                        connection,
                        self._statements.of("notify", channel=self._listener.channel, executors=list(executors)),
                    )
            except BackendError:
                return

    @asynccontextmanager
    async def _connection(self, *, is_checked: bool = True) -> AsyncGenerator[Connection]:
        """Answer a connection of the pool, in autocommit."""
        if self._pool is None:
            raise BackendClosedError("PostgreSQL: not open; use `async with`, or start a Rexecutor with it")
        if self._process != os.getpid():
            raise BackendClosedError("PostgreSQL: opened before a fork; open a backend of the child's own")
        cancelled = _cancelled()
        with translated(self.schema):
            try:
                async with self._pool.connection() as connection:
                    if _cancelled() > cancelled:  # the pool hides it when a connection comes at the same moment
                        raise asyncio.CancelledError
                    if is_checked and not self._is_checked:
                        await check_version(connection, self.schema)
                        self._is_checked = True
                    yield connection
            except PoolTimeout as error:
                raise BackendError(
                    f"PostgreSQL: no connection within {POOL_SECONDS:.0f} s: the server cannot be reached, or all"
                    f" {self._max_connections} connections are in use (`max_connections=`)"
                ) from error

    @asynccontextmanager
    async def _transaction(self) -> AsyncGenerator[Connection]:
        async with self._connection() as connection, connection.transaction():
            yield connection


def _cancelled() -> int:
    """Answer how often the current task was cancelled."""
    task = asyncio.current_task()
    return 0 if task is None else task.cancelling()
