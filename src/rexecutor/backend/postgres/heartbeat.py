"""Heartbeats on a separate connection, used by the lease's thread only."""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import psycopg

from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import EXPIRED_PER_HEARTBEAT, CancelRequest, Heartbeat, Node
from rexecutor.backend.postgres.connection import translated
from rexecutor.backend.postgres.liveness import SETUP_SECONDS, BoundedConnection, connect_blocking, is_lost
from rexecutor.backend.postgres.notifying import ENDED
from rexecutor.backend.postgres.statements import Statements, channel_of
from rexecutor.backend.sql.rows import executors_text, state_text
from rexecutor.clock import Clock
from rexecutor.model import rules
from rexecutor.model.job import Limits, NodeId

DEREGISTER_TIMEOUT: Final = timedelta(seconds=5)
"""Maximum time for ending a lease. If that fails, the lease runs out by itself."""


class PostgresHeartbeats(HeartbeatConnection):
    """Heartbeats on their own connection: opened by the first one, in its thread, and again after an error."""

    def __init__(
        self,
        conninfo: str,
        statements: Statements,
        clock: Clock | None,
        limits: Limits,
        on_ended: Callable[[], None],
    ) -> None:
        """Make heartbeats that are not connected yet.

        Args:
            conninfo: Connection string of the server.
            statements: Statements of the backend's schema.
            clock: Replaces the database's time in tests; None in production.
            limits: Limits of the backend.
            on_ended: Called in the lease's thread after jobs have expired, and so have ended.
        """
        self._conninfo = conninfo
        self._statements = statements
        self._clock = clock
        self._limits = limits
        self._on_ended = on_ended
        self._connection: BoundedConnection | None = None
        self._told: tuple[NodeId, str | None] | None = None  # which node has told its executors, and these

    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew the lease, rescue and expire jobs, and return requests to cancel, in one statement.

        The connection is closed if no reply comes within half the lease, so that there is time for another attempt.
        """
        executors = executors_text(node.state)
        has_told = self._told == (node.id, executors)
        wanted = {
            "state": state_text(node.state),
            "executors": None if has_told else executors,
            "node": node.id,
            "name": node.name,
            "lease": node.lease,
            "epoch": node.epoch,
            "rescues": rescues,
            "lost": rules.LOST_DETAILS,
            "expired": rules.EXPIRED_DETAILS,
            "most_expired": EXPIRED_PER_HEARTBEAT,
            "channel": channel_of(self._statements.schema),
            "ended": ENDED,
            "most_losses": self._limits.losses,
            "most_errors": self._limits.errors,
            "now": None if self._clock is None else self._clock.now(),
        }
        with self._connected(node.lease / 2) as connection:
            rows = connection.execute(self._statements.text("heartbeat"), wanted).fetchall()
        # If the row is a new one, it lacks what was told before. The next heartbeat tells it again.
        self._told = None if has_told and rows[0][0] else (node.id, executors)
        cancels = [CancelRequest(*row[3:6]) for row in rows if row[3] is not None]
        has_begun, rescued, expired = rows[0][:3]
        if expired:
            self._on_ended()
        return Heartbeat(cancels, rescued, has_begun, expired)

    def deregister(self, node_id: NodeId) -> None:
        """End the node's lease now."""
        with self._connected(DEREGISTER_TIMEOUT) as connection:
            connection.execute(self._statements.text("delete_node"), {"id": node_id})

    def close(self) -> None:
        """Close the connection."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @contextmanager
    def _connected(self, patience: timedelta) -> Generator[BoundedConnection]:
        with translated(self._statements.schema):
            try:
                connection = self._connection
                if connection is None or connection.closed:
                    setup = min(SETUP_SECONDS, patience.total_seconds())
                    connection = self._connection = connect_blocking(self._conninfo, patience=setup)
                connection.patience = patience.total_seconds()
                yield connection
            except psycopg.Error as error:
                if isinstance(error, psycopg.OperationalError) or is_lost(error):
                    self.close()
                raise
