"""Changes of jobs whose commit is held back, so that something else has to wait for their rows."""

import asyncio
import sqlite3
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager, closing
from datetime import datetime
from typing import Final, LiteralString, cast

import psycopg

from rexecutor import Backend, PostgresBackend, SQLiteBackend
from rexecutor.backend.postgres.connection import Connection
from rexecutor.backend.postgres.execution import run, run_steps
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.sqlite import operations as sqlite_store
from rexecutor.backend.sqlite.connection import connect
from rexecutor.backend.sqlite.operations import SCRIPTS
from rexecutor.model.job import JobId, NewJob, NodeId
from rexecutor.model.outcomes import CancelAsked, Rerun
from tests.postgres import run_postgres, server_url
from tests.support import until


class Held(ABC):
    """An open transaction of somebody else's."""

    def __init__(self, now: datetime) -> None:
        self.now: Final = now

    @abstractmethod
    async def apply(self, job_id: JobId, change: CancelAsked | Rerun) -> None:
        """Change a job."""

    @abstractmethod
    async def update(self, job_id: JobId, new: NewJob, version: int) -> None:
        """Change its fields."""

    @abstractmethod
    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        """Enqueue jobs, and so perhaps replace fields of others."""

    @abstractmethod
    async def release_claims(self, node_id: NodeId) -> None:
        """Undo all claims of the node."""

    @abstractmethod
    async def select_for_update(self, job_id: JobId) -> None:
        """Lock a job, and change nothing."""

    @abstractmethod
    async def lock_node(self, node_id: NodeId) -> None:
        """Have the node's beats wait."""

    @abstractmethod
    async def waited_for(self) -> None:
        """Return when something waits for this transaction; on SQLite, when it has had the time to."""


class PostgresHeld(Held):
    def __init__(self, backend: PostgresBackend, connection: Connection) -> None:
        super().__init__(backend.clock.now())
        self._backend: Final = backend
        self._connection: Final = connection
        self._statements: Final = backend._statements

    async def _run(self, script: Script[object]) -> None:
        await run_steps(self._connection, script)

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun) -> None:
        await self._run(self._statements.apply(job_id, change, None, self.now, self._backend.limits))

    async def update(self, job_id: JobId, new: NewJob, version: int) -> None:
        await self._run(self._statements.update(job_id, new, version, self.now))

    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        await self._run(self._statements.enqueue(jobs, self.now))

    async def release_claims(self, node_id: NodeId) -> None:
        await self._run(self._statements.release_claims(node_id, (), 0, self.now, self._backend.limits))

    async def select_for_update(self, job_id: JobId) -> None:
        await self._run(self._statements.fetch(job_id))

    async def lock_node(self, node_id: NodeId) -> None:
        await run(self._connection, self._statements.of("lock_node", node=node_id))

    async def take_turn(self) -> None:
        """Have what asks for its `turn` wait."""
        await self._connection.execute(turn(self._backend.schema))

    async def waited_for(self) -> None:
        holder = self._connection.info.backend_pid
        query = f"SELECT count(*) FROM pg_stat_activity WHERE {holder} = ANY(pg_blocking_pids(pid))"
        await until(lambda: run_postgres(query)[0][0] > 0)


class SqliteHeld(Held):
    def __init__(self, backend: SQLiteBackend, connection: sqlite3.Connection) -> None:
        super().__init__(backend.clock.now())
        self._connection: Final = connection
        self._limits: Final = backend.limits

    def _run(self, script: Script[object]) -> None:
        sqlite_store.run(self._connection, script)

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun) -> None:
        self._run(SCRIPTS.apply(job_id, change, None, self.now, self._limits))

    async def update(self, job_id: JobId, new: NewJob, version: int) -> None:
        self._run(SCRIPTS.update(job_id, new, version, self.now))

    async def enqueue(self, jobs: Sequence[NewJob]) -> None:
        sqlite_store.enqueue(self._connection, jobs, self.now)

    async def release_claims(self, node_id: NodeId) -> None:
        self._run(SCRIPTS.release_claims(node_id, (), 0, self.now, self._limits))

    async def select_for_update(self, job_id: JobId) -> None:
        self._run(SCRIPTS.fetch(job_id))

    async def lock_node(self, node_id: NodeId) -> None:
        """Do nothing: all wait for the one write lock."""

    async def waited_for(self) -> None:
        for _ in range(20):
            await asyncio.to_thread(lambda: None)


@asynccontextmanager
async def held_back(backend: Backend) -> AsyncGenerator[Held]:
    """Begin a transaction beside the backend's own; commit it at the end of the block, roll it back on an error."""
    if isinstance(backend, SQLiteBackend):
        with closing(connect(backend.path)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            yield SqliteHeld(backend, connection)
            connection.execute("COMMIT")
        return
    assert isinstance(backend, PostgresBackend)
    async with await psycopg.AsyncConnection.connect(server_url()) as made:
        yield PostgresHeld(backend, made)


def turn(schema: str) -> LiteralString:
    """Return a query that waits until a transaction that has its turn ends, but not for tests of other schemas."""
    return cast("LiteralString", f"SELECT pg_advisory_xact_lock(hashtext('{schema}'))")
