"""Heartbeats on a connection of their own, from the lease's thread."""

from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import psycopg

from rexecutor.backend.heartbeat import Heart
from rexecutor.backend.messages import CancelRequest, Heartbeat, Node
from rexecutor.backend.postgres.connection import translated
from rexecutor.backend.postgres.liveness import GREETING_SECONDS, BoundedConnection, connect_blocking, is_lost
from rexecutor.backend.postgres.statements import Statements
from rexecutor.clock import Clock
from rexecutor.model import rules
from rexecutor.model.job import Limits, NodeId

RETIRING: Final = timedelta(seconds=5)
"""How long the end of a lease may take; without it, the lease ends by itself."""


class PostgresHeart(Heart):
    """Connects at the first beat, in the thread that beats, and again after an error."""

    def __init__(self, conninfo: str, statements: Statements, clock: Clock | None, limits: Limits) -> None:
        """Keep them. `clock` takes the place of the database's time."""
        self._conninfo = conninfo
        self._statements = statements
        self._clock = clock
        self._limits = limits
        self._connection: BoundedConnection | None = None

    def beat(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew, rescue and tell, in one statement.

        After half the lease the connection is cut, so that there is time for another attempt.
        """
        wanted = {
            "node": node.id,
            "name": node.name,
            "lease": node.lease,
            "epoch": node.epoch,
            "rescues": rescues,
            "lost": rules.LOST_DETAILS,
            "most_losses": self._limits.losses,
            "most_errors": self._limits.errors,
            "now": None if self._clock is None else self._clock.now(),
        }
        with self._connected(node.lease / 2) as connection:
            rows = connection.execute(self._statements.text("beat"), wanted).fetchall()
        cancels = [CancelRequest(*row[2:]) for row in rows if row[2] is not None]
        return Heartbeat(cancels, rows[0][1], rows[0][0])

    def retire(self, node_id: NodeId) -> None:
        """End the lease."""
        with self._connected(RETIRING) as connection:
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
                    greeting = min(GREETING_SECONDS, patience.total_seconds())
                    connection = self._connection = connect_blocking(self._conninfo, patience=greeting)
                connection.patience = patience.total_seconds()
                yield connection
            except psycopg.Error as error:
                if isinstance(error, psycopg.OperationalError) or is_lost(error):
                    self.close()
                raise
