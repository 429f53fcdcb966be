"""Enqueues and completes jobs on the application's own connection."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, Final, TypeAlias, TypeVar

from rexecutor.backend.app_transaction import Bound, SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.messages import PAGE
from rexecutor.backend.postgres.drivers import is_awaited, run_awaited, run_blocking
from rexecutor.backend.postgres.statements import Statements, Steps, channel_of
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.unwrapping import unwrapped
from rexecutor.clock import Clock
from rexecutor.errors import BackendError, ConfigurationError
from rexecutor.model.job import Enqueued, JobId, JobRecord, NewJob
from rexecutor.model.outcomes import Complete, Settlement
from rexecutor.model.where import Where

T = TypeVar("T")

Now: TypeAlias = Callable[[], datetime | None]


def bind(backend: Backend, statements: Statements, now: Now, connection: object) -> Transaction | SyncTransaction:
    """Return an object that enqueues and queries on the connection. No I/O.

    Raises:
        ConfigurationError: The connection is of an unsupported kind.
    """
    connection = unwrapped(connection)
    if is_awaited("bound_to", connection):
        return _PostgresTransaction(backend, statements, now, connection)
    return _PostgresSyncTransaction(backend, statements, now, connection)


def notifying(statements: Statements, steps: Steps, jobs: Sequence[NewJob]) -> Steps:
    """Return the steps of an enqueue, followed by one that notifies the nodes at its commit."""
    answers = yield from steps
    executors = sorted({job.executor for job in jobs})
    yield statements.of("notify", channel=channel_of(statements.schema), executors=executors)
    return answers


class _Scripts(Bound):
    """Base of both kinds of transactions: the scripts that they execute. `now()` is None for the database's time."""

    def __init__(self, backend: Backend, statements: Statements, now: Now, connection: Any) -> None:
        super().__init__(backend)
        self._statements = statements
        self._now = now
        self._connection = connection

    def _enqueue(self, jobs: Sequence[NewJob]) -> Steps:
        return notifying(self._statements, self._statements.enqueue(jobs, self._now()), jobs)

    def _query(self, where: Where, limit: int, after: JobId | None) -> Script[list[JobRecord]]:
        return self._statements.query(where, limit, after, self._now())


class _PostgresTransaction(_Scripts, Transaction):
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        return await self._run(self._enqueue(jobs))

    async def query(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        return await self._run(self._query(where, limit, after))

    async def _run(self, script: Script[T]) -> T:
        return await run_awaited("bound_to", self._connection, self._statements.schema, script)


class _PostgresSyncTransaction(_Scripts, SyncTransaction):
    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        return self._run(self._enqueue(jobs))

    def query_sync(self, where: Where, *, limit: int = PAGE, after: JobId | None = None) -> Sequence[JobRecord]:
        return self._run(self._query(where, limit, after))

    def _run(self, script: Script[T]) -> T:
        return run_blocking("bound_to", self._connection, self._statements.schema, script)


class PostgresCompletion(Completion):
    """Completes a job of the schema as a settlement does, fenced by its claim and its node.

    The node is part of the fence because the connection may be to another database that has a job with the same id.
    """

    def __init__(self, schema: str, most_errors: int, clock: Clock | None) -> None:
        """Make the completions of one schema.

        Args:
            schema: Name of the schema.
            most_errors: Maximum number of errors that a job keeps.
            clock: Replaces the database's time in tests; None in production.
        """
        self._schema: Final = schema
        self._most_errors = most_errors
        self._clock = clock

    async def complete(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Complete the job in the transaction of a connection that is awaited; see `Completion`."""
        connection = unwrapped(connection)
        if not is_awaited("complete_in", connection):
            raise ConfigurationError("complete_in: the connection is synchronous; call complete_in_sync")
        return await run_awaited("complete_in", connection, self._schema, self._script(record, result))

    def complete_sync(self, record: JobRecord, connection: object, *, result: str | None = None) -> bool:
        """Complete the job in the transaction of a connection that blocks; see `Completion`."""
        connection = unwrapped(connection)
        if is_awaited("complete_in_sync", connection):
            raise ConfigurationError("complete_in_sync: the connection must be awaited; call `await complete_in`")
        return run_blocking("complete_in_sync", connection, self._schema, self._script(record, result))

    def _script(self, record: JobRecord, result: str | None) -> Script[bool]:
        now = None if self._clock is None else self._clock.now()
        settlement = Settlement(*record.claim_id, Complete(result))
        statements = Statements(self._schema)
        if (yield statements.settle([settlement], self._most_errors, now, node=record.node)):
            return True
        # Nothing was recorded. In a stricter isolation level, the snapshot may be older than the claim: then the job
        # may still be this node's, and the transaction just cannot see that.
        [[claims, level]] = yield statements.of("select_claims", id=record.id)
        if level != "read committed" and (claims is None or claims < record.claims):
            raise BackendError(
                f"PostgreSQL: could not serialize access: the transaction ({level}) began before job {record.id} was"
                " claimed; roll it back, and begin one in execute"
            )
        return False
