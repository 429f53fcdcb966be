"""Enqueues, queries, changes and completes jobs on the application's own connection."""

from collections.abc import Sequence
from typing import Any, Final, TypeVar

from rexecutor.backend.app_transaction import Bound, SyncTransaction, Transaction
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.django_connection import IN_A_COROUTINE, is_django
from rexecutor.backend.messages import PAGE, Count, NewPause, Pause
from rexecutor.backend.postgres.drivers import is_awaited, run_awaited, run_blocking
from rexecutor.backend.postgres.notifying import NotifyingScripts
from rexecutor.backend.postgres.statements import Statements
from rexecutor.backend.sql.operations import Script
from rexecutor.backend.unwrapping import unwrapped
from rexecutor.clock import Clock
from rexecutor.errors import BackendError, ConfigurationError
from rexecutor.model.job import Enqueued, JobId, JobRecord, NewJob
from rexecutor.model.outcomes import CancelAsked, Complete, Rerun, Settlement
from rexecutor.model.status import JobStatus
from rexecutor.model.where import Where

T = TypeVar("T")


def bind(backend: Backend, scripts: NotifyingScripts, connection: object) -> Transaction | SyncTransaction:
    """Return an object that enqueues, queries and changes jobs on the connection. No I/O.

    Raises:
        ConfigurationError: The connection is of an unsupported kind.
    """
    connection = unwrapped(connection)
    if is_awaited("bound_to", connection):
        return _PostgresTransaction(backend, scripts, connection)
    return _PostgresSyncTransaction(backend, scripts, connection)


class _PostgresBound(Bound):
    """Base of both kinds of transactions: the scripts that they execute, and the connection."""

    def __init__(self, backend: Backend, scripts: NotifyingScripts, connection: Any) -> None:
        super().__init__(backend)
        self._scripts = scripts
        self._connection = connection


class _PostgresTransaction(_PostgresBound, Transaction):
    async def enqueue(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        return await self._run(self._scripts.enqueue(jobs))

    async def query(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        return await self._run(self._scripts.query(where, limit, after, newest=newest))

    async def count(self, where: Where | None = None) -> Sequence[Count]:
        return await self._run(self._scripts.count(where))

    async def apply(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        return (await self._run(self._scripts.apply(job_id, change, executor))).status

    async def update(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        return await self._run(self._scripts.update(job_id, new, version))

    async def _run(self, script: Script[T]) -> T:
        return await run_awaited("bound_to", self._connection, self._scripts.schema, script)


class _PostgresSyncTransaction(_PostgresBound, SyncTransaction):
    @property
    def hint(self) -> str:
        return _hint(self._connection)

    def run(self, script: Script[T]) -> T:
        """Execute a script in the transaction; return its result."""
        return run_blocking("bound_to", self._connection, self._scripts.schema, script)

    def enqueue_sync(self, jobs: Sequence[NewJob]) -> Sequence[Enqueued]:
        return self.run(self._scripts.enqueue(jobs))

    def query_sync(
        self, where: Where, *, limit: int = PAGE, after: JobId | None = None, newest: bool = False
    ) -> Sequence[JobRecord]:
        return self.run(self._scripts.query(where, limit, after, newest=newest))

    def count_sync(self, where: Where | None = None) -> Sequence[Count]:
        return self.run(self._scripts.count(where))

    def apply_sync(self, job_id: JobId, change: CancelAsked | Rerun, *, executor: str | None) -> JobStatus:
        return self.run(self._scripts.apply(job_id, change, executor)).status

    def update_sync(self, job_id: JobId, new: NewJob, *, version: int) -> JobRecord:
        return self.run(self._scripts.update(job_id, new, version))

    def put_pause_sync(self, pause: NewPause) -> Pause:
        return self.run(self._scripts.put_pause(pause))

    def end_pause_sync(self, executor: str) -> bool:
        return self.run(self._scripts.end_pause(executor))


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
            raise ConfigurationError(
                f"complete_in: the connection is synchronous; call complete_in_sync{_hint(connection)}"
            )
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
        refused = yield from statements.settle([settlement], self._most_errors, now, node=record.node)
        if not refused:
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


def _hint(connection: object) -> str:
    return IN_A_COROUTINE if is_django(connection) else ""
