"""Heartbeats on a connection of their own, from the lease's thread."""

import threading
from collections.abc import Generator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, Final

import psycopg

from rexecutor import rules
from rexecutor.backend.exchange import CancelRequest, Heartbeat, Node
from rexecutor.backend.heart import Heart
from rexecutor.backend.postgres.connection import translated
from rexecutor.backend.postgres.pool import CONFIGURED, cut
from rexecutor.backend.postgres.statements import Statements
from rexecutor.clock import Clock
from rexecutor.job import Limits, NodeId

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
        self._connection: psycopg.Connection[tuple[Any, ...]] | None = None

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
    def _connected(self, patience: timedelta) -> Generator[psycopg.Connection[tuple[Any, ...]]]:
        with translated(self._statements.schema):
            try:
                is_new = self._connection is None or self._connection.closed
                if self._connection is None or is_new:
                    self._connection = psycopg.connect(self._conninfo, autocommit=True, prepare_threshold=None)
                with _cut_after(patience, self._connection):
                    if is_new:
                        self._connection.execute(CONFIGURED)
                    yield self._connection
            except psycopg.OperationalError:
                self.close()
                raise


@contextmanager
def _cut_after(patience: timedelta, connection: psycopg.Connection[Any]) -> Generator[None]:
    """Cut the connection when the block takes longer: an answer that will never come becomes an error."""
    timer = threading.Timer(patience.total_seconds(), cut, (connection,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
