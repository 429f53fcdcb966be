"""A store on Django's own connection, so that a test can run jobs in its transaction."""

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from asgiref.sync import sync_to_async

import rexecutor.backend.sqlite.operations as sqlite
from rexecutor.backend.app_transaction import SyncTransaction
from rexecutor.backend.base import Backend
from rexecutor.backend.completion import Completion
from rexecutor.backend.messages import Claim, Demand, Node
from rexecutor.backend.sql.operations import Script, Statement
from rexecutor.backend.sqlite.rows import stored
from rexecutor.clock import Clock
from rexecutor.engine.threads import Threads
from rexecutor.model.job import ClaimId, JobId, JobRecord, Limits, NodeId
from rexecutor.model.outcomes import Settlement
from rexecutor.model.where import Where

T = TypeVar("T")

_LEASE: Final = timedelta(days=1)
_POLL: Final = timedelta(seconds=1)


class CallingThread(Threads):
    """Runs jobs in the thread that `async_to_sync` blocks: its connections have the test's transaction."""

    async def run(self, function: Callable[[Any], Any], argument: Any) -> Any:
        """Call the function there. Return its result or raise its error."""

        def call() -> tuple[Any, BaseException | None]:
            try:
                return function(argument), None
            except BaseException as error:  # noqa: BLE001 - raised again below; StopIteration cannot pass through a future
                return None, error

        result, error = await sync_to_async(call)()
        if error is not None:
            raise error
        return result


class ConnectionStore:
    """The part of a backend that runs jobs, on Django's connection: in the thread that `async_to_sync` has blocked."""

    is_open = True
    change_count = 0

    def __init__(self, backend: Backend, bound: SyncTransaction) -> None:
        """Make the store of a backend, and of the same backend bound to Django's connection."""
        self._backend: Final = backend
        self._on: Final[_OnPostgres | _OnSqlite] = (
            _OnPostgres(bound) if hasattr(bound, "run") else _OnSqlite(bound, backend)
        )
        self._bound: Final = bound
        self._leased: set[NodeId] = set()

    @property
    def clock(self) -> Clock:
        """The backend's clock."""
        return self._backend.clock

    @property
    def limits(self) -> Limits:
        """The backend's limits."""
        return self._backend.limits

    def completion(self) -> Completion:
        """Return the backend's completion, which takes Django's connection."""
        return self._backend.completion()

    def heartbeat_connection(self) -> "ConnectionStore":
        """Return itself: the first claim begins the lease, and the end of the run ends it."""
        return self

    def send(self, node: Node, *, rescues: bool = True) -> None:
        """Send no heartbeat: the lease of a day is longer than a test."""

    def deregister(self, node_id: NodeId) -> None:
        """Do nothing: `release_claims` ends the lease."""

    def close(self) -> None:
        """Do nothing: the connection is Django's."""

    async def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        """Claim due jobs."""
        return await sync_to_async(self._claim)(demand, node_id)

    def _claim(self, demand: Demand, node_id: NodeId) -> Claim:
        if node_id not in self._leased:
            self._on.begin_lease(node_id)
            self._leased.add(node_id)
        return self._on.claim(demand, node_id)

    async def settle(self, settlements: Sequence[Settlement]) -> Sequence[JobId]:
        """Record the outcomes; see `Backend.settle`."""
        return await sync_to_async(self._on.settle)(settlements, self.limits)

    async def query(self, where: Where, *, limit: int) -> Sequence[JobRecord]:
        """Return the jobs, the oldest first."""
        return await sync_to_async(self._bound.query_sync)(where, limit=limit)

    async def wait_ended(self, until: datetime, *, since: int) -> None:  # noqa: ARG002 - the port's signature
        """Wait until this moment, at most 1 s: the store reports no changes."""
        await self.clock.wait(asyncio.Event(), min(max(until - self.clock.now(), timedelta(0)), _POLL))

    async def release_claims(self, node_id: NodeId, held: Collection[ClaimId]) -> int:  # noqa: ARG002 - the port's signature
        """Give back claimed jobs that did not run, and end the lease. Return the number of jobs."""
        return await sync_to_async(self._on.end)(node_id, self.limits)


class _OnPostgres:
    def __init__(self, bound: Any) -> None:
        from rexecutor.backend.postgres.statements import Statements  # psycopg is an extra

        self._run: Final[Callable[[Script[Any]], Any]] = bound.run
        self._statements: Final = Statements(bound.backend.schema)

    def begin_lease(self, node_id: NodeId) -> None:
        values = "VALUES (%(id)s, 'run_tasks', now(), now() + interval '1 day')"
        self._execute(f'INSERT INTO "rexecutor".nodes (id, name, started_at, lease_until) {values}', id=node_id)

    def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        from rexecutor.backend.postgres.operations import PROMOTED, claim_parameters  # as above
        from rexecutor.backend.postgres.rows import read_claimed

        wanted = claim_parameters(demand, node_id, None)

        def script() -> Script[Claim]:
            yield self._statements.of("promote_jobs", limit=PROMOTED, now=None)
            rows = yield self._statements.of("claim_jobs", **wanted, promoted=True)
            return Claim([] if rows[0][2] is None else [read_claimed(row, node_id) for row in rows], None)

        return self._run(script())

    def settle(self, settlements: Sequence[Settlement], limits: Limits) -> Sequence[JobId]:
        return self._run(self._statements.settle(settlements, limits.errors, None))

    def end(self, node_id: NodeId, limits: Limits) -> int:
        held = self._run(
            self._statements.at_now(None, lambda now: self._statements.release_claims(node_id, (), 0, now, limits))
        )
        self._execute('DELETE FROM "rexecutor".nodes WHERE id = %(id)s', id=node_id)
        return held

    def _execute(self, text: str, **parameters: Any) -> None:
        from rexecutor.backend.postgres.statements import in_schema  # as above

        def script() -> Script[None]:
            yield Statement(in_schema(text, self._statements.schema), parameters)

        self._run(script())


class _OnSqlite:
    def __init__(self, bound: Any, backend: Backend) -> None:
        self._within: Final = bound.within
        self._now: Final = backend.clock.now

    def begin_lease(self, node_id: NodeId) -> None:
        now = self._now()
        with self._within() as connection:
            connection.execute(
                "INSERT INTO rexecutor_nodes (id, name, started_at, lease_until) VALUES (?, 'run_tasks', ?, ?)",
                (node_id, stored(now), stored(now + _LEASE)),
            )

    def claim(self, demand: Demand, node_id: NodeId) -> Claim:
        with self._within() as connection:
            return sqlite.claim(connection, demand, node_id, self._now())

    def settle(self, settlements: Sequence[Settlement], limits: Limits) -> Sequence[JobId]:
        with self._within() as connection:
            return sqlite.settle(connection, settlements, self._now(), limits)

    def end(self, node_id: NodeId, limits: Limits) -> int:
        with self._within() as connection:
            held = sqlite.run(connection, sqlite.SCRIPTS.release_claims(node_id, (), 0, self._now(), limits))
            connection.execute("DELETE FROM rexecutor_nodes WHERE id = ?", (node_id,))
        return held
