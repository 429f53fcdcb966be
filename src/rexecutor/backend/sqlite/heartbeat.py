"""Heartbeats on a separate connection, from the lease's thread."""

import contextlib
import sqlite3
from collections.abc import Generator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import rexecutor.backend.sqlite.operations as store
from rexecutor.backend.heartbeat import HeartbeatConnection
from rexecutor.backend.messages import EXPIRED_PER_HEARTBEAT, CancelRequest, Heartbeat, Node
from rexecutor.backend.sql.rows import executors_text, state_text
from rexecutor.backend.sqlite.connection import connect, transaction, translated, writers_lock
from rexecutor.backend.sqlite.doorbell import Doorbell
from rexecutor.backend.sqlite.rows import read_row, stored
from rexecutor.backend.sqlite.writer import lenient_text
from rexecutor.clock import Clock, Reading, leap, reading
from rexecutor.model.job import Limits, NodeId
from rexecutor.model.outcomes import Expired, Lost

_EARLIEST: Final = stored(datetime.min.replace(tzinfo=UTC))


class SQLiteHeartbeats(HeartbeatConnection):
    """Heartbeats on a separate connection, which the lease's thread opens at the first heartbeat."""

    def __init__(self, path: Path, clock: Clock, limits: Limits, doorbell: Doorbell) -> None:
        self._path = path
        self._clock = clock
        self._limits = limits
        self._doorbell = doorbell
        self._connection: sqlite3.Connection | None = None
        self._begun: Reading | None = None
        self._told: tuple[NodeId, str | None] | None = None

    def send(self, node: Node, *, rescues: bool = True) -> Heartbeat:
        """Renew the lease, rescue and expire jobs, and return requests to cancel; see `HeartbeatConnection.send`.

        One transaction. Rescues and expires nothing if the wall clock has leapt by a sixth of the lease or more since
        the last heartbeat, because the leases of other nodes may then only seem to have run out.
        """
        before = self._begun or reading(self._clock)
        with self._transaction() as connection:
            self._begun = begun = reading(self._clock)
            rescues = rescues and leap(before, begun) < node.lease.total_seconds() / 6
            told = self._told == (node.id, executors := executors_text(node.state))
            heartbeat = _heartbeat(
                connection, node, self._doorbell.address, begun[0], self._limits, rescues=rescues, has_told=told
            )
        self._told = (node.id, executors)
        return heartbeat

    def deregister(self, node_id: NodeId) -> None:
        """End the lease."""
        with self._transaction() as connection:
            _deregister(connection, node_id)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def _transaction(self) -> Generator[sqlite3.Connection]:
        if self._connection is None:
            self._connection = connect(self._path, in_turn=True)
            self._connection.text_factory = lenient_text  # an unreadable row must not cost the lease
        with translated(self._path), writers_lock(self._path), transaction(self._connection, in_turn=True):
            yield self._connection


def _heartbeat(
    connection: sqlite3.Connection,
    node: Node,
    doorbell: str | None,
    now: datetime,
    limits: Limits,
    *,
    rescues: bool,
    has_told: bool,
) -> Heartbeat:
    """Renew the lease, rescue jobs, and return cancel requests; see `HeartbeatConnection.send`."""
    lease = {
        "id": node.id,
        "doorbell": doorbell,
        "lease_until": stored(now + node.lease),
        "epoch": node.epoch,
        "now": stored(now),
        "state": state_text(node.state),
    }
    executors = executors_text(node.state)
    began = not store.execute(connection, "renew_lease", **lease, executors=None if has_told else executors).rowcount
    if began:
        store.execute(connection, "begin_lease", **lease, executors=executors, name=node.name)
    rescued = _rescue(connection, now, limits) if rescues else 0
    expired = _expire(connection, now, limits) if rescues else 0
    cancels = [CancelRequest(*row) for row in store.execute(connection, "select_cancels", node=node.id)]
    return Heartbeat(cancels, rescued, began, expired)


def _rescue(connection: sqlite3.Connection, now: datetime, limits: Limits) -> int:
    orphans = [read_row(row) for row in store.execute(connection, "select_orphans", now=stored(now)).fetchall()]
    for record in orphans:
        store.run(connection, store.SCRIPTS.transit(record, Lost(), now, limits))
    store.execute(connection, "delete_orphans")
    store.execute(connection, "delete_dead_nodes", now=stored(now))
    return len(orphans)


def _expire(connection: sqlite3.Connection, now: datetime, limits: Limits) -> int:
    bounds = {"earliest": _EARLIEST, "now": stored(now), "limit": EXPIRED_PER_HEARTBEAT}
    expired = [read_row(row) for row in store.execute(connection, "select_expired", **bounds).fetchall()]
    for record in expired:
        store.run(connection, store.SCRIPTS.transit(record, Expired(), now, limits))
    return len(expired)


def _deregister(connection: sqlite3.Connection, node_id: NodeId) -> None:
    """End a lease."""
    store.execute(connection, "delete_node", id=node_id)
